"""One refresh, from the lock to the store: its order, and what a death leaves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import RefreshGrant
from bearerd.credential.refresh.backoff import MAYBE_SPENT_SECONDS
from bearerd.credential.refresh.crash_recovery import CrashRecoveryResult
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.request import RefreshRequest
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.store.quarantine import QuarantinedCredential
from bearerd.credential.store.state import Account
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    LoginRequired,
    StoreUnavailable,
)
from bearerd.events import CredentialRefreshed
from bearerd.sandbox import CODEX_CLIENT_ID, AuthorityFault, Sandbox
from tests.credential.stand_ins import (
    START,
    Home,
    credential_for,
    full_disk,
    login,
    refresh_token_of,
    sleep_briefly,
    soon,
    wait_until,
)

ACCOUNT = Account("acct-1", "user-1")
DEAD = Presenter(pid=1, host="gone")


def journal_of(home: Home) -> Journal:
    """Return the journal beside the file, as another process sees it."""
    return home.store().journal


async def stored(home: Home) -> Credential:
    """Return what the file holds."""
    return await home.store().load()


# The order.


async def test_the_order_is_lock_journal_call_store(home: Home) -> None:
    """Checked during the call and after it."""
    home.write(login())
    old = await stored(home)
    seen: list[JournalEntry] = []
    locked: list[bool] = []
    lock_path = home.path.with_name("auth.json.bearerd-lock")

    async def inspect() -> None:
        seen.extend(await journal_of(home).read())
        locked.append(lock_path.exists())
        level = (await home.store().read_state()).level
        assert level is not None
        assert level.calls == 4.0, "the call counts before it is made"

    home.authority.before_response = inspect
    waits: list[float] = []
    found = await home.refresher(on_lock_acquired=waits.append).run(
        RefreshRequest(old, ACCOUNT)
    )
    (record,) = seen
    assert (record.stored, record.spending) == (old.fingerprint, old.fingerprint)
    assert record.renewed is None
    assert locked == [True]
    assert (found.outcome, found.unsaved) == ("renewed", None)
    assert found.credential == await stored(home)
    assert await journal_of(home).read() == []
    assert waits == [0.0]


async def test_the_lock_is_held_while_the_authority_is_called(home: Home) -> None:
    """No other process can present the token during the call."""
    home.write(login())
    home.authority.gate.clear()
    running = asyncio.create_task(
        home.refresher().run(RefreshRequest(await stored(home), ACCOUNT))
    )
    await soon(home.authority.arrived.wait())
    with pytest.raises(TimeoutError):
        async with home.store().lock(0):
            raise AssertionError("both hold it")
    home.authority.gate.set()
    await soon(running)
    async with home.store().lock(0):
        pass


async def test_a_waiter_for_the_lock_finds_the_work_done(home: Home) -> None:
    """It reports how long it waited, and makes no call."""
    home.write(login())
    old = await stored(home)
    home.authority.gate.clear()
    first = asyncio.create_task(home.refresher().run(RefreshRequest(old, ACCOUNT)))
    await soon(home.authority.arrived.wait())
    waits: list[float] = []
    clock = home.clock.clock
    second = asyncio.create_task(
        home.refresher(clock=clock, on_lock_acquired=waits.append).run(
            RefreshRequest(old, ACCOUNT)
        )
    )
    await wait_until(lambda: home.clock.sleepers == 1)
    home.authority.gate.set()
    renewed = await soon(first)
    home.clock.advance(2.5)
    adopted = await soon(second)
    assert adopted.outcome == "adopted"
    assert adopted.credential == renewed.credential
    assert waits == [2.5]
    assert len(home.authority.calls) == 1


async def test_a_holder_that_does_not_release_the_lock_costs_one_wait(
    home: Home,
) -> None:
    """Later callers get the error at once, until the lock is free. The message names
    the holder.
    """
    home.write(login())
    request = RefreshRequest(await stored(home), ACCOUNT)
    refresher = home.refresher(lock_timeout_seconds=3.0)
    took, messages = [], []
    async with home.store().lock(0):
        for _ in range(3):
            began = home.clock.monotonic()
            with pytest.raises(StoreUnavailable) as why:
                await refresher.run(request)
            took.append(home.clock.monotonic() - began)
            messages.append(why.value.message)
    assert 3.0 <= took[0] < 3.2
    assert took[1:] == [0.0, 0.0]
    holder = f"process {os.getpid()} on {socket.gethostname()} has held the lock"
    assert holder in messages[0]
    assert "since 2027-01-15T08:00:00Z" in messages[0]
    renewed = await refresher.run(request)
    assert renewed.outcome == "renewed"
    async with home.store().lock(0):
        began = home.clock.monotonic()
        with pytest.raises(StoreUnavailable):
            await refresher.run(RefreshRequest(renewed.credential, ACCOUNT))
        assert home.clock.monotonic() - began >= 3.0, "a new holder is waited for"


async def test_a_holder_of_the_lock_may_have_stored_a_new_credential(
    home: Home,
) -> None:
    """It is adopted without the lock. An older file is not."""
    home.write(login())
    old = await stored(home)
    refresher = home.refresher(lock_timeout_seconds=0.0)
    async with home.store().lock(0):
        home.write(login("second"))
        found = await refresher.run(RefreshRequest(old, ACCOUNT))
        assert found.outcome == "adopted"
        assert found.credential.refresh_token == refresh_token_of("second")
        home.write(login("backup", last_refresh="2026-12-01T08:00:00Z"))
        with pytest.raises(StoreUnavailable):
            await refresher.run(RefreshRequest(found.credential, ACCOUNT))
    assert home.authority.calls == []


@pytest.mark.parametrize(
    ("outcome", "is_kept"),
    [
        ("refused", False),
        ("rejected", False),
        ("misconfigured", False),
        ("undelivered", False),
        ("unclear", True),
    ],
)
async def test_a_failure_leaves_a_record_only_where_the_token_may_be_spent(
    home: Home, outcome: str, is_kept: bool
) -> None:
    """The next holder of the lock knows it then."""
    home.write(login())
    failure = AuthorityFailure(outcome, "other")  # type: ignore[arg-type]
    home.authority.script.append(failure)
    with pytest.raises(AuthorityFailure):
        await home.refresher().run(RefreshRequest(await stored(home), ACCOUNT))
    assert bool(await journal_of(home).read()) is is_kept


async def test_a_refresh_that_can_wait_is_not_made_without_a_record(home: Home) -> None:
    """The token that is held is good: no rotation begins that could be lost."""
    home.write(login())
    old = await stored(home)
    with full_disk(), pytest.raises(AuthorityFailure) as why:
        await home.refresher().run(RefreshRequest(old, ACCOUNT, can_wait=True))
    assert (why.value.outcome, why.value.reason) == ("undelivered", "no_journal")
    assert home.authority.calls == []


async def test_a_refresh_that_cannot_wait_is_made_without_a_record(home: Home) -> None:
    """A request needs it now; the response is held in memory."""
    home.write(login())
    with full_disk():
        refresher = home.refresher()
        found = await refresher.run(RefreshRequest(await stored(home), ACCOUNT))
    assert found.unsaved is not None
    seen = [refresher.has_unsaved, await refresher.retry_save(), refresher.has_unsaved]
    assert seen == [True, True, False]
    assert await stored(home) == found.credential


# What a death leaves behind.


async def leave_record(
    home: Home, *, spending: Credential | None, renewed: Credential | None
) -> None:
    """Leave the record of a process that died while it refreshed the store's login."""
    entry = JournalEntry(
        stored=(await stored(home)).fingerprint,
        spending=spending.fingerprint if spending else None,
        since=START,
        presenter=DEAD,
        renewed=renewed,
    )
    await journal_of(home).write(entry)


