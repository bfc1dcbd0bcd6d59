"""The loops that keep a credential fresh without a request."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.background import (
    RETRY_SAVE_TICKS,
    BackgroundRefresh,
    PeriodicTask,
)
from bearerd.credential.conditions import PERSON_AFTER_SECONDS
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store_loader import TORN_TIMEOUT_SECONDS
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
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
    soon,
    wait_until,
)

LOGGER = "bearerd.credential.background"


@asynccontextmanager
async def background(
    home: Home, source: CredentialSource | None = None
) -> AsyncIterator[CredentialSource]:
    """Run the background work of a source; its loops sleep by the test's clock."""
    source = source or home.source()
    clock = home.clock.clock
    running = asyncio.create_task(
        BackgroundRefresh(source, clock=clock, observe=home.events.append).run()
    )
    await wait_until(lambda: home.clock.sleepers == 2 or running.done())
    try:
        yield source
        assert not running.done(), "the background work has ended"
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
        await soon(home.clock.wait_for_sleepers(2))
    if until is not None:
        await wait_until(until)


async def test_a_refresh_runs_before_expiry_without_a_request(home: Home) -> None:
    """At the start of the window, and not a second earlier; one call."""
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
    """No request is needed for that."""
    if file_is_there:
        home.write(login())
    async with background(home):
        home.write(login("new"))
        await ticks(home, 2)
        assert len(home.events_of(CredentialLoaded)) == 1 + file_is_there
    needed = [] if file_is_there else ["missing"]
    assert [event.reason for event in home.events_of(LoginNeeded)] == needed
    assert len(home.events_of(LoginRestored)) == len(needed)


async def test_a_sign_out_is_noticed_and_announced_once(home: Home) -> None:
    """By the second read; later reads add nothing."""
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
    """After a suspend, or when the time was set. A small step is no jump."""
    home.write(login())
    async with background(home):
        await ticks(home, 3)
        home.clock.advance(1.0, wall_seconds=wall_seconds)
        await soon(home.clock.wait_for_sleepers(2))
        await ticks(home, 3)
    jumps = [event.seconds for event in home.events_of(ClockJumped)]
    assert jumps == pytest.approx(expected)


async def test_after_a_suspend_expiry_is_judged_by_the_clock_as_it_is(
    home: Home,
) -> None:
    """A night passes within one sleep: the token is refreshed at once."""
    home.write(login(expires_at=START + 8 * HOUR))
    async with background(home):
        home.clock.advance(1.0, wall_seconds=9 * HOUR)
        await wait_until(lambda: home.events_of(CredentialRefreshed) != [])
    assert home.events_of(CredentialRefreshed)[0].trigger == "expired"
    assert len(home.authority.calls) == 1


async def test_what_could_not_be_saved_is_saved_when_there_is_room(
    home: Home,
) -> None:
    """It is tried every few seconds."""
    home.write(login(expires_at=START + 1000))
    async with background(home) as source:
        cached = await source.current()
        with full_disk():
            new = await source.refresh(cached, "refused")
            await ticks(home, 2 * RETRY_SAVE_TICKS)
            assert len(home.events_of(CredentialHeldInMemory)) == 1
            assert home.events_of(CredentialSaved) == []
        await ticks(
            home, RETRY_SAVE_TICKS, until=lambda: home.events_of(CredentialSaved) != []
        )
        assert home.stored_refresh_token() == new.refresh_token


async def test_a_sign_out_while_nothing_can_be_saved_does_not_end_the_loops(
    home: Home,
) -> None:
    """Their end would be the end of the whole service."""
    home.write(login())
    async with background(home) as source:
        cached = await source.current()
        with full_disk():
            await source.refresh(cached, "refused")
            home.path.unlink()
        await ticks(home, 3 * RETRY_SAVE_TICKS)
        status = source.status()
        assert (status.state, status.code) == ("blocked", "login_required")
    assert not home.path.exists()


async def test_a_dead_login_is_not_tried_again_and_again(home: Home) -> None:
    """One call and one event; a new login is loaded and kept fresh."""
    home.write(login(expires_at=START + 100))
    home.authority.script.append(AuthorityFailure("refused", "revoked"))
    async with background(home) as source:
        await ticks(home, 200, until=lambda: home.events_of(LoginNeeded) != [])
        assert len(home.authority.calls) == 1
        status = source.status()
        assert (status.state, status.code) == ("blocked", "login_required")
        home.write(login("new", expires_at=START + 500))
        await ticks(home, 2)
        assert source.status().state == "usable"
        await ticks(home, 300, until=lambda: len(home.authority.calls) == 2)
    assert home.authority.calls[1] == refresh_token_of("new")
    assert len(home.events_of(LoginNeeded)) == 1


async def test_an_authority_that_is_away_is_called_less_and_less(home: Home) -> None:
    """A refresh is due each second; most of the time its pause is not over."""
    home.write(login(expires_at=START + 250))
    failures = [AuthorityFailure("undelivered", "no_route") for _ in range(50)]
    home.authority.script.extend(failures)
    async with background(home) as source:
        for _ in range(200):
            await ticks(home, 1)
            await soon(source.wait_idle())
        assert 5 <= len(home.authority.calls) <= 12
        assert (await source.current()).generation == 1, "served during the refresh"


