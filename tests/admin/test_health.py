"""Alive, ready, well: which statuses make which answer."""

from __future__ import annotations

from typing import Any

import pytest

from bearerd.admin import health
from tests.admin.conftest import missing, service, source

EXPIRED = source(state="expired", last_error="undelivered: connection refused")
CHANGED = source(state="account_changed", message="run `bearerd adopt`")


@pytest.mark.parametrize(
    ("sources", "ready"),
    [
        ([source()], True),
        # The authority is away: taking the daemon out of service mends nothing.
        ([EXPIRED], True),
        ([source(last_error="unclear: timeout")], True),
        ([source(in_memory_only=True)], True),
        # Some agents are served.
        ([source(), missing(profile="work")], True),
        ([missing()], False),
        ([CHANGED], False),
        ([missing(), CHANGED], False),
    ],
)
def test_ready_is_who_can_sign_for_somebody(sources: list[Any], *, ready: bool) -> None:
    """One usable credential is enough; trouble that passes changes nothing."""
    response = health.readyz(service(*sources))
    assert response.status == (200 if ready else 503)
    assert response.document["status"] == ("ready" if ready else "unready")


def test_what_is_missing_is_said_with_its_remedy() -> None:
    """For each profile that cannot serve, whether the whole is ready or not."""
    wanted = {
        "profile": "default",
        "state": "login_required",
        "reason": "missing",
        "store": "/data/auth.json",
        "remedy": "/data/auth.json: there is no credential file; sign in",
    }
    alone = health.readyz(service(missing()))
    assert alone.document["missing"] == [wanted]
    assert alone.document["why"] == "login_required"
    beside = health.readyz(service(source(profile="work"), missing()))
    assert beside.document["missing"] == [wanted]
    assert health.healthz(service(missing())).document["missing"] == [wanted]


def test_a_problem_without_words_still_has_a_remedy() -> None:
    """Nobody is left with a state alone."""
    assert "bearerd login" in health.remedy(missing(message=None))


def test_a_draining_daemon_is_not_ready() -> None:
    """However well its login is."""
    response = health.readyz(service(draining=True))
    assert (response.status, response.document["why"]) == (503, "draining")


def test_whoever_answers_is_alive() -> None:
    """A login that is missing is no reason to be killed."""
    assert health.livez().status == 200


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (service(), "ok"),
        (service(missing()), "degraded"),
        (service(source(message="sign in soon", reason="reused")), "degraded"),
        (service(source(last_error="unclear: timeout")), "degraded"),
        (service(source(in_memory_only=True)), "degraded"),
        (service(draining=True), "degraded"),
    ],
)
def test_health_tells_what_to_look_at(status: Any, word: str) -> None:
    """With 200 always, since a restart mends none of it."""
    response = health.healthz(status)
    assert (response.status, response.document["status"]) == (200, word)


def test_the_document_has_everything_that_is_known() -> None:
    """It is what other programs read: the daemon's fields, and the profiles."""
    document = health.document(service(source(), missing(profile="work")))
    assert set(document) == {
        "version",
        "started_at",
        "draining",
        "relay",
        "admin",
        "profiles",
        "requests_in_flight",
        "streams_active",
    }
    first, second = document["profiles"]  # type: ignore[misc]
    assert (first["profile"], first["state"]) == ("default", "ready")  # type: ignore[has-type]
    assert (second["profile"], second["reason"]) == ("work", "missing")  # type: ignore[has-type]
