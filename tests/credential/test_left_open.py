"""What a death, a full disk or an old backup leaves behind, and how it is repaired."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import this_process
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    StoreError,
    StoreUnavailable,
)
from bearerd.events import CredentialHeldInMemory, CredentialSaved
from tests.credential.stand_ins import (
    START,
    Home,
    MountedAuthFile,
    access_token,
    credential_for,
    full_disk,
    identity,
    jwt,
    login,
    names_in,
    refresh_token_of,
    soon,
)
from tests.support.clock import ManualClock

PRESENTER = this_process()


def mounted(path: Path, clock: Clock) -> FileStore:
    """Return a store on a file that no rename can replace, so it is written in place."""
    store = FileStore(path, clock=clock)
    store._file = MountedAuthFile(path)
    return store


async def record_response(
    store: FileStore, serial: str, *, account: str = "acct-1"
) -> None:
    """Leave the record of a response that was being stored."""
    successor = credential_for(serial, account=account)
    await store.journal.write(
        JournalEntry(
            credential_for("first").fingerprint,
            None,
            START,
            PRESENTER,
            renewed=successor,
        )
    )


def assert_unreadable(source: CredentialSource) -> None:
    """Fail unless a sign-in is required, because the file can be read by nothing."""
    status = source.status()
    assert (status.state, status.code, status.reason) == (
        "blocked",
        "login_required",
        "unreadable",
    )


@pytest.mark.parametrize("torn", [b"", b'{"auth_mode": "chatgpt", "tok'])
async def test_a_file_torn_by_a_death_is_repaired_from_the_journal(
    home: Home, torn: bytes
) -> None:
    """It was written in place, and is half a document; the response is in the record."""
    store = mounted(home.path, home.clock.skipping)
    await record_response(store, "second")
    home.path.write_bytes(torn)
    source = home.source(store=store)
    await source.start()
    assert (await source.current()).refresh_token == refresh_token_of("second")
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert await store.journal.read() == []
    assert home.authority.calls == []


async def test_a_torn_file_is_not_repaired_with_another_accounts_response(
    home: Home,
) -> None:
    """The profile is pinned to an account, and the record is of another one."""
    store = mounted(home.path, home.clock.skipping)
    await store.write_state(StoreState(account=Account("acct-1", "user-1")))
    await record_response(store, "second", account="acct-2")
    home.path.write_bytes(b"{")
    source = home.source(store=store)
    await source.start()
    assert_unreadable(source)
    assert home.path.read_bytes() == b"{"


async def test_a_torn_file_of_another_program_is_not_written_over(home: Home) -> None:
    """A file that is replaced whole was not torn by bearerd, and nothing is held."""
    store = home.store()
    await record_response(store, "second")
    home.path.write_bytes(b"{")
    source = home.source(store=store)
    await source.start()
    assert_unreadable(source)
    assert home.path.read_bytes() == b"{"


@pytest.mark.parametrize(("earlier", "expected"), [(60.0, "newer"), (-60.0, "older")])
async def test_of_two_responses_for_one_refresh_token_the_one_that_lasts_stays(
    home: Home, earlier: float, expected: str
) -> None:
    """The authority does not rotate; the record is older than the file, or newer."""
    home.write(login("first", expires_at=START + 1000))
    store = home.store()
    stored = await store.load()
    renewed = replace(
        stored,
        access_token=credential_for(
            "x", expires_at=START + 1000 - earlier
        ).access_token,
        expires_at=START + 1000 - earlier,
    )
    await store.journal.write(
        JournalEntry(stored.fingerprint, None, START, PRESENTER, renewed=renewed)
    )
    source = home.source(store=store)
    await source.start()
    kept = await store.load()
    assert kept == (stored if expected == "newer" else renewed)


async def test_a_refresh_that_cannot_be_recorded_costs_nothing(home: Home) -> None:
    """Inside the window, with a full disk: when the token ends, the budget is whole."""
    home.write(login(expires_at=START + 100))
    source = home.source(bucket=TokenBucket(burst=2, interval_seconds=1000.0))
    await source.reload_if_changed()
    with full_disk():
        for _ in range(5):
            source.refresh_if_due()
            await soon(source.wait_idle())
        assert home.authority.calls == []
        home.clock.advance(101.0)
        new = await source.current()
    assert home.authority.calls == [refresh_token_of("first")]
    await source.retry_save()
    assert home.stored_refresh_token() == new.refresh_token


async def test_a_backup_of_a_spent_token_is_written_over(home: Home) -> None:
    """Else the only good login would end with this process."""
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


async def test_the_record_of_an_unsaved_login_survives_a_failed_call(
    home: Home,
) -> None:
    """A backup is in the file, and the network is down: the next process continues."""
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
    await soon(again.wait_idle())
    assert home.authority.reused == 0
    assert home.stored_refresh_token() != refresh_token_of("first")


async def test_a_newer_login_with_the_rejected_access_token_is_refreshed(
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


async def test_a_source_that_closes_gives_up_the_wait_for_the_lock(
    home: Home, clock: ManualClock
) -> None:
    """Nothing is presented yet, and the holder may take another minute."""
    home.write(login())
    source = home.source(clock=clock.skipping, lock_timeout_seconds=1e6)
    old = await source.current()
    async with home.store().lock(0):
        refreshing = asyncio.create_task(source.refresh(old, "refused"))
        await asyncio.sleep(0)
        await soon(source.close())
        with pytest.raises(StoreUnavailable, match="has held the lock"):
            await refreshing
    assert home.authority.calls == []
    assert clock.monotonic() < 1_000.0 + 60


@pytest.mark.parametrize("name", ["auth.json", "login.bearerd-lock"])
async def test_a_mounted_file_is_its_own_lock_and_keeps_its_content(
    tmp_path: Path, clock: ManualClock, name: str
) -> None:
    """Whatever its name: each container has another folder, and all have this file."""
    path = tmp_path / name
    content = json.dumps(login())
    path.write_text(content)
    async with mounted(path, clock.skipping).lock(0):
        with pytest.raises(TimeoutError):
            async with mounted(path, clock.skipping).lock(0):
                raise AssertionError("two hold it at once")
    assert names_in(tmp_path) == [name]
    assert path.read_text() == content


async def test_a_process_that_starts_does_not_refresh_a_young_token(
    home: Home,
) -> None:
    """Its life is shorter than the window: forty starts are not forty refreshes."""
    token = access_token("young", expires_at=START + 50, iat=int(START) - 10)
    document = login()
    document["tokens"]["access_token"] = token
    home.write(document)
    source = home.source()
    await source.current()
    assert source.status().refresh_at == START + 50 - 12
    assert home.authority.calls == []


class FullStore(FileStore):
    """A store with room for the record of a login, and none for the login."""

    is_full = True

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Fail while the disk is full."""
        if not self.is_full:
            return await super().replace(base, successor)
        raise StoreError("no space left on this device")