async def test_a_response_in_the_journal_is_stored_at_the_next_start(
    home: Home,
) -> None:
    """Before anything is served; the authority is not called."""
    home.write(login() | {"note": "kept"})
    await leave_record(home, spending=None, renewed=credential_for("second"))
    source = home.source()
    await source.start()
    assert (await source.current()).refresh_token == refresh_token_of("second")
    assert home.read()["note"] == "kept"
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert await journal_of(home).read() == []
    assert home.authority.calls == []


async def test_a_response_in_the_journal_is_found_under_the_lock_too(
    home: Home,
) -> None:
    """A running process finishes the work of one that was killed."""
    home.write(login())
    source = home.source()
    old = await source.current()
    await leave_record(home, spending=None, renewed=credential_for("second"))
    new = await source.refresh(old, "refused")
    assert new.refresh_token == refresh_token_of("second")
    assert home.authority.calls == []


async def test_a_token_that_may_be_spent_is_presented_once_more_at_the_start(
    home: Home,
) -> None:
    """Soon, while the authority may still accept it; the next start has nothing to do."""
    home.write(login())
    await leave_record(home, spending=await stored(home), renewed=None)
    source = home.source()
    await source.start()
    await wait_until(lambda: home.events_of(CredentialRefreshed) != [])
    assert home.events_of(CredentialRefreshed)[0].trigger == "interrupted"
    assert home.authority.calls == [refresh_token_of("first")]
    assert await journal_of(home).read() == []
    await home.source().start()
    assert len(home.authority.calls) == 1


