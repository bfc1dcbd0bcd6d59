"""The wait after a failure: how long, for whom, and what ends it."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.refresh.backoff import Backoff

from tests.support.clock import ManualClock

UNREACHED = AuthorityFailure("undelivered", "refused_connection")


def wait_seconds(backoff: Backoff, failure: AuthorityFailure, name: str = "a") -> float:
    """Note a failure; return how long it asks to wait."""
    seconds = backoff.record_failure(name, failure).retry_after_seconds
    assert seconds is not None
    return seconds


@pytest.mark.parametrize(
    ("jitter", "share"), [(0.0, 0.75), (0.5, 0.875), (0.999999, 1.0)]
)
def test_waits_double_up_to_a_minute_with_jitter_below(
    clock: ManualClock, jitter: float, share: float
) -> None:
    """Three quarters to all of 1, 2, 4 ... 60 seconds, and it stays there."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: jitter)
    seconds = [wait_seconds(backoff, UNREACHED) for _ in range(14)]
    expected = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60]
    assert seconds == pytest.approx([share * one for one in expected], rel=1e-4)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (30.0, 30.0), (90_000.0, 3600.0)],
)
def test_the_authority_may_ask_for_more_time_but_for_an_hour_at_most(
    clock: ManualClock, asked: float | None, expected: float
) -> None:
    """Its wish counts when it is longer than ours."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: 1.0)
    failure = AuthorityFailure("undelivered", "http_429", retry_after_seconds=asked)
    assert wait_seconds(backoff, failure) == expected


def test_the_last_failure_is_the_response_until_its_time_is_over(
    clock: ManualClock,
) -> None:
    """The same outcome and reason, with the seconds that are left."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: 0.0)
    backoff.record_failure(
        "a", AuthorityFailure("unclear", "http_502", retry_after_seconds=8)
    )
    clock.advance(7.0)
    with pytest.raises(AuthorityFailure) as told:
        backoff.check("a")
    assert (told.value.outcome, told.value.reason) == ("unclear", "http_502")
    assert told.value.retry_after_seconds == pytest.approx(1.0)
    clock.advance(1.0)
    backoff.check("a")


def test_another_login_never_waits_for_an_old_failure(clock: ManualClock) -> None:
    """And its own failures are counted from one."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: 1.0)
    for _ in range(5):
        backoff.record_failure("a", UNREACHED)
    backoff.check("b")
    assert wait_seconds(backoff, UNREACHED, "b") == 1.0


def test_a_response_ends_the_backoff(clock: ManualClock) -> None:
    """After a reset nothing is raised, and doubling starts anew."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: 1.0)
    backoff.record_failure("a", UNREACHED)
    backoff.record_failure("a", UNREACHED)
    backoff.reset()
    backoff.check("a")
    assert wait_seconds(backoff, UNREACHED) == 1.0


def test_a_wall_clock_that_jumps_changes_no_wait(clock: ManualClock) -> None:
    """Only time that really passed counts."""
    backoff = Backoff(clock=clock.skipping, jitter=lambda: 0.0)
    backoff.record_failure("a", UNREACHED)
    clock.advance(0.0, wall_seconds=1e6)
    with pytest.raises(AuthorityFailure):
        backoff.check("a")
    clock.advance(0.75, wall_seconds=-1e6)
    backoff.check("a")
