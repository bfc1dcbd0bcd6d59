"""Readiness and health: which status leads to which."""

from __future__ import annotations

from typing import Any

import pytest

from bearerd.admin.health import check_health, check_readiness, remedy
from tests.admin.conftest import missing, service, source

EXPIRED = source(state="expired", last_error="undelivered: connection refused")
CHANGED = source(state="account_changed", message="run `bearerd adopt`")


@pytest.mark.parametrize(
    ("sources", "ready"),
    [
        ([source()], True),
        # The authority is not reached: taking the daemon out of service does not help.
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
def test_a_daemon_with_one_usable_profile_is_ready(
    sources: list[Any], ready: bool
) -> None:
    """Temporary failures change nothing."""
    readiness = check_readiness(service(*sources))
    assert readiness.is_ready is ready
    assert readiness.reason == (None if ready else "login_required")


def test_readiness_lists_the_profiles_that_are_not_usable() -> None:
    """Whether the daemon as a whole is ready or not."""
    assert check_readiness(service(missing())).unusable == (missing(),)
    beside = check_readiness(service(source(profile="work"), missing()))
    assert beside.is_ready
    assert beside.unusable == (missing(),)


def test_a_draining_daemon_is_not_ready() -> None:
    """Even if its login is valid."""
    assert check_readiness(service(is_draining=True)).reason == "draining"


@pytest.mark.parametrize(
    ("status", "ok"),
    [
        (service(), True),
        (service(missing()), False),
        (service(source(message="sign in soon", reason="reused")), False),
        (service(source(last_error="unclear: timeout")), False),
        (service(source(in_memory_only=True)), False),
        (service(is_draining=True), False),
    ],
)
def test_health_is_ok_if_there_is_nothing_to_look_at(status: Any, ok: bool) -> None:
    """It reports more than readiness does."""
    assert check_health(status).is_ok is ok


def test_health_lists_profiles_by_what_is_wrong() -> None:
    """A profile may be in several lists."""
    failing = source(profile="work", last_error="x", in_memory_only=True)
    health = check_health(service(missing(), failing))
    assert health.needing_person == (missing(),)
    assert health.failing == (failing,)
    assert health.unsaved == (failing,)


def test_a_profile_without_a_message_has_a_remedy() -> None:
    """A state alone would not help the operator."""
    assert remedy(missing()).endswith("sign in")
    assert "bearerd login" in remedy(missing(message=None))
