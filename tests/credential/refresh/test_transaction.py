"""The transaction around a call: begin, commit, recover, and conflicts.

Each `Process` has a transaction and a store of its own, on the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from bearerd.credential.refresh.crash_recovery import CrashRecoveryResult
from bearerd.credential.refresh.transaction import RefreshAttempt, RefreshTransaction
from bearerd.credential.refresh.unsaved import REPLACE_TRIES
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.store.quarantine import QuarantinedCredential
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError
from tests.credential.stand_ins import (
    MARK,
    START,
    Document,
    Home,
    access_token,
    credential_for,
    full_disk,
    identity,
    jwt,
    login,
    names_in,
    refresh_token_of,
)

DEAD = Presenter(pid=1, host="gone")
FOREIGN = credential_for("foreign", account="acct-2", user="user-2")
OTHERS_FILE = login("other", account="acct-2", user="user-2")
BACKUP = login("backup", last_refresh="2026-12-01T08:00:00Z")


@dataclass
class Process:
    """A process that may refresh the login in the file."""

    store: FileStore
    transaction: RefreshTransaction

    async def attempt(self) -> RefreshAttempt:
        """Begin a refresh of what the store holds."""
        stored = await self.store.load()
        attempt = RefreshAttempt(stored, self.transaction.newest(stored, None))
        assert await self.transaction.begin(attempt)
        return attempt


@pytest.fixture
def process(home: Home) -> Callable[[], Process]:
    """A maker of processes on a home with a login."""
    home.write(login("first"))

    def make(store: FileStore | None = None) -> Process:
        store = store or home.store()
        clock = home.clock.skipping
        transaction = RefreshTransaction(store=store, clock=clock, presenter=DEAD)
        return Process(store, transaction)

    return make


Make = Callable[..., Process]


def is_unsaved(process: Process) -> bool:
    """Return True if the process holds in memory what no file has."""
    return process.transaction.has_unsaved


async def journal(home: Home) -> list[JournalEntry]:
    """Return the records on disk."""
    return await home.store().journal.read()


async def kept_foreign(home: Home) -> QuarantinedCredential | None:
    """Return the foreign grant in the quarantine."""
    return await home.store().quarantine.read("foreign")


async def mark_spent(home: Home, *serials: str) -> None:
    """Note in the state that some process has spent these tokens."""
    spent = tuple(credential_for(serial).fingerprint for serial in serials)
    await home.store().write_state(StoreState(spent=spent))


def tokens_on_disk(home: Home) -> dict[str, list[str]]:
    """Return which files beside the store contain which refresh tokens."""
    serials = ("first", "second", "third", "foreign", "new")
    return {
        path.name: [one for one in serials if refresh_token_of(one).encode() in content]
        for path in home.path.parent.iterdir()
        if MARK.encode() in (content := path.read_bytes())
    }


# Begin, commit, abort.


async def test_a_record_is_on_disk_from_begin_to_commit(
    home: Home, process: Make
) -> None:
    """It holds a token only between the response and the store."""
    one = process()
    attempt = await one.attempt()
    (record,) = await journal(home)
    assert (record.stored, record.spending) == (
        credential_for().fingerprint,
        credential_for().fingerprint,
    )
    assert (record.renewed, record.presenter, record.since) == (None, DEAD, START)
    assert await one.transaction.commit(attempt, credential_for("second")) is None
    assert await journal(home) == []
    assert tokens_on_disk(home) == {"auth.json": ["second"]}
    assert not one.transaction.has_unsaved


async def test_nothing_is_left_of_a_call_that_gave_nothing(
    home: Home, process: Make
) -> None:
    """Unless the record holds the only copy of an unsaved credential."""
    one = process()
    await one.transaction.abort(await one.attempt())
    assert await journal(home) == []
    unsaved = RefreshAttempt(credential_for("first"), credential_for("second"))
    await one.transaction.begin(unsaved)
    await one.transaction.abort(unsaved)
    assert [record.renewed for record in await journal(home)] == [
        credential_for("second")
    ]


async def test_what_cannot_be_stored_is_in_memory_until_it_can(
    home: Home, process: Make
) -> None:
    """The journal cannot be written here either."""
    one = process()
    attempt = await one.attempt()
    with full_disk():
        with pytest.raises(StoreError):
            await one.transaction.commit(attempt, credential_for("second"))
        assert one.transaction.newest(attempt.stored, None) == credential_for("second")
        with pytest.raises(StoreError):
            await one.transaction.retry_save()
    assert await one.transaction.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert await journal(home) == []
    assert not one.transaction.has_unsaved


# Conflicts between a late response and the store.


async def test_a_sign_in_during_the_call_is_not_overwritten(
    home: Home, process: Make
) -> None:
    """It is a little older than the response, and newer than what was presented."""
    one = process()
    attempt = await one.attempt()
    home.write(login("new", last_refresh="2027-01-15T08:00:10Z"))
    home.clock.advance(30.0)
    late = replace(credential_for("second"), refreshed_at=home.clock.now())
    conflicting = await one.transaction.commit(attempt, late)
    assert conflicting is not None
    assert conflicting.refresh_token == refresh_token_of("new")
    assert home.stored_refresh_token() == refresh_token_of("new")
    assert (await journal(home), one.transaction.has_unsaved) == ([], False)


@pytest.mark.parametrize("is_known", [True, False], ids=["known-as-spent", "older"])
async def test_a_backup_that_comes_back_during_the_call_does_not_win(
    home: Home, process: Make, is_known: bool
) -> None:
    """Else the response would be in no place, and the backup's token is spent."""
    one = process()
    attempt = await one.attempt()
    home.write(login("backup") if is_known else BACKUP)
    if is_known:
        await mark_spent(home, "backup")
        one.transaction.sync(await home.store().read_state())
    assert await one.transaction.commit(attempt, credential_for("second")) is None
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert (await journal(home), one.transaction.has_unsaved) == ([], False)


