"""Readiness and health: which status leads to which."""

from __future__ import annotations

import pytest

from bearerd.admin.health import check_health, check_readiness, remedy
from bearerd.admin.status import ServiceStatus
from bearerd.credential.status import SourceStatus
from tests.admin.conftest import degraded, missing, service, source

CHANGED = source(
    state="blocked",
    code="account_changed",
    message="run `bearerd adopt`",
    needs_person=True,
)
EXPIRED = degraded(state="blocked")
UNSAVED = degraded(code="unsaved", needs_person=True, in_memory_only=True)


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ([source()], None),
        # A degraded profile is served.
        ([degraded()], None),
        ([UNSAVED], None),
        # Some agents are served.
        ([source(), missing(profile="work")], None),
        ([degraded(), missing(profile="work")], None),
        # Every request is refused.
        ([EXPIRED], "authority_unavailable"),
        ([missing()], "login_required"),
        ([CHANGED], "account_changed"),
        ([missing(), CHANGED], "login_required"),
    ],
)
def test_a_daemon_is_ready_if_one_profile_is_served(
    sources: list[SourceStatus], reason: str | None
) -> None:
    """Otherwise the reason is the code of the first profile."""
    readiness = check_readiness(service(*sources))
    assert readiness.is_ready is (reason is None)
    assert readiness.reason == reason


def test_readiness_lists_the_blocked_profiles() -> None:
    """Whether the daemon as a whole is ready or not."""
    assert check_readiness(service(missing())).blocked == (missing(),)
    beside = check_readiness(service(source(profile="work"), missing()))
    assert beside.is_ready
    assert beside.blocked == (missing(),)


def test_a_draining_daemon_is_not_ready() -> None:
    """Even if its login is valid."""
    assert check_readiness(service(is_draining=True)).reason == "draining"


@pytest.mark.parametrize(
    ("status", "ok"),
    [
        (service(), True),
        # An error of the past, after which the profile is well again.
        (service(source(last_error="unclear: timeout")), True),
        (service(missing()), False),
        (service(degraded()), False),
        (service(UNSAVED), False),
        (service(source(), EXPIRED), False),
        (service(is_draining=True), False),
    ],
)
def test_health_is_ok_if_there_is_nothing_to_look_at(
    status: ServiceStatus, ok: bool
) -> None:
    """Every state but usable is something to look at."""
    assert check_health(status).is_ok is ok


def test_health_lists_profiles_by_what_is_wrong() -> None:
    """A profile may be in several lists."""
    failing = degraded(profile="work")
    health = check_health(service(missing(), failing, UNSAVED))
    assert health.needing_person == (missing(), UNSAVED)
    assert health.degraded == (failing,)
    assert health.failing == (failing, UNSAVED)
    assert health.unsaved == (UNSAVED,)


def test_a_profile_without_a_message_has_a_remedy() -> None:
    """A state alone would not help the operator."""
    assert remedy(missing()).endswith("sign in")
    assert "bearerd login" in remedy(missing(message=None))
