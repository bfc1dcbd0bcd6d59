"""The pause between a failed call to the authority and the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.refresh.backoff import (
    FAST,
    JITTER_SHARE,
    LONGEST_SECONDS,
    MAYBE_SPENT_SECONDS,
    SLOW,
    Pace,
    pause_seconds,
)


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        (FAST, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]),
        (SLOW, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]),
    ],
    ids=["fast", "slow"],
)
@pytest.mark.parametrize(
    ("jitter", "share"), [(0.0, 1.0), (0.5, 0.875), (0.999999, 0.75)]
)
def test_pauses_double_up_to_the_longest_and_jitter_shortens_them(
    pace: Pace, expected: list[int], jitter: float, share: float
) -> None:
    """By a quarter at most, so that processes that failed together come back apart."""
    found = [pause_seconds(pace, failures, jitter=jitter) for failures in range(1, 11)]
    assert found == pytest.approx([share * one for one in expected], rel=1e-4)


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (None, 1.0),
        (0.0, 1.0),
        (0.5, 1.0),
        (30.0, 30.0),
        (600.0, 600.0),
        (90_000.0, LONGEST_SECONDS),
    ],
)
def test_retry_after_lengthens_a_pause_up_to_an_hour(
    retry_after: float | None, expected: float
) -> None:
    """A smaller value than the pause changes nothing."""
    found = pause_seconds(FAST, 1, jitter=0.0, retry_after_seconds=retry_after)
    assert found == expected


def test_a_token_that_may_be_spent_rests_for_some_seconds() -> None:
    """The first call may still be at work; a longer pause stays as it is."""
    least = MAYBE_SPENT_SECONDS
    assert pause_seconds(FAST, 1, jitter=0.9, least_seconds=least) == least
    assert pause_seconds(FAST, 7, jitter=0.0, least_seconds=least) == 60.0


@given(
    st.integers(min_value=1, max_value=10**15),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.floats(min_value=0, max_value=1e9),
    st.sampled_from([FAST, SLOW]),
)
def test_a_pause_is_never_shorter_than_its_pace_nor_longer_than_an_hour(
    failures: int, jitter: float, retry_after: float, pace: Pace
) -> None:
    """However many failures the state counts."""
    found = pause_seconds(
        pace, failures, jitter=jitter, retry_after_seconds=retry_after
    )
    assert pace.first_seconds * (1 - JITTER_SHARE) <= found <= LONGEST_SECONDS
