"""What is held: its generation, when it is due, and a clock that is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bearerd.credential.cached import CachedCredential
from tests.credential.stand_ins import START, access_token, held
from tests.support.clock import ManualClock


@pytest.fixture
def cached(clock: ManualClock) -> CachedCredential:
    """Nothing yet, with a window of five minutes and no jitter."""
    return CachedCredential(
        window_seconds=300.0, clock=clock.skipping, jitter=lambda: 0.0
    )


def test_nothing_is_held_at_first(cached: CachedCredential) -> None:
    """And nothing is due."""
    assert cached.credential is None
    assert (cached.is_due, cached.is_expired) == (False, False)


def test_each_credential_is_a_generation(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """Counted from one; dropping one does not count back."""
    first = cached.set(held("one"), is_received=False)
    assert (first.generation, first == held("one")) == (1, True)
    cached.clear()
    assert cached.credential is None
    clock.advance(1e9)
    assert not cached.is_expired
    assert cached.set(held("two"), is_received=False).generation == 2


def test_the_first_gets_the_whole_window_and_later_ones_a_fifth(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """The first may be near its end, a later one is new."""
    cached.set(held(expires_at=START + 200), is_received=False)
    assert cached.due.at == START - 100
    cached.set(held("two", expires_at=START + 200), is_received=True)
    seen = []
    for seconds in (159.0, 1.0, 40.0):
        clock.advance(seconds)
        seen.append((cached.is_due, cached.is_expired))
    assert seen == [(False, False), (True, False), (True, True)]


def test_jitter_is_drawn_once_for_each_credential(clock: ManualClock) -> None:
    """So that the moment does not wander while it is waited for."""
    draws = iter([0.0, 1.0])
    cached = CachedCredential(
        window_seconds=300.0, clock=clock.skipping, jitter=lambda: next(draws)
    )
    for name, at in (("one", START + 9700), ("two", START + 9730)):
        cached.set(held(name, expires_at=START + 10_000), is_received=False)
        assert cached.due.at == at
        assert cached.is_due is False


@pytest.mark.parametrize(
    ("ahead", "is_trusted"),
    [(0.0, True), (60.0, True), (-60.0, True), (61.0, False), (-7200.0, False)],
)
def test_a_clock_that_is_far_off_does_not_expire_a_new_token(
    cached: CachedCredential, ahead: float, is_trusted: bool
) -> None:
    """The authority dates its token; what is more than delay is our clock's error."""
    issued_at = START + ahead
    token = access_token("new", expires_at=issued_at + 3600, iat=int(issued_at))
    new = replace(held("new", expires_at=issued_at + 3600), access_token=token)
    cached.set(new, is_received=True)
    assert cached.due.expires_at == START + 3600 + (ahead if is_trusted else 0)


def test_what_was_learned_of_the_clock_holds_for_what_others_store(
    cached: CachedCredential, clock: ManualClock
) -> None:
    """Until the authority dates another token."""
    token = access_token("a", expires_at=START - 3600, iat=int(START - 7200))
    cached.set(
        replace(held("a", expires_at=START - 3600), access_token=token),
        is_received=True,
    )
    assert cached.due.expires_at == START + 3600
    cached.set(held("b", expires_at=START - 1800), is_received=False)
    assert cached.due.expires_at == START + 5400
    clock.advance(0.0, wall_seconds=-7200)
    token = access_token("c", expires_at=START - 3600, iat=int(START - 7200))
    cached.set(
        replace(held("c", expires_at=START - 3600), access_token=token),
        is_received=True,
    )
    assert cached.due.expires_at == START - 3600
