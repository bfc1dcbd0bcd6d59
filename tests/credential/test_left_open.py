"""What a death, a full disk or an old backup leaves behind, and how it is mended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import AuthorityUnavailable, StoreError
from bearerd.events import CredentialHeldInMemory, CredentialSaved, StoreTroubled
from tests.credential.stand_ins import (
    START,
    Home,
    access_token,
    full_disk,
    held,
    login,
    refresh_token_of,
    soon,
)
from tests.support.clock import ManualClock

PRESENTER = Presenter.this_process()


class MountedFile(FileStore):
    """A file that was mounted by itself, where a rename could not replace it."""

    @property
    def is_written_in_place(self) -> bool:
        """Say that it is."""
        return True


def mounted(home: Home) -> MountedFile:
    """Return a store on a file that is written in place."""
    return MountedFile(home.path, clock=home.clock.skipping)


async def answered(store: FileStore, renewed: str, *, account: str = "acct-1") -> None:
    """Leave the record of a response that was being stored."""
    entry = JournalEntry(
        held("first").fingerprint,
        None,
        START,
        PRESENTER,
        renewed=held(renewed, account=account),
    )
    await store.journal.write(entry)


@pytest.mark.parametrize("torn", [b"", b'{"auth_mode": "chatgpt", "tok'])
async def test_a_file_torn_by_a_death_is_mended_from_the_journal(
    home: Home, torn: bytes
) -> None:
    """Written in place, it is half a document; the response is in the record."""
    store = mounted(home)
    await answered(store, "second")
    home.path.write_bytes(torn)
    source = home.source(store=store)
    await source.start()
    assert (await source.current()).refresh_token == refresh_token_of("second")
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert await store.journal.read() == []
    assert home.authority.calls == []


async def test_a_torn_file_is_not_mended_with_somebody_elses_response(
    home: Home,
) -> None:
    """The profile has an owner, and the record is another's."""
    store = mounted(home)
    await store.write_state(StoreState(account=Account("acct-1", "user-1")))
    await answered(store, "second", account="acct-2")
    home.path.write_bytes(b"{")
    source = home.source(store=store)
    await source.start()
    assert source.status().state == "login_required"
    assert home.path.read_bytes() == b"{"


async def test_a_broken_file_of_somebody_else_is_not_written_over(home: Home) -> None:
    """One that is replaced whole was not torn by us."""
    store = home.store()
    await answered(store, "second")
    home.path.write_bytes(b"{")
    source = home.source(store=store)
    await source.start()
    assert source.status().state == "login_required"
    assert home.path.read_bytes() == b"{"


@pytest.mark.parametrize(("earlier", "expected"), [(60.0, "newer"), (-60.0, "older")])
async def test_of_two_responses_for_one_refresh_token_the_one_that_lasts_stays(
    home: Home, earlier: float, expected: str
) -> None:
    """An authority that does not rotate; the record is older than the file, or newer."""
    home.write(login("first", expires_at=START + 1000))
    store = home.store()
    stored = await store.load()
    renewed = replace(
        stored,
        access_token=held("x", expires_at=START + 1000 - earlier).access_token,
        expires_at=START + 1000 - earlier,
    )
    await store.journal.write(
        JournalEntry(stored.fingerprint, None, START, PRESENTER, renewed=renewed)
    )
    source = home.source(store=store)
    await source.start()
    kept = await store.load()
    assert kept == (stored if expected == "newer" else renewed)


async def test_what_is_not_sent_for_want_of_a_record_costs_no_call(home: Home) -> None:
    """In the window, with a full disk: at the end of the token the budget is whole."""
    home.write(login(expires_at=START + 100))
    source = home.source(bucket=TokenBucket(burst=2, interval_seconds=1000.0))
    await source.reload_if_changed()
    with full_disk():
        for _ in range(5):
            source.refresh_if_due()
            await soon(source._single_flight.wait_idle())
        assert home.authority.calls == []
        home.clock.advance(101.0)
        new = await source.current()
    assert home.authority.calls == [refresh_token_of("first")]
    await source.retry_save()
    assert home.stored_refresh_token() == new.refresh_token


async def test_a_backup_of_a_spent_token_is_written_over(home: Home) -> None:
    """Or the only good login would end with this process."""
    home.write(login())
    source = home.source()
    backup = home.read()
    old = await source.current()
    new = await source.refresh(old, "refused")
    home.write(backup)
    await source.reload_if_changed()
    assert source.status().in_memory_only
    assert len(home.events_of(CredentialHeldInMemory)) == 1
    await source.retry_save()
    assert home.stored_refresh_token() == new.refresh_token
    assert home.events_of(CredentialSaved) == [CredentialSaved("default")]
    assert not source.status().in_memory_only
    assert len(home.authority.calls) == 1


async def test_the_record_of_what_the_store_has_not_survives_a_failure(
    home: Home,
) -> None:
    """A backup is in the file, and the network is down: a new process goes on."""
    home.write(login())
    source = home.source()
    backup = home.read()
    new = await source.refresh(await source.current(), "refused")
    home.write(backup)
    home.authority.script.append(AuthorityFailure("undelivered", "no_route"))
    with pytest.raises(AuthorityUnavailable):
        await source.refresh(new, "refused")
    again = home.source()
    await again.start()
    await soon(again._single_flight.wait_idle())
    assert home.authority.reused == 0
    assert home.stored_refresh_token() != refresh_token_of("first")


