"""The budget of calls: how many at once, and how many over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import BucketLevel

BUCKET = TokenBucket(burst=3, interval_seconds=10.0)
NOW = 1_000.0


@pytest.mark.parametrize(
    ("level", "seconds_later", "left", "wait_seconds"),
    [
        (BucketLevel(3.0, NOW), 0.0, 2.0, 0.0),
        (BucketLevel(1.0, NOW), 0.0, 0.0, 0.0),
        (BucketLevel(0.0, NOW), 0.0, 0.0, 10.0),
        (BucketLevel(0.0, NOW), 2.5, 0.25, 7.5),
        (BucketLevel(0.0, NOW), 10.0, 0.0, 0.0),
        (BucketLevel(0.5, NOW), 5.0, 0.0, 0.0),
        (BucketLevel(0.5, NOW), 4.0, 0.9, 1.0),
        (BucketLevel(0.0, NOW), 1e9, 2.0, 0.0),
        (BucketLevel(2.0, NOW), -500.0, 1.0, 0.0),
        (BucketLevel(0.0, NOW), -500.0, 0.0, 10.0),
    ],
    ids=[
        "full",
        "the-last-one",
        "empty",
        "a-quarter-refilled",
        "refilled-by-one",
        "half-and-half",
        "not-quite",
        "never-more-than-the-burst",
        "clock-back-from-two",
        "clock-back-from-empty",
    ],
)
def test_acquire_takes_one_call_or_returns_the_seconds_to_wait(
    level: BucketLevel, seconds_later: float, left: float, wait_seconds: float
) -> None:
    """The level afterwards, and the time until the next call is granted."""
    after, wait = BUCKET.acquire(level, NOW + seconds_later)
    assert after.calls == pytest.approx(left)
    assert wait == pytest.approx(wait_seconds)
    assert after.at == NOW + seconds_later


def test_a_burst_is_granted_at_once_and_then_one_each_interval() -> None:
    """Three, then one every eight seconds, however many are wanted."""
    bucket = TokenBucket(burst=3, interval_seconds=8.0)  # an eighth is exact in binary
    level = bucket.full(NOW)
    granted = []
    for second in range(41):
        for _ in range(4):
            level, wait_seconds = bucket.acquire(level, NOW + second)
            if not wait_seconds:
                granted.append(second)
    assert granted == [0, 0, 0, 8, 16, 24, 32, 40]


def test_a_clock_that_was_ahead_and_is_corrected_does_not_dry_the_budget() -> None:
    """A level that is dated in the future fills up again from now on."""
    level, _ = BUCKET.acquire(BucketLevel(0.0, NOW + 1e8), NOW)
    assert BUCKET.acquire(level, NOW + 10.0)[1] == 0.0


@pytest.mark.parametrize(
    ("calls", "expected"), [(0.0, 1.0), (0.5, 1.5), (2.5, 3.0), (3.0, 3.0)]
)
def test_a_refund_adds_one_call_up_to_the_burst(calls: float, expected: float) -> None:
    """The date of the level stays."""
    assert BUCKET.refund(BucketLevel(calls, NOW)) == BucketLevel(expected, NOW)


@given(
    st.lists(st.floats(min_value=-50, max_value=50), max_size=60),
)
def test_no_order_of_calls_and_clock_jumps_exceeds_the_budget(
    jumps: list[float],
) -> None:
    """Only time that passes forward grants calls."""
    level, now, granted, passed = BUCKET.full(NOW), NOW, 0, 0.0
    for seconds in jumps:
        now += seconds
        passed += max(0.0, seconds)
        level, wait_seconds = BUCKET.acquire(level, now)
        granted += not wait_seconds
        assert 0.0 <= level.calls <= BUCKET.burst
    assert granted <= BUCKET.burst + passed / BUCKET.interval_seconds + 1e-6