class RestlessStore(FileStore):
    """A store in which another backup comes back before each write."""

    is_restless = True
    backups = 0

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Find another backup than the last one."""
        if not self.is_restless:
            return await super().replace(base, successor)
        self.backups += 1
        return replace(
            credential_for(f"backup-{self.backups}"), refreshed_at=START - 1e6
        )


async def test_a_store_that_keeps_changing_is_an_error_and_no_loop(
    home: Home, process: Make
) -> None:
    """The successor stays in the journal and in memory, and is saved later."""
    store = RestlessStore(home.path, clock=home.clock.skipping)
    one = process(store)
    attempt = await one.attempt()
    with pytest.raises(StoreError, match="keeps replacing it"):
        await one.transaction.commit(attempt, credential_for("second"))
    assert store.backups == REPLACE_TRIES
    assert [record.renewed for record in await journal(home)] == [
        credential_for("second")
    ]
    store.is_restless = False
    home.write(BACKUP)
    assert await one.transaction.retry_save()
    assert tokens_on_disk(home) == {"auth.json": ["second"]}


@pytest.mark.parametrize(
    "other",
    [OTHERS_FILE, {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-made-up"}],
    ids=["another-account", "another-kind"],
)
@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
async def test_a_response_waits_for_its_file_to_be_put_back(
    home: Home, process: Make, other: Document, is_restarted: bool
) -> None:
    """The file of another login landed during the call; the old one comes back."""
    one = process()
    before = home.path.read_bytes()
    attempt = await one.attempt()
    home.write(other)
    with suppress(LoginRequired):  # of another kind
        conflicting = await one.transaction.commit(attempt, credential_for("second"))
        assert conflicting is not None
        assert conflicting.account_id == "acct-2"
    assert is_unsaved(one)
    assert await one.transaction.retry_save() is False
    assert home.read() == other
    assert [record.renewed for record in await journal(home)] == [
        credential_for("second")
    ]
    home.path.write_bytes(before)
    if is_restarted:
        one = process()
        await one.transaction.recover()
    else:
        assert await one.transaction.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert (await journal(home), one.transaction.has_unsaved) == ([], False)


async def test_a_sign_out_during_the_call_leaves_nothing_on_disk(
    home: Home, process: Make
) -> None:
    """In memory it stays, for the file may only have been missing for a moment."""
    one = process()
    attempt = await one.attempt()
    before = home.path.read_bytes()
    home.path.unlink()
    with pytest.raises(LoginRequired):
        await one.transaction.commit(attempt, credential_for("second"))
    assert tokens_on_disk(home) == {}
    home.path.write_bytes(before)
    assert one.transaction.newest(attempt.stored, None) == credential_for("second")


async def test_a_sign_out_ends_what_is_unsaved(home: Home, process: Make) -> None:
    """Saving later does not bring the login back."""
    one = process()
    attempt = await one.attempt()
    with full_disk(), pytest.raises(StoreError):
        await one.transaction.commit(attempt, credential_for("second"))
    home.path.unlink()
    assert await one.transaction.retry_save() is False
    assert not one.transaction.has_unsaved
    assert tokens_on_disk(home) == {}


async def test_what_is_unsaved_yields_to_a_sign_in_and_not_to_a_backup(
    home: Home, process: Make
) -> None:
    """Both replaced the file while nothing could be saved."""
    one = process()
    attempt = await one.attempt()
    with full_disk(), pytest.raises(StoreError):
        await one.transaction.commit(attempt, credential_for("second"))
    home.write(BACKUP)
    stored = await one.store.load()
    one.transaction.compare_with_stored(stored)
    assert one.transaction.newest(stored, None) == credential_for("second")
    home.write(login("new", last_refresh="2027-01-15T08:00:10Z"))
    stored = await one.store.load()
    one.transaction.compare_with_stored(stored)
    assert not one.transaction.has_unsaved
    assert one.transaction.newest(stored, None) == stored


# Recovery: the cases of `refresh.interrupted`.


async def leave(
    home: Home,
    *,
    stored: str = "first",
    spending: str | None = None,
    renewed: Credential | None = None,
    response: bytes | None = None,
) -> None:
    """Leave the record, and perhaps the response, of a process that died."""
    name = credential_for(spending).fingerprint if spending else None
    store = home.store()
    await store.journal.write(
        JournalEntry(credential_for(stored).fingerprint, name, START, DEAD, renewed)
    )
    if response is not None:
        store.journal.spool.write(response)


def response_of(serial: str, account: str = "acct-1", **changed: object) -> bytes:
    """Return the body of a grant."""
    who = identity(account, "user-1" if account == "acct-1" else "user-2")
    body = {
        "access_token": access_token(serial, expires_at=START + 1e6, **who),
        "refresh_token": refresh_token_of(serial),
        "id_token": jwt(who),
    }
    return json.dumps(body | changed).encode()


async def test_1_nothing_is_open(home: Home, process: Make) -> None:
    """Nothing is done, even without a login."""
    assert await process().transaction.recover() == CrashRecoveryResult()
    home.path.unlink()
    assert await process().transaction.recover() == CrashRecoveryResult()


async def test_2_a_record_over_another_login_is_cleared(
    home: Home, process: Make
) -> None:
    """A sign-in came since."""
    home.write(login("new"))
    await leave(home, renewed=credential_for("second"))
    assert await process().transaction.recover() == CrashRecoveryResult()
    assert tokens_on_disk(home) == {"auth.json": ["new"]}


async def test_3_a_process_with_a_newer_credential_leaves_the_record(
    home: Home, process: Make
) -> None:
    """Its memory is ahead of the record."""
    one = process()
    attempt = await one.attempt()
    with full_disk(), pytest.raises(StoreError):
        await one.transaction.commit(attempt, credential_for("second"))
    assert [record.renewed for record in await journal(home)] == [None]
    assert await one.transaction.recover() == CrashRecoveryResult()
    assert one.transaction.newest(attempt.stored, None) == credential_for("second")
    assert len(await journal(home)) == 1


@pytest.mark.parametrize("where", ["journal", "spool"])
async def test_4_a_successor_is_stored_and_its_predecessor_known_as_spent(
    home: Home, process: Make, where: str
) -> None:
    """The process that got it died before it could write either."""
    if where == "journal":
        await leave(home, renewed=credential_for("second"))
    else:
        await leave(home, spending="first", response=response_of("second"))
    assert await process().transaction.recover() == CrashRecoveryResult()
    assert tokens_on_disk(home) == {"auth.json": ["second"]}
    assert (await home.store().read_state()).spent == (
        credential_for("first").fingerprint,
    )


async def test_4_a_successor_that_cannot_be_stored_stays_in_memory(
    home: Home, process: Make
) -> None:
    """And saved later, by the same process or by another."""
    await leave(home, renewed=credential_for("second"))
    one = process()
    with full_disk():
        recovered = await one.transaction.recover()
    assert recovered.unsaved == credential_for("second")
    assert recovered.error is not None
    assert one.transaction.has_unsaved
    assert await one.transaction.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("second")


async def test_4_a_successor_is_stored_over_a_backup_that_came_back(
    home: Home, process: Make
) -> None:
    """The process died, and then its file was restored: the login is in the record."""
    await mark_spent(home, "backup")
    await leave(home, renewed=credential_for("second"))
    home.write(login("backup"))
    await process().transaction.recover()
    assert home.stored_refresh_token() == refresh_token_of("second")


async def test_4_and_5_an_unsaved_successor_that_was_presented(
    home: Home, process: Make
) -> None:
    """It is stored first; then its own token is maybe spent."""
    await leave(home, spending="second", renewed=credential_for("second"))
    assert (await process().transaction.recover()).is_maybe_spent
    assert home.stored_refresh_token() == refresh_token_of("second")
    (record,) = await journal(home)
    assert (record.stored, record.spending) == (
        credential_for("second").fingerprint,
    ) * 2
    assert record.renewed is None
    assert (await process().transaction.recover()).is_maybe_spent


async def test_5_a_token_may_be_spent(home: Home, process: Make) -> None:
    """The record stays until the token was presented once more."""
    await leave(home, spending="first", response=response_of("second")[:-9])
    for _ in range(2):
        assert (await process().transaction.recover()).is_maybe_spent
    assert home.stored_refresh_token() == refresh_token_of("first")


@pytest.mark.parametrize("where", ["journal", "spool"])
async def test_6_a_record_waits_while_another_accounts_file_is_there(
    home: Home, process: Make, where: str
) -> None:
    """Also if the process died before it could write the response into the journal."""
    before = home.path.read_bytes()
    if where == "journal":
        await leave(home, renewed=credential_for("second"))
    else:
        await leave(home, spending="first", response=response_of("second"))
    home.write(OTHERS_FILE)
    for _ in range(2):
        assert await process().transaction.recover() == CrashRecoveryResult()
    assert home.read() == OTHERS_FILE
    home.path.write_bytes(before)
    await process().transaction.recover()
    assert tokens_on_disk(home) == {"auth.json": ["second"]}


@pytest.mark.parametrize(
    "response",
    [
        response_of("second", access_token=None),
        response_of("second", refresh_token=None),
        response_of("second")[:-3],
    ],
    ids=["no-access-token", "no-refresh-token", "torn"],
)
async def test_6_a_response_that_is_not_a_login_by_itself_does_not_wait(
    home: Home, process: Make, response: bytes
) -> None:
    """Without the credential that was presented it is none."""
    await leave(home, spending="first", response=response)
    home.write(OTHERS_FILE)
    assert await process().transaction.recover() == CrashRecoveryResult()
    assert await journal(home) == []


async def test_6_a_refresh_of_the_other_login_keeps_what_waits(
    home: Home, process: Make
) -> None:
    """The journal is needed for it; what waits goes into the quarantine."""
    await leave(home, renewed=credential_for("second"))
    home.write(OTHERS_FILE)
    one = process()
    await one.transaction.recover()
    attempt = await one.attempt()
    kept = await kept_foreign(home)
    assert kept is not None
    assert kept.credential == credential_for("second")
    assert kept.presented == credential_for("first").fingerprint
    await one.transaction.commit(attempt, FOREIGN)
    assert set(tokens_on_disk(home)) == {
        "auth.json",
        "auth.json.bearerd-quarantine-foreign",
    }


async def test_6_what_waits_is_not_written_over_if_it_cannot_be_kept(
    home: Home, process: Make
) -> None:
    """Then a refresh has no record, and one that can wait is not made."""
    await leave(home, renewed=credential_for("second"))
    home.write(OTHERS_FILE)
    one = process()
    await one.transaction.recover()
    stored = await one.store.load()
    with full_disk():
        assert not await one.transaction.begin(RefreshAttempt(stored, stored))
    assert [record.renewed for record in await journal(home)] == [
        credential_for("second")
    ]


@pytest.mark.parametrize("where", ["journal", "spool"])
async def test_7_a_grant_for_another_account_is_kept_and_its_price_is_known(
    home: Home, process: Make, where: str
) -> None:
    """The token that is stored was spent on it, and must not be presented again: that
    would end the family of the grant too.
    """
    if where == "journal":
        await leave(home, renewed=FOREIGN)
    else:
        response = response_of("foreign", "acct-2")
        await leave(home, spending="first", response=response)
    assert await process().transaction.recover() == CrashRecoveryResult()
    assert home.stored_refresh_token() == refresh_token_of("first")
    kept = await kept_foreign(home)
    assert kept is not None
    assert kept.credential.refresh_token == refresh_token_of("foreign")
    assert kept.credential.account_id == "acct-2"
    later = process()
    later.transaction.sync(await home.store().read_state())
    assert later.transaction.is_spent(credential_for("first"))


# The quarantine.


async def test_a_foreign_grant_is_kept_and_nothing_else_changes(
    home: Home, process: Make
) -> None:
    """The store is as it was."""
    one = process()
    attempt = await one.attempt()
    await one.transaction.quarantine(attempt, FOREIGN)
    assert tokens_on_disk(home) == {
        "auth.json": ["first"],
        "auth.json.bearerd-quarantine-foreign": ["foreign"],
    }
    assert one.transaction.is_spent(attempt.presented)
    assert await journal(home) == []


async def test_a_foreign_grant_that_no_file_can_take_stays_in_memory(
    home: Home, process: Make
) -> None:
    """And is kept as soon as there is room."""
    one = process()
    attempt = await one.attempt()
    with full_disk():
        with pytest.raises(StoreError):
            await one.transaction.quarantine(attempt, FOREIGN)
        assert is_unsaved(one)
        await one.transaction.retry_save()
        assert is_unsaved(one)
    assert await one.transaction.retry_save()
    assert not is_unsaved(one)
    kept = await kept_foreign(home)
    assert kept is not None
    assert (kept.credential, kept.presented) == (
        FOREIGN,
        credential_for("first").fingerprint,
    )


async def test_a_second_foreign_grant_does_not_destroy_the_first(
    home: Home, process: Make
) -> None:
    """It is set aside under the name of the token that was spent on it."""
    for serial in ("first", "second"):
        home.write(login(serial))
        one = process_of(home)
        grant = credential_for(f"foreign-{serial}", account="acct-2")
        await one.transaction.quarantine(await one.attempt(), grant)
    aside = (
        f"auth.json.bearerd-quarantine-foreign-{credential_for('first').fingerprint}"
    )
    assert aside in names_in(home.path.parent)
    assert process is not None


def process_of(home: Home) -> Process:
    """Return a process on *home* as it is."""
    store = home.store()
    transaction = RefreshTransaction(
        store=store, clock=home.clock.skipping, presenter=DEAD
    )
    return Process(store, transaction)


# Adopting.


async def test_adopting_returns_what_the_store_holds(home: Home, process: Make) -> None:
    """If no token was spent for anything else."""
    home.write(OTHERS_FILE)
    assert (await process().transaction.adopt()).account_id == "acct-2"
    assert home.read() == OTHERS_FILE


async def test_adopting_takes_up_the_grant_that_the_stored_token_was_spent_on(
    home: Home, process: Make
) -> None:
    """Stored under its own account, with all other fields of the file."""
    one = process()
    await one.transaction.quarantine(await one.attempt(), FOREIGN)
    adopted = await process().transaction.adopt()
    assert adopted == FOREIGN
    stored = await home.store().load()
    assert (stored.refresh_token, stored.account_id) == (
        FOREIGN.refresh_token,
        "acct-2",
    )
    assert tokens_on_disk(home) == {"auth.json": ["foreign"]}


async def test_adopting_takes_up_a_grant_for_an_unsaved_token_too(
    process: Make,
) -> None:
    """The store holds the token before the one that was spent on the grant."""
    one = process()
    attempt = RefreshAttempt(await one.store.load(), credential_for("second"))
    await one.transaction.begin(attempt)
    await one.transaction.quarantine(attempt, FOREIGN)
    assert await process().transaction.adopt() == FOREIGN


async def test_a_grant_for_another_token_is_not_adopted(
    home: Home, process: Make
) -> None:
    """A sign-in came since; the grant stays where it is."""
    one = process()
    await one.transaction.quarantine(await one.attempt(), FOREIGN)
    home.write(login("new"))
    adopted = await process().transaction.adopt()
    assert adopted.refresh_token == refresh_token_of("new")
    assert await kept_foreign(home) is not None


async def test_adopting_another_accounts_file_keeps_what_waits_for_the_old_one(
    home: Home, process: Make
) -> None:
    """In the quarantine, where adopting the old file again finds it."""
    before = home.path.read_bytes()
    await leave(home, renewed=credential_for("second"))
    home.write(OTHERS_FILE)
    assert (await process().transaction.adopt()).account_id == "acct-2"
    assert await journal(home) == []
    kept = await kept_foreign(home)
    assert kept is not None
    assert kept.credential == credential_for("second")
    home.path.write_bytes(before)
    assert await process().transaction.adopt() == credential_for("second")
    assert home.stored_refresh_token() == refresh_token_of("second")


async def test_adopting_keeps_what_is_unsaved_of_the_old_login(
    home: Home, process: Make
) -> None:
    """The disk is full for the journal too, until a person adopts another account."""
    one = process()
    attempt = await one.attempt()
    with full_disk(), pytest.raises(StoreError):
        await one.transaction.commit(attempt, credential_for("second"))
    home.write(OTHERS_FILE)
    assert (await one.transaction.adopt()).account_id == "acct-2"
    assert not one.transaction.has_unsaved
    kept = await kept_foreign(home)
    assert kept is not None
    assert kept.credential == credential_for("second")


async def test_adopting_what_is_stored_keeps_its_unsaved_successor(
    home: Home, process: Make
) -> None:
    """It is the same login."""
    one = process()
    attempt = await one.attempt()
    with full_disk(), pytest.raises(StoreError):
        await one.transaction.commit(attempt, credential_for("second"))
    await one.transaction.adopt()
    assert await one.transaction.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("second")


class ChangedStore(FileStore):
    """A store that another program changes just before a write."""

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Find another login."""
        del base, successor
        return credential_for("new")