async def test_a_winner_with_the_token_that_was_refused_is_refreshed(
    home: Home,
) -> None:
    """After a reuse the file has another refresh token, and the same access token."""
    home.write(login())
    source = home.source()
    old = await source.current()
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    rotated = login("second")
    rotated["tokens"]["access_token"] = home.read()["tokens"]["access_token"]
    home.authority.before_response = lambda: home.write(rotated)
    new = await source.refresh(old, "refused")
    assert new.access_token != old.access_token
    assert home.authority.calls[1:] == [refresh_token_of("second")]


async def test_a_source_that_closes_waits_for_nobodys_lock(
    home: Home, clock: ManualClock
) -> None:
    """Nothing is spent yet; the holder may take another minute."""
    home.write(login())
    source = home.source(clock=clock.skipping, lock_timeout_seconds=1e6)
    old = await source.current()
    async with home.store().lock(0):
        asked = asyncio.create_task(source.refresh(old, "refused"))
        await asyncio.sleep(0)
        await soon(source.close())
        with pytest.raises(AuthorityUnavailable):
            await asked
    assert home.authority.calls == []
    assert clock.monotonic() < 1_000.0 + 60


def test_a_mounted_file_is_its_own_lock(tmp_path: Path, clock: ManualClock) -> None:
    """Each container has another folder around it, and all have this file."""
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(login()))

    async def locked() -> None:
        async with MountedFile(path, clock=clock.skipping).lock(0):
            with pytest.raises(TimeoutError):
                async with MountedFile(path, clock=clock.skipping).lock(0):
                    raise AssertionError("it was given to two at once")

    asyncio.run(locked())
    assert [it.name for it in tmp_path.iterdir()] == ["auth.json"]


async def test_a_process_that_starts_does_not_renew_a_token_that_is_young(
    home: Home,
) -> None:
    """It lives for less than the window: forty starts are not forty refreshes."""
    token = access_token("young", expires_at=START + 50, iat=int(START) - 10)
    document = login()
    document["tokens"]["access_token"] = token
    home.write(document)
    source = home.source()
    await source.current()
    assert source.status().refresh_at == START + 50 - 12
    assert home.authority.calls == []


async def test_a_store_that_cannot_be_read_is_said_once_and_mends(home: Home) -> None:
    """What is held is served meanwhile, and a person can see why that may end."""
    home.write(login())
    source = home.source()
    held_now = await source.current()
    home.path.write_bytes(b"{")
    for _ in range(3):
        await source.reload_if_changed()
        assert await source.current() is held_now
    (said,) = home.events_of(StoreTroubled)
    assert str(home.path) in said.reason
    assert source.status().state == "ready"
    assert source.status().message == said.reason
    home.write(login())
    await source.reload_if_changed()
    assert source.status().message is None
    home.path.write_bytes(b"{")
    await source.reload_if_changed()
    assert len(home.events_of(StoreTroubled)) == 2


class FullStore(FileStore):
    """A store that takes the record of a login, and not the login."""

    is_full = True

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Refuse while the disk is full."""
        if not self.is_full:
            return await super().replace(began_from, renewed)
        raise StoreError("no space left on this device")


async def test_who_cannot_save_goes_on_from_what_another_has_noted(
    home: Home,
) -> None:
    """Two processes before a full disk, one of which has renewed once more."""
    home.write(login())
    one, two = (
        home.source(store=FullStore(home.path, clock=home.clock.skipping))
        for _ in range(2)
    )
    first = await one.refresh(await one.current(), "refused")
    assert await two.refresh(await two.current(), "refused") == first
    second = await one.refresh(first, "refused")
    held_by_two = await two.current()
    assert await two.refresh(held_by_two, "refused") == second
    third = await two.refresh(second, "refused")
    assert third not in {first, second}
    assert home.authority.reused == 0
    assert len(home.authority.calls) == len(set(home.authority.calls)) == 3


async def test_an_unsaved_response_without_a_new_refresh_token_stays_the_newest(
    home: Home,
) -> None:
    """The store has the same refresh token, with the access token that was refused."""
    home.write(login())
    source = home.source(store=FullStore(home.path, clock=home.clock.skipping))
    old = await source.current()
    granted = Grant(access_token("new", expires_at=START + 900), None, None)
    home.authority.script.append(granted)
    new = await source.refresh(old, "refused")
    newer = await source.refresh(new, "refused")
    assert newer.access_token not in {old.access_token, new.access_token}


async def test_who_saves_late_does_not_write_over_what_another_went_on_to(
    home: Home,
) -> None:
    """One has renewed, the other once more; then the disk is mended for the first."""
    home.write(login())
    store = FullStore(home.path, clock=home.clock.skipping)
    one = home.source(store=store)
    first = await one.refresh(await one.current(), "refused")
    two = home.source(store=FullStore(home.path, clock=home.clock.skipping))
    await two.start()
    second = await two.refresh(first, "refused")
    store.is_full = False
    await one.retry_save()
    assert home.stored_refresh_token() == second.refresh_token
    assert await one.current() == second
    assert not one.status().in_memory_only
    assert home.authority.reused == 0


async def test_an_unsaved_response_is_not_given_up_for_what_it_was_made_from(
    home: Home,
) -> None:
    """The refresh token is the same; the store is looked at, as its notes changed."""
    home.write(login())
    store = FullStore(home.path, clock=home.clock.skipping)
    source = home.source(store=store)
    granted = Grant(access_token("new", expires_at=START + 900), None, None)
    home.authority.script.append(granted)
    new = await source.refresh(await source.current(), "refused")
    await home.store().write_state(StoreState(account=Account("acct-1", "user-1")))
    await source.reload_if_changed()
    assert await source.current() is new
    store.is_full = False
    await source.retry_save()
    assert (await home.store().load()).access_token == new.access_token
