"""When a refresh is due: the window, the jitter and a clock that is off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.schedule import NEVER, Due, due
from tests.credential.stand_ins import START, held


@pytest.mark.parametrize(
    ("left", "window", "is_first", "jitter", "before_end"),
    [
        (1000.0, 300.0, True, 0.0, 300.0),
        (1000.0, 300.0, True, 0.5, 285.0),
        (1000.0, 300.0, True, 1.0, 270.0),
        (100.0, 300.0, True, 0.0, 300.0),
        (-100.0, 300.0, True, 0.0, 300.0),
        (1000.0, 0.0, True, 0.5, 0.0),
        (2000.0, 300.0, False, 0.0, 300.0),
        (1500.0, 300.0, False, 0.0, 300.0),
        (1000.0, 300.0, False, 0.0, 200.0),
        (1000.0, 300.0, False, 1.0, 180.0),
        (5.0, 300.0, False, 0.0, 1.0),
        (0.0, 300.0, False, 0.0, 0.0),
        (-100.0, 300.0, False, 0.0, 0.0),
    ],
    ids=[
        "first",
        "first-half-the-jitter",
        "first-all-the-jitter",
        "first-inside-the-window",
        "first-past-its-end",
        "no-window",
        "later-long",
        "later-just-long-enough",
        "later-short",
        "later-short-with-jitter",
        "later-five-seconds",
        "later-at-its-end",
        "later-past-its-end",
    ],
)
def test_the_window_opens_before_the_end(
    left: float, window: float, is_first: bool, jitter: float, before_end: float
) -> None:
    """A later credential gets no more than a fifth of its life as window."""
    found = due(
        held(expires_at=START + left),
        now=START,
        window_seconds=window,
        jitter=jitter,
        is_first=is_first,
    )
    assert found.expires_at == START + left
    assert found.at == pytest.approx(START + left - before_end)


def test_a_credential_without_an_end_is_never_due() -> None:
    """Nothing tells, so nothing is guessed."""
    found = due(
        held(expires_at=None), now=START, window_seconds=300, jitter=0, is_first=True
    )
    assert found == NEVER
    assert not found.is_due(1e12)
    assert not found.is_expired(1e12)


@pytest.mark.parametrize(
    ("now", "is_due", "is_expired"),
    [(9.9, False, False), (10.0, True, False), (19.9, True, False), (20.0, True, True)],
)
def test_due_and_expired_begin_at_their_second(
    now: float, is_due: bool, is_expired: bool
) -> None:
    """Both bounds belong to what comes after."""
    found = Due(at=10.0, expires_at=20.0)
    assert (found.is_due(now), found.is_expired(now)) == (is_due, is_expired)


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0])
def test_a_clock_that_is_off_does_not_move_the_moment(skew: float) -> None:
    """The authority's hour is an hour here too, whatever our clock says."""
    ends = START - skew + 3600.0  # as the authority writes it
    found = due(
        held(expires_at=ends),
        now=START,
        window_seconds=300,
        jitter=0,
        is_first=False,
        skew_seconds=skew,
    )
    assert found == Due(START + 3300.0, START + 3600.0)


@given(
    st.floats(min_value=-1e6, max_value=1e8),
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.booleans(),
)
def test_jitter_stays_inside_the_window(
    left: float, window: float, jitter: float, is_first: bool
) -> None:
    """Later than the window's start by a tenth of it at most, never past the end."""
    found = due(
        held(expires_at=START + left),
        now=START,
        window_seconds=window,
        jitter=jitter,
        is_first=is_first,
    )
    assert found.at is not None
    assert START + left - window - 1e-3 <= found.at <= START + left