async def test_a_store_that_changes_while_it_is_adopted_keeps_the_grant(
    home: Home, process: Make
) -> None:
    """A person may try again."""
    one = process()
    await one.transaction.quarantine(await one.attempt(), FOREIGN)
    store = ChangedStore(home.path, clock=home.clock.skipping)
    with pytest.raises(StoreError, match="try again"):
        await process(store).transaction.adopt()
    assert await kept_foreign(home) is not None


# A login that found the store locked.


async def keep_new_login(home: Home) -> None:
    """Keep a new login, as `bearerd login` does if the store is locked."""
    kept = QuarantinedCredential(
        credential_for("new"), presented="", since=home.clock.now()
    )
    await home.store().quarantine.write("new_login", kept)


async def test_a_new_login_is_installed_by_the_next_holder_of_the_lock(
    home: Home, process: Make
) -> None:
    """It replaces everything that was recorded of the old one."""
    await keep_new_login(home)
    await leave(home, renewed=credential_for("second"))
    one = process()
    assert await one.transaction.recover() == CrashRecoveryResult()
    assert tokens_on_disk(home) == {"auth.json": ["new"]}
    assert not one.transaction.has_unsaved


async def test_a_new_login_that_cannot_be_stored_stays_in_quarantine(
    home: Home, process: Make
) -> None:
    """Until the store can be written."""
    await keep_new_login(home)
    with full_disk():
        await process().transaction.recover()
    assert await home.store().quarantine.read("new_login") is not None
    assert home.stored_refresh_token() == refresh_token_of("first")
    await process().transaction.recover()
    assert home.stored_refresh_token() == refresh_token_of("new")


async def test_a_new_login_that_was_used_since_is_not_installed_again(
    home: Home, process: Make
) -> None:
    """Its file could not be removed; its token is spent, and the successor stored."""
    await keep_new_login(home)
    home.write(login("third"))
    await mark_spent(home, "new")
    await process().transaction.recover()
    assert tokens_on_disk(home) == {"auth.json": ["third"]}


async def test_the_shared_state_is_read_before_anything_is_decided(
    home: Home, process: Make
) -> None:
    """`logout` calls `recover` only."""
    await mark_spent(home, "backup")
    home.write(login("backup"))
    await leave(home, stored="elsewhere", renewed=credential_for("second"))
    await process().transaction.recover()
    assert home.stored_refresh_token() == refresh_token_of("second")