async def test_a_file_that_stays_torn_is_overwritten(home: Home) -> None:
    """A writer has time to finish; after that the cached credential is written over it."""
    home.write(login())
    async with background(home) as source:
        await ticks(home, 1)
        home.path.write_bytes(b"{")
        await ticks(home, int(TORN_TIMEOUT_SECONDS) - 1)
        assert home.path.read_bytes() == b"{"
        status = source.status()
        assert (status.state, status.code) == ("degraded", "store_unreadable")
        assert (await source.current()).refresh_token == refresh_token_of("first")
        await ticks(
            home,
            2 * RETRY_SAVE_TICKS,
            until=lambda: home.events_of(CredentialSaved) != [],
        )
        assert home.stored_refresh_token() == refresh_token_of("first")
        await ticks(home, 2)
        assert source.status().state == "usable"
    assert home.events_of(LoginNeeded) == []
    assert home.authority.calls == []


async def test_a_torn_file_that_is_completed_in_time_is_loaded(home: Home) -> None:
    """It is the file of a slow writer, and replaces the cached credential."""
    home.write(login())
    async with background(home) as source:
        await ticks(home, 1)
        home.path.write_bytes(b"{")
        await ticks(home, int(TORN_TIMEOUT_SECONDS) - 1)
        home.path.write_text(json.dumps(login("new")))
        await ticks(home, 2 * RETRY_SAVE_TICKS)
        assert (await source.current()).refresh_token == refresh_token_of("new")
        assert home.stored_refresh_token() == refresh_token_of("new")
    assert home.events_of(CredentialHeldInMemory) == []


async def test_a_torn_file_is_written_back_at_the_latest_at_the_end(
    home: Home,
) -> None:
    """The process with the only copy of the login ends before the timeout."""
    home.write(login())
    async with background(home):
        await ticks(home, 1)
        home.path.write_bytes(b"")
        await ticks(home, 2)
        assert home.path.read_bytes() == b""
    assert home.stored_refresh_token() == refresh_token_of("first")


class FaultyStore(FileStore):
    """A store with a defect: while `fault` is set, each read raises it."""

    fault: Exception | None = None

    async def load(self) -> Credential:
        """Raise the fault, if there is one."""
        if self.fault is not None:
            raise self.fault
        return await super().load()

    async def has_changed(self) -> bool:
        """Return True, so that each tick reads the store."""
        return True


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ESTALE, "Stale file handle"),
        RuntimeError("a defect"),
        StoreError("no space left on this device"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_failing_task_is_logged_once_and_the_loop_continues(
    home: Home, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    """With any exception; the first run without one does what was due."""
    home.write(login())
    store = FaultyStore(home.path, clock=home.clock.skipping)
    async with background(home, home.source(store=store)) as source:
        store.fault = fault
        home.write(login("new"))
        await ticks(home, 5)
        assert (await source.current()).refresh_token == refresh_token_of("first")
        store.fault = None
        await ticks(home, 2)
        assert (await source.current()).refresh_token == refresh_token_of("new")
    is_foreseen = isinstance(fault, StoreError)
    failed = [record for record in caplog.records if record.exc_info]
    assert [record.name for record in failed] == [LOGGER] * (not is_foreseen)


@pytest.mark.parametrize("count", [1, 3])
async def test_each_fault_of_a_round_is_logged_once_until_it_is_over(
    caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Another error is logged, and so is the same one after a successful run."""
    faults: list[Exception | None] = []

    async def work() -> None:
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    one = PeriodicTask(work)
    for fault in (OSError("one"), OSError("two"), None, OSError("two")):
        faults[:] = [fault] * count
        for _ in range(count):
            await one.run()
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert logged == ["one", "two", "two"]


async def test_a_round_that_is_cancelled_ends() -> None:
    """Cancellation is no fault: it is how the loops end."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await PeriodicTask(work).run()


# The state, which changes with time although nothing reads it.


async def test_a_condition_that_lasts_needs_a_person_ten_minutes_after_its_start(
    home: Home,
) -> None:
    """To the second, and `since` stays its start."""
    home.write(login())
    async with background(home) as source:
        source.record_rejection(await source.current())
        await ticks(home, 2)
        home.clock.advance(PERSON_AFTER_SECONDS - 3)
        await soon(home.clock.wait_for_sleepers(2))
        assert (source.state.code, source.state.since) == ("upstream_rejects", START)
        assert not source.status().needs_person
        await ticks(home, 1)
        assert source.status().needs_person
        assert source.state.since == START


async def test_a_login_that_ends_is_blocked_from_that_second_on(home: Home) -> None:
    """It has no refresh token, so no refresh tells that."""
    document = login(expires_at=START + 10)
    document["tokens"]["refresh_token"] = ""
    home.write(document)
    async with background(home) as source:
        await ticks(home, 9)
        assert source.status().state == "degraded"
        await ticks(home, 1)
        assert source.status().state == "blocked"
        assert source.state.since == START + 10
