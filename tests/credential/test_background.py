"""The loops that keep a credential fresh while nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.background import RETRY_SAVE_TICKS, BackgroundRefresh
from bearerd.credential.source import CredentialSource
from bearerd.events import (
    ClockJumped,
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    CredentialSaved,
    LoginNeeded,
    LoginRestored,
)
from tests.credential.stand_ins import (
    HOUR,
    START,
    Home,
    full_disk,
    login,
    refresh_token_of,
    wait_until,
)


@asynccontextmanager
async def background(home: Home) -> AsyncIterator[CredentialSource]:
    """Run the upkeep of a source whose loops sleep by the test's clock."""
    source = home.source()
    clock = home.clock.clock
    running = asyncio.create_task(
        BackgroundRefresh(source, clock=clock, observe=home.events.append).run()
    )
    await wait_until(lambda: home.clock.sleepers == 2 or running.done())
    try:
        yield source
        assert not running.done(), "upkeep has ended"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await source.close()


async def ticks(
    home: Home, seconds: float, *, until: Callable[[], bool] | None = None
) -> None:
    """Let time pass second by second; then wait for *until*."""
    for _ in range(int(seconds)):
        home.clock.advance(1.0)
        await wait_until(lambda: home.clock.sleepers == 2)
    if until is not None:
        await wait_until(until)


async def test_a_refresh_runs_before_expiry_while_nobody_asks(home: Home) -> None:
    """At the window's start and not a second earlier; one call."""
    home.write(login(expires_at=START + 310))
    async with background(home) as source:
        await ticks(home, 9)
        assert home.authority.calls == []
        await ticks(home, 1, until=lambda: home.events_of(CredentialRefreshed) != [])
        await ticks(home, 30)
        assert len(home.authority.calls) == 1
        assert (await source.current()).generation == 2
    assert home.events_of(CredentialRefreshed)[0].trigger == "expiring"


@pytest.mark.parametrize("file_is_there", [True, False], ids=["replaced", "appears"])
async def test_a_store_that_changed_is_noticed_within_two_seconds(
    home: Home, file_is_there: bool
) -> None:
    """Though no request comes."""
    if file_is_there:
        home.write(login())
    async with background(home):
        home.write(login("new"))
        await ticks(home, 2)
        assert len(home.events_of(CredentialLoaded)) == 1 + file_is_there
    needed = [] if file_is_there else ["missing"]
    assert [event.reason for event in home.events_of(LoginNeeded)] == needed
    assert len(home.events_of(LoginRestored)) == len(needed)


async def test_a_sign_out_is_noticed_and_said_once(home: Home) -> None:
    """Two looks, and then however many."""
    home.write(login())
    async with background(home):
        home.path.unlink()
        await ticks(home, 9)
    assert [event.reason for event in home.events_of(LoginNeeded)] == ["missing"]


@pytest.mark.parametrize(
    ("wall_seconds", "expected"),
    [
        (1.0, []),
        (5.9, []),
        (-3.9, []),
        (6.1, [5.1]),
        (HOUR, [HOUR - 1.0]),
        (-HOUR, [-HOUR - 1.0]),
    ],
)
async def test_a_clock_that_jumped_is_announced_once(
    home: Home, wall_seconds: float, expected: list[float]
) -> None:
    """A suspend, or somebody who set the time; small steps are none."""
    home.write(login())
    async with background(home):
        await ticks(home, 3)
        home.clock.advance(1.0, wall_seconds=wall_seconds)
        await wait_until(lambda: home.clock.sleepers == 2)
        await ticks(home, 3)
    jumps = [event.seconds for event in home.events_of(ClockJumped)]
    assert jumps == pytest.approx(expected)


async def test_after_a_suspend_expiry_is_judged_by_the_clock_as_it_is(
    home: Home,
) -> None:
    """A night passed within one sleep: the token is renewed at once."""
    home.write(login(expires_at=START + 8 * HOUR))
    async with background(home):
        home.clock.advance(1.0, wall_seconds=9 * HOUR)
        await wait_until(lambda: home.events_of(CredentialRefreshed) != [])
    assert home.events_of(CredentialRefreshed)[0].trigger == "expired"
    assert len(home.authority.calls) == 1


async def test_what_could_not_be_saved_is_saved_when_there_is_room(
    home: Home,
) -> None:
    """Tried every few seconds."""
    home.write(login(expires_at=START + 1000))
    async with background(home) as source:
        held = await source.current()
        with full_disk():
            new = await source.refresh(held, "refused")
            await ticks(home, 2 * RETRY_SAVE_TICKS)
            assert len(home.events_of(CredentialHeldInMemory)) == 1
            assert home.events_of(CredentialSaved) == []
        await ticks(
            home, RETRY_SAVE_TICKS, until=lambda: home.events_of(CredentialSaved) != []
        )
        assert home.stored_refresh_token() == new.refresh_token


async def test_a_sign_out_while_nothing_could_be_saved_ends_no_upkeep(
    home: Home,
) -> None:
    """It would take the whole service along."""
    home.write(login())
    async with background(home) as source:
        held = await source.current()
        with full_disk():
            await source.refresh(held, "refused")
            home.path.unlink()
        await ticks(home, 3 * RETRY_SAVE_TICKS)
        assert source.status().state == "login_required"
    assert not home.path.exists()


async def test_a_dead_login_is_not_tried_again_and_again(home: Home) -> None:
    """One call, and one word; a new login is taken up and kept fresh."""
    home.write(login(expires_at=START + 100))
    home.authority.script.append(AuthorityFailure("refused", "revoked"))
    async with background(home) as source:
        await ticks(home, 200, until=lambda: home.events_of(LoginNeeded) != [])
        assert len(home.authority.calls) == 1
        assert source.status().state == "login_required"
        home.write(login("new", expires_at=START + 500))
        await ticks(home, 2)
        assert source.status().state == "ready"
        await ticks(home, 300, until=lambda: len(home.authority.calls) == 2)
    assert home.authority.calls[1] == refresh_token_of("new")
    assert len(home.events_of(LoginNeeded)) == 1


async def test_an_authority_that_is_away_is_asked_less_and_less(home: Home) -> None:
    """Every second it is due; the backoff answers most of the time."""
    home.write(login(expires_at=START + 250))
    failures = [AuthorityFailure("undelivered", "no_route") for _ in range(50)]
    home.authority.script.extend(failures)
    async with background(home) as source:
        for _ in range(200):
            await ticks(home, 1)
            await wait_until(lambda: not source._single_flight.is_in_the_air)
        assert 5 <= len(home.authority.calls) <= 12
        assert (await source.current()).generation == 1, "served meanwhile"


async def test_a_file_that_is_broken_all_the_time_is_borne(home: Home) -> None:
    """It neither ends the upkeep nor the service."""
    home.write(login())
    async with background(home) as source:
        home.path.write_bytes(b"{")
        await ticks(home, 5)
        assert (await source.current()).refresh_token == refresh_token_of("first")
    assert home.events_of(LoginNeeded) == []