async def test_a_record_over_another_login_is_forgotten(home: Home) -> None:
    """A sign-in came since, so the late response is of no use."""
    home.write(login())
    await leave_record(home, spending=None, renewed=credential_for("late"))
    home.write(login("new"))
    assert await home.refresher().recover() == CrashRecoveryResult()
    assert home.stored_refresh_token() == refresh_token_of("new")
    assert await journal_of(home).read() == []


async def test_a_response_that_still_cannot_be_stored_stays_in_memory(
    home: Home,
) -> None:
    """And served; it is saved when there is room."""
    home.write(login())
    await leave_record(home, spending=None, renewed=credential_for("second"))
    source = home.source()
    with full_disk():
        await source.start()
        assert (await source.current()).refresh_token == refresh_token_of("second")
        assert source.status().in_memory_only
    await source.retry_save()
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert home.authority.calls == []


async def test_the_record_of_a_living_process_is_left_alone(home: Home) -> None:
    """It holds the lock, and finishes its own work."""
    home.write(login())
    await leave_record(home, spending=await stored(home), renewed=None)
    async with home.store().lock(0):
        assert await home.refresher().recover() == CrashRecoveryResult()
    assert len(await journal_of(home).read()) == 1


async def test_a_start_without_a_login_is_no_error(home: Home) -> None:
    """There is nothing to finish; a torn record is none."""
    assert await home.refresher().recover() == CrashRecoveryResult()
    home.path.with_name("auth.json.bearerd-journal").write_bytes(b"{")
    assert await home.refresher().recover() == CrashRecoveryResult()


# Against an authority on the wire.


@pytest.fixture
async def sandbox(home: Home) -> AsyncIterator[Sandbox]:
    """An authority that ends the whole login if a spent token is presented."""
    async with Sandbox(now=home.clock.now) as running:
        yield running


@pytest.fixture
async def authority(sandbox: Sandbox) -> AsyncIterator[RefreshGrant]:
    """The real client of that authority."""
    async with aiohttp.ClientSession() as session:
        client = AuthorityClient(
            session,
            issuer_url=sandbox.issuer_url,
            token_url=sandbox.token_url,
            client_id=CODEX_CLIENT_ID,
            timeout_seconds=5.0,
        )
        yield RefreshGrant(client)


async def test_many_callers_in_two_processes_cost_one_refresh(
    home: Home, sandbox: Sandbox, authority: RefreshGrant
) -> None:
    """Real sockets, one file, forty callers, and a slow authority."""
    home.write(sandbox.auth_document())
    clock = home.clock.with_sleep(sleep_briefly)
    sources = [home.source(authority=authority, clock=clock) for _ in range(2)]
    old = [await source.current() for source in sources]
    sandbox.authority.gate.close()
    callers = [
        asyncio.create_task(source.refresh(one, "refused"))
        for source, one in zip(sources, old, strict=True)
        for _ in range(20)
    ]
    await sandbox.authority.wait_for_waiting(1)
    sandbox.authority.gate.open()
    found = await soon(asyncio.gather(*callers))
    assert len({credential.access_token for credential in found}) == 1
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 0)
    assert sandbox.authority.max_overlapping_calls == 1


async def test_a_token_whose_response_was_lost_is_presented_once_more(
    home: Home, sandbox: Sandbox, authority: RefreshGrant
) -> None:
    """An authority that accepts the last token once more gives the response after all."""
    sandbox.tokens.set_reuse("tolerate_one")
    home.write(sandbox.auth_document())
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"), times=1)
    source = home.source(authority=authority)
    old = await source.current()
    with pytest.raises(AuthorityUnavailable):
        await source.refresh(old, "refused")
    home.clock.advance(MAYBE_SPENT_SECONDS)
    assert (await source.refresh(old, "refused")).generation == 2
    assert sandbox.authority.calls == 2
    assert sandbox.authority.reused == 0


