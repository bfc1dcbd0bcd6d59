"""The results of a run, and when all daemons have recovered."""

from __future__ import annotations

import pytest

from bearerd.harness.result import RecoveryTracker, RunCounts, TurnResult


@pytest.mark.parametrize(
    ("result", "is_success"),
    [
        (TurnResult(200), True),
        (TurnResult(200, "cut_off"), False),
        (TurnResult(401), False),
        (TurnResult(0, "TimeoutError"), False),
    ],
)
def test_only_a_complete_200_is_a_success(result: TurnResult, is_success: bool) -> None:
    """A stream that was cut off is a failure, although its status is 200."""
    assert result.is_success is is_success


@pytest.mark.parametrize(
    ("counts", "is_flawless"),
    [
        (RunCounts(9, 0, 2, 0, 0), True),
        (RunCounts(8, 1, 2, 0, 0), False),
        (RunCounts(9, 0, 3, 0, 0), False),
        (RunCounts(9, 0, 1, 0, 0), False),
        (RunCounts(9, 0, 2, 1, 0), False),
        (RunCounts(9, 0, 2, 0, 1), False),
    ],
)
def test_only_the_exact_counts_are_flawless(
    counts: RunCounts, is_flawless: bool
) -> None:
    """A failed request, a refresh too many or too few, a reuse, a sign-in."""
    assert counts.is_flawless(requests=9, refreshes=2) is is_flawless


async def test_a_daemon_has_recovered_after_a_request_sent_since_the_revocation() -> (
    None
):
    """The response to a request that was sent before proves nothing."""
    tracker = RecoveryTracker(2)
    tracker.record_revocation()
    await tracker.record(0, 1, TurnResult(200))
    await tracker.record(1, 0, TurnResult(200))
    assert not await tracker.wait_until_recovered(timeout_seconds=0)
    await tracker.record(1, 1, TurnResult(200))
    assert await tracker.wait_until_recovered(timeout_seconds=0)


async def test_a_failure_ends_the_wait_for_recovery() -> None:
    """The run is lost already."""
    tracker = RecoveryTracker(1)
    await tracker.record(0, 0, TurnResult(401, "login_required"))
    await tracker.record(0, 0, TurnResult(502))
    assert not await tracker.wait_until_recovered(timeout_seconds=60)
    assert tracker.failures == {"login_required": 1, "status 502": 1}
