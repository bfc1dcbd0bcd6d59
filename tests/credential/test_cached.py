"""The cached credential: its generation, its schedule, and a local clock that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.cached import (
    NEVER,
    SKEW_SECONDS,
    CachedCredential,
    Schedule,
    clock_skew,
    schedule,
)
from bearerd.credential.token import Credential
from tests.credential.stand_ins import HOUR, START, access_token, credential_for
from tests.support.clock import ManualClock

# The schedule.


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
def test_a_refresh_is_due_a_window_before_the_end(
    left: float, window: float, is_first: bool, jitter: float, before_end: float
) -> None:
    """A later credential has a window of at most a fifth of what is left."""
    found = schedule(
        credential_for(expires_at=START + left),
        now=START,
        window_seconds=window,
        jitter=jitter,
        is_first=is_first,
    )
    assert found.expires_at == START + left
    assert found.refresh_at == pytest.approx(START + left - before_end)


@pytest.mark.parametrize(("life", "window"), [(60.0, 12.0), (3600.0, 300.0)])
def test_a_first_token_with_a_known_life_has_a_window_of_a_fifth_of_it(
    life: float, window: float
) -> None:
    """Else each process that starts would refresh a young token that is short-lived."""
    token = access_token("x", expires_at=START + life, iat=int(START))
    credential = replace(credential_for(expires_at=START + life), access_token=token)
    found = schedule(
        credential, now=START + 1, window_seconds=300, jitter=0, is_first=True
    )
    assert found.refresh_at == START + life - window


def test_a_credential_without_an_end_is_never_due() -> None:
    """Its end is unknown, and none is guessed."""
    found = schedule(
        credential_for(expires_at=None),
        now=START,
        window_seconds=300,
        jitter=0,
        is_first=True,
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
    """Both bounds belong to the time after them."""
    found = Schedule(refresh_at=10.0, expires_at=20.0)
    assert (found.is_due(now), found.is_expired(now)) == (is_due, is_expired)


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0])
def test_a_wrong_local_clock_does_not_move_the_moment(skew: float) -> None:
    """An hour at the authority is an hour here, with any local clock."""
    ends = START - skew + 3600.0  # as the authority writes it
    found = schedule(
        credential_for(expires_at=ends),
        now=START,
        window_seconds=300,
        jitter=0,
        is_first=False,
        skew_seconds=skew,
    )
    assert found == Schedule(START + 3300.0, START + 3600.0)


@given(
    st.floats(min_value=-1e6, max_value=1e8),
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.booleans(),
)
def test_jitter_stays_inside_the_window(
    left: float, window: float, jitter: float, is_first: bool
) -> None:
    """It delays the refresh by at most a tenth of the window, never past the end."""
    found = schedule(
        credential_for(expires_at=START + left),
        now=START,
        window_seconds=window,
        jitter=jitter,
        is_first=is_first,
    )
    assert found.refresh_at is not None
    assert START + left - window - 1e-3 <= found.refresh_at <= START + left


# The local clock.


def issued(at: float) -> Credential:
    """Return a credential whose token says that it was issued *at*."""
    token = access_token("new", expires_at=at + HOUR, iat=int(at))
    return replace(credential_for("new", expires_at=at + HOUR), access_token=token)


@pytest.mark.parametrize(
    ("claimed_at", "date", "expected"),
    [
        (START, START, 0.0),
        (START - SKEW_SECONDS, START - SKEW_SECONDS, 0.0),
        (START - 7200, START - 7200, 7200.0),
        (START + 7200, START + 7200, -7200.0),
        (START - 7200, START - 7200 + SKEW_SECONDS, 7200.0 - SKEW_SECONDS),
        (START - 3000, START, 0.0),
        (START, START - 7200, 0.0),
        (START - 3000, None, 0.0),
        (None, START - 7200, 0.0),
    ],
    ids=[
        "right",
        "a-minute-is-delay",
        "two-hours-ahead",
        "two-hours-behind",
        "almost-agreed",
        "an-older-token-that-is-given-again",
        "the-date-of-a-proxy",
        "no-date",
        "no-iat",
    ],
)
def test_a_skew_is_believed_only_if_date_and_iat_agree(
    claimed_at: float | None, date: float | None, expected: float
) -> None:
    """Only an `iat` in the past means a token that was issued earlier."""
    credential = credential_for() if claimed_at is None else issued(claimed_at)
    assert clock_skew(credential, now=START, issued_at=date) == expected


# The cached credential.


@pytest.fixture
def cached(clock: ManualClock) -> CachedCredential:
    """Nothing yet, with a window of five minutes and no jitter."""
    return CachedCredential(
        window_seconds=300.0, clock=clock.skipping, jitter=lambda: 0.0
    )


def test_no_credential_is_cached_at_first(cached: CachedCredential) -> None:
    """And nothing is due."""
    assert cached.credential is None
    assert (cached.is_due, cached.is_expired) == (False, False)
    assert cached.schedule == NEVER


def test_each_credential_is_a_generation(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """Generations are counted from one; `clear` does not count back."""
    first = cached.set(credential_for("one"))
    assert (first.generation, first == credential_for("one")) == (1, True)
    cached.clear()
    assert cached.credential is None
    clock.advance(1e9)
    assert not cached.is_expired
    assert cached.set(credential_for("two")).generation == cached.generation == 2


def test_the_first_has_the_whole_window_and_later_ones_a_fifth(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """The first may be near its end; a later one came while this process ran."""
    cached.set(credential_for(expires_at=START + 200))
    assert cached.schedule.refresh_at == START - 100
    cached.set(credential_for("two", expires_at=START + 200))
    seen = []
    for seconds in (159.0, 1.0, 40.0):
        clock.advance(seconds)
        seen.append((cached.is_due, cached.is_expired))
    assert seen == [(False, False), (True, False), (True, True)]


def test_jitter_is_chosen_once_for_each_credential(clock: ManualClock) -> None:
    """So that the moment does not move while it is waited for."""
    numbers = iter([0.0, 1.0])
    cached = CachedCredential(
        window_seconds=300.0, clock=clock.skipping, jitter=lambda: next(numbers)
    )
    for name, at in (("one", START + 9700), ("two", START + 9730)):
        cached.set(credential_for(name, expires_at=START + 10_000))
        assert cached.schedule.refresh_at == at
        assert cached.is_due is False


def test_a_learned_skew_holds_for_what_others_store(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """Until the authority issues another token."""
    authority_now = START - 7200
    cached.set_issued(issued(authority_now), issued_at=authority_now)
    assert cached.skew_seconds == 7200
    assert cached.schedule.expires_at == START + 3600
    cached.set(credential_for("b", expires_at=START - 1800))
    assert cached.schedule.expires_at == START + 5400
    clock.advance(0.0, wall_seconds=-7200)  # corrected
    cached.set_issued(issued(authority_now), issued_at=authority_now)
    assert (cached.skew_seconds, cached.schedule.expires_at) == (0, START - 3600)


def test_a_live_token_issued_earlier_does_not_shift_its_end(
    cached: CachedCredential,
) -> None:
    """It expires in ten seconds, and the clocks agree: so it is valid for ten seconds."""
    credential = issued(START - HOUR + 10)
    cached.set_issued(credential, issued_at=START)
    assert cached.schedule.expires_at == START + 10