async def test_a_response_that_is_lost_permanently_needs_a_sign_in(
    home: Home, sandbox: Sandbox, authority: RefreshGrant
) -> None:
    """Known after the second call, and no third is made."""
    home.write(sandbox.auth_document())
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"), times=1)
    source = home.source(authority=authority)
    old = await source.current()
    with pytest.raises(AuthorityUnavailable):
        await source.refresh(old, "refused")
    home.clock.advance(MAYBE_SPENT_SECONDS)
    for _ in range(3):
        with pytest.raises(LoginRequired):
            await source.refresh(old, "refused")
    assert sandbox.authority.calls == 2


@pytest.mark.parametrize(
    "kind", ["omit_refresh_token", "omit_id_token", "bad_id_token"]
)
async def test_a_grant_that_leaves_something_out_is_good(
    home: Home, sandbox: Sandbox, authority: RefreshGrant, kind: str
) -> None:
    """The rest is stored, and the file stays one that Codex reads."""
    home.write(sandbox.auth_document())
    before = home.read()["tokens"]
    sandbox.authority.fault(AuthorityFault(kind), times=1)  # type: ignore[arg-type]
    source = home.source(authority=authority, bucket=TokenBucket(9, 1.0))
    new = await source.refresh(await source.current(), "refused")
    after = home.read()["tokens"]
    assert after["access_token"] == new.access_token != before["access_token"]
    if kind == "omit_refresh_token":
        assert after["refresh_token"] == before["refresh_token"]
    else:
        assert after["id_token"] == before["id_token"]


async def test_a_grant_for_another_account_is_kept_and_not_stored(
    home: Home, sandbox: Sandbox, authority: RefreshGrant
) -> None:
    """It is kept beside the file."""
    home.write(sandbox.auth_document())
    before = home.path.read_bytes()
    sandbox.authority.fault(AuthorityFault("other_account"), times=1)
    source = home.source(authority=authority)
    old = await source.current()
    with pytest.raises(AccountChanged):
        await source.refresh(old, "refused")
    assert home.path.read_bytes() == before
    kept = await home.store().quarantine.read("foreign")
    assert kept is not None
    assert kept.credential.account_id != old.account_id


async def test_a_grant_for_another_account_is_known_by_the_quarantine_alone(
    home: Home,
) -> None:
    """Its process died before it could record that the token is spent: to present it
    again would end the family of the grant.
    """
    home.write(login())
    foreign = credential_for("foreign", account="acct-2", user="user-2")
    kept = QuarantinedCredential(
        foreign, presented=credential_for("first").fingerprint, since=START
    )
    await home.store().quarantine.write("foreign", kept)
    source = home.source()
    for _ in range(2):
        with pytest.raises(AccountChanged, match="bearerd adopt"):
            await source.refresh(await source.current(), "refused")
    assert home.authority.calls == []
    adopted = await home.source().adopt()
    assert adopted == foreign
    assert home.stored_refresh_token() == refresh_token_of("foreign")


def test_a_refresher_shows_no_secret(home: Home) -> None:
    """Nor does the result of a recovery."""
    refresher = home.refresher()
    assert isinstance(refresher, Refresher)
    assert "refresh-" not in repr(CrashRecoveryResult(is_maybe_spent=True)) + repr(
        refresher
    )


async def test_a_file_that_comes_back_unchanged_gets_the_response_after_all(
    home: Home,
) -> None:
    """It was missing just when the response came, which looked like a sign-out."""
    document = login()
    home.write(document)
    old = await stored(home)
    home.authority.before_response = home.path.unlink
    refresher = home.refresher()
    with pytest.raises(LoginRequired):
        await refresher.run(RefreshRequest(old, ACCOUNT))
    home.authority.before_response = lambda: None
    home.write(document)
    found = await refresher.run(RefreshRequest(old, ACCOUNT))
    assert found.credential != old
    again = await refresher.run(RefreshRequest(found.credential, ACCOUNT))
    assert await stored(home) == again.credential
    assert len(set(home.authority.calls)) == len(home.authority.calls) == 2
    assert home.authority.reused == 0


async def test_a_wrong_local_clock_does_not_make_a_fresh_token_old(home: Home) -> None:
    """Two processes with a clock that is far ahead adopt each other's tokens."""
    home.write(login())
    old = await stored(home)
    home.write(login("2"))
    assert (await stored(home)).expires_at is not None
    home.clock.advance(0.0, wall_seconds=30 * 86400.0)
    found = await home.refresher().run(
        RefreshRequest(old, ACCOUNT, skew_seconds=30 * 86400.0)
    )
    assert found.outcome == "adopted"
    assert home.authority.calls == []
