"""The budget of calls: how many at once, how many over time, and who shares it."""

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
        "clock-back-takes-nothing",
        "clock-back-gives-nothing",
    ],
)
def test_a_draw_takes_one_call_or_says_how_long_to_wait(
    level: BucketLevel, seconds_later: float, left: float, wait_seconds: float
) -> None:
    """The level after the draw, and the time until the next would be granted."""
    after, wait = BUCKET.acquire(level, NOW + seconds_later)
    assert after.calls == pytest.approx(left)
    assert wait == pytest.approx(wait_seconds)
    assert after.at == NOW + seconds_later


def test_a_burst_is_granted_at_once_and_then_one_each_interval() -> None:
    """Three, then one every eight seconds, however often it is asked."""
    bucket = TokenBucket(burst=3, interval_seconds=8.0)  # an eighth is exact in binary
    level = bucket.full(NOW)
    granted = []
    for second in range(41):
        for _ in range(4):
            level, wait_seconds = bucket.acquire(level, NOW + second)
            if not wait_seconds:
                granted.append(second)
    assert granted == [0, 0, 0, 8, 16, 24, 32, 40]


def test_a_clock_that_ran_ahead_and_was_set_right_locks_nobody_out() -> None:
    """What was noted in a year to come refills again from the time as it is now."""
    level, _ = BUCKET.acquire(BucketLevel(0.0, NOW + 1e8), NOW)
    assert BUCKET.acquire(level, NOW + 10.0)[1] == 0.0


@pytest.mark.parametrize(
    ("calls", "expected"), [(0.0, 1.0), (0.5, 1.5), (2.5, 3.0), (3.0, 3.0)]
)
def test_a_call_that_never_arrived_is_given_back(calls: float, expected: float) -> None:
    """It raises the level by one, up to the burst, and moves no time."""
    assert BUCKET.refund(BucketLevel(calls, NOW)) == BucketLevel(expected, NOW)


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=1),
            st.floats(min_value=-50, max_value=50),
        ),
        max_size=60,
    )
)
def test_two_who_share_a_level_get_no_more_than_one(
    draws: list[tuple[int, float]],
) -> None:
    """Whoever draws, and wherever the clock goes, time alone grants calls."""
    level, now, granted, gone = BUCKET.full(NOW), NOW, 0, 0.0
    for _, seconds in draws:
        now += seconds
        gone += max(0.0, seconds)
        level, wait_seconds = BUCKET.acquire(level, now)
        granted += not wait_seconds
        assert 0.0 <= level.calls <= BUCKET.burst
    assert granted <= BUCKET.burst + gone / BUCKET.interval_seconds + 1e-6