async def test_a_process_that_cannot_save_continues_from_anothers_record(
    home: Home,
) -> None:
    """Two processes have a full disk, and one of them has refreshed once more."""
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
    """The store has the same refresh token, with the access token that was rejected."""
    home.write(login())
    source = home.source(store=FullStore(home.path, clock=home.clock.skipping))
    old = await source.current()
    granted = Grant(access_token("new", expires_at=START + 900), None, None)
    home.authority.script.append(granted)
    new = await source.refresh(old, "refused")
    newer = await source.refresh(new, "refused")
    assert newer.access_token not in {old.access_token, new.access_token}


async def test_a_late_save_does_not_write_over_a_newer_login(
    home: Home,
) -> None:
    """One has refreshed, the other once more; then the first has room on its disk."""
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


async def test_an_unsaved_response_is_kept_over_the_login_that_it_follows(
    home: Home,
) -> None:
    """The refresh token is the same; the store is read, because its state changed."""
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


@pytest.mark.parametrize("saver", ["same-process", "other-process"])
async def test_an_unsaved_login_that_was_spent_on_another_accounts_grant_is_not_stored(
    home: Home, saver: str
) -> None:
    """The grant is kept for the login that is stored. With its successor in the file,
    `bearerd adopt` would not find the grant, and the next refresh would require a sign-in.
    """
    home.write(login())
    stores = [FullStore(home.path, clock=home.clock.skipping) for _ in range(2)]
    one, two = (home.source(store=store) for store in stores)
    unsaved = await one.refresh(await one.current(), "refused")
    assert await two.refresh(await two.current(), "refused") == unsaved
    names = identity("acct-2", "user-2")
    token = access_token("foreign", expires_at=START + 900, **names)
    grant = Grant(token, refresh_token_of("foreign"), jwt(names))
    home.authority.script.append(grant)
    with pytest.raises(AccountChanged):
        await one.refresh(unsaved, "refused")
    for store in stores:
        store.is_full = False
    await (one if saver == "same-process" else two).retry_save()
    assert home.stored_refresh_token() == refresh_token_of("first")
    assert home.events_of(CredentialSaved) == []
    later = home.source()
    with pytest.raises(AccountChanged):
        await later.refresh(await later.current(), "refused")
    assert (await later.adopt()).refresh_token == refresh_token_of("foreign")
    assert home.stored_refresh_token() == refresh_token_of("foreign")
    assert home.authority.reused == 0


async def test_an_unsaved_login_does_not_replace_a_sign_in_whose_token_is_spent(
    home: Home,
) -> None:
    """Another process has refreshed the new login, and cannot save it either."""
    home.write(login())
    stores = [FullStore(home.path, clock=home.clock.skipping) for _ in range(2)]
    one, two = (home.source(store=store) for store in stores)
    await one.refresh(await one.current(), "refused")
    home.write(login("new"))
    for source in (one, two):
        await source.reload_if_changed()
    newest = await two.refresh(await two.current(), "refused")
    await home.store().journal.clear()  # it is in the memory of one process only
    for store in stores:
        store.is_full = False
    await one.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("new")
    await two.retry_save()
    assert home.stored_refresh_token() == newest.refresh_token
    assert home.authority.reused == 0
