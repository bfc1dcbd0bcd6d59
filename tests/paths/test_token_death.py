"""A 401: exchange, recovery, source, single flight, lock, authority, store, replay.

Every access token is revoked or expires under load. All requests must be served, with
one refresh.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from bearerd.clock import Clock
from bearerd.credential.refresh.backoff import MAYBE_SPENT_SECONDS
from bearerd.events import CredentialRefreshed, RecoveryFinished, RecoveryOutcome
from bearerd.relay.recovery import State
from bearerd.sandbox import AuthorityFault, Sandbox
from bearerd.sandbox.authority.token_registry import TEN_DAYS_SECONDS
from tests.support import (
    Daemon,
    Launch,
    ManualClock,
    Reply,
    ServeProcess,
    Start,
    read_login,
    tokens_of,
    write_login,
)
from tests.support.daemon import client_key

SLOW = AuthorityFault("delay", delay_seconds=0.2)


def all_complete(replies: list[Reply]) -> bool:
    """Return True if every response is a complete turn."""
    whole = [b"response.completed" in reply.body for reply in replies]
    return all(whole) and {reply.status for reply in replies} == {200}


def spent_once(sandbox: Sandbox) -> bool:
    """Return True if one refresh token was spent, once."""
    authority = sandbox.authority
    return (authority.calls, authority.refreshes, authority.reused) == (1, 1, 0)


async def until_waiters(daemon: Daemon | ServeProcess, count: int) -> None:
    """Return once *count* requests of *daemon* wait for the refresh under way."""
    async with asyncio.timeout(10):
        while (
            f"\nbearerd_refresh_waiters {count}.0\n"
            not in (await daemon.admin("/metrics"))[1]
        ):
            pass


def revoke(sandbox: Sandbox, _: ManualClock) -> None:
    """Let the upstream reject every token; the tokens themselves do not show it."""
    sandbox.revoke_access_tokens()


def expire(_: Sandbox, clock: ManualClock) -> None:
    """Move past the expiry of every token. The background loops sleep on, so the
    requests are the first to see it.
    """
    clock.seconds += TEN_DAYS_SECONDS + 1


End = Callable[[Sandbox, ManualClock], None]
both_ends = pytest.mark.parametrize("end", [revoke, expire])


@pytest.mark.parametrize("count", [8, 200])
async def test_all_requests_are_served_with_one_refresh(
    start: Start, sandbox: Sandbox, count: int
) -> None:
    """Revoked under load: every request waits for the one call, and is sent again."""
    daemon = await start()
    sandbox.authority.fault(SLOW)
    sandbox.revoke_access_tokens()
    replies = await daemon.client.many(count)
    assert all_complete(replies)
    assert spent_once(sandbox)
    assert {reply.recovery for reply in replies} <= {None, "refresh", "reload"}
    (refreshed,) = daemon.announced(CredentialRefreshed)
    assert (refreshed.trigger, refreshed.outcome) == ("refused", "renewed")
    recovered = daemon.announced(RecoveryFinished)
    assert {one.outcome for one in recovered} == {RecoveryOutcome.RECOVERED}
    stored = tokens_of(read_login(daemon.store))
    assert sandbox.tokens.introspect(stored["access_token"]).state == "live"


@pytest.mark.parametrize("count", [8, 200])
async def test_all_requests_are_served_when_the_token_expires(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, count: int
) -> None:
    """Nothing is sent with an expired token, so nothing is rejected."""
    daemon = await timed_start()
    await clock.wait_for_sleepers(2)
    timed_sandbox.authority.fault(SLOW)
    expire(timed_sandbox, clock)
    replies = await daemon.client.many(count)
    assert all_complete(replies)
    assert spent_once(timed_sandbox)
    assert Counter(timed_sandbox.upstream.statuses) == {200: count}
    (refreshed,) = daemon.announced(CredentialRefreshed)
    assert refreshed.trigger == "expired"


async def test_a_rejected_request_is_sent_at_most_three_times(
    start: Start, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Sent, resent with the store's credential, resent with a new one."""
    daemon = await start()
    write_login(daemon.store, sandbox.auth_document())
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "reload, refresh")
    assert sandbox.upstream.requests == len({State.SENT, State.RESENT, State.RENEWED})
    assert sandbox.authority.refreshes == 1
    assert tmp_path in daemon.store.parents


async def test_a_late_401_causes_no_second_refresh(
    start: Start, sandbox: Sandbox
) -> None:
    """It was on its way while another request refreshed."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    sandbox.upstream.response_gate.close()
    late = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.response_gate.wait_for_waiting(1)
    early = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.response_gate.wait_for_waiting(2)
    # The 401 of the second request is sent first.
    sandbox.upstream.response_gate.release(newest_first=True)
    await sandbox.authority.wait_for_outcomes(1)
    sandbox.upstream.response_gate.open()
    replies = [await late, await early]
    assert all_complete(replies)
    assert spent_once(sandbox)
    assert sandbox.upstream.statuses == {401: 2, 200: 2}


@both_ends
async def test_a_login_written_during_a_refresh_is_kept(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, end: End
) -> None:
    """It stays in the file, and every request uses it."""
    daemon = await timed_start()
    end(timed_sandbox, clock)
    timed_sandbox.authority.gate.close()
    pending = asyncio.create_task(daemon.client.many(20))
    await timed_sandbox.authority.wait_for_waiting(1)
    login = timed_sandbox.auth_document()
    write_login(daemon.store, login)
    timed_sandbox.authority.gate.open()
    assert all_complete(await pending)
    assert read_login(daemon.store) == login
    assert spent_once(timed_sandbox)
    (refreshed,) = daemon.announced(CredentialRefreshed)
    assert refreshed.outcome == "adopted"


@both_ends
async def test_a_refresh_survives_the_client_that_caused_it(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, end: End
) -> None:
    """The client whose request began the refresh disconnects; the others are served."""
    daemon = await timed_start()
    end(timed_sandbox, clock)
    timed_sandbox.authority.gate.close()
    first = asyncio.create_task(daemon.client.send())
    await timed_sandbox.authority.wait_for_waiting(1)
    pending = asyncio.create_task(daemon.client.many(20))
    await until_waiters(daemon, 21)
    first.cancel()
    (left,) = await daemon.wait_for_finished(1)
    assert left.status == 499
    timed_sandbox.authority.gate.open()
    assert all_complete(await pending)
    assert spent_once(timed_sandbox)


@both_ends
async def test_a_refresh_is_stored_after_every_client_has_disconnected(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, end: End
) -> None:
    """The response may be the only copy of the next refresh token."""
    daemon = await timed_start()
    before = read_login(daemon.store)
    end(timed_sandbox, clock)
    timed_sandbox.authority.gate.close()
    pending = asyncio.create_task(daemon.client.many(5))
    await timed_sandbox.authority.wait_for_waiting(1)
    await until_waiters(daemon, 5)
    pending.cancel()
    await daemon.wait_for_finished(5)
    timed_sandbox.authority.gate.open()
    await daemon.wait_for(CredentialRefreshed)
    after = read_login(daemon.store)
    assert tokens_of(after)["refresh_token"] != tokens_of(before)["refresh_token"]
    assert (await daemon.client.send()).recovery is None
    assert spent_once(timed_sandbox)


def a_login(sandbox: Sandbox, end: str) -> dict[str, object]:
    """Return a login that is valid, or one whose access token has expired."""
    if end == "expired":
        sandbox.tokens.access_lifetime_seconds = -60
    login = sandbox.auth_document()
    sandbox.tokens.access_lifetime_seconds = TEN_DAYS_SECONDS
    return login


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_four_processes_on_one_file_refresh_once(
    launch: Launch, sandbox: Sandbox, tmp_path: Path, end: str
) -> None:
    """Each has 50 concurrent requests; one of them calls, the others read the file."""
    store = tmp_path / "auth.json"
    write_login(store, a_login(sandbox, end))
    if end == "expired":
        sandbox.authority.gate.close()  # each process sees the 401 by itself
    key = client_key(tmp_path / "keys.json")
    processes = await asyncio.gather(*(launch(key=key) for _ in range(4)))
    sandbox.authority.fault(SLOW)
    if end == "revoked":
        sandbox.revoke_access_tokens()
    pending = [asyncio.create_task(process.client.many(50)) for process in processes]
    if end == "revoked":
        await sandbox.upstream.wait_for_requests(4)
    sandbox.authority.gate.open()
    replies = [reply for task in pending for reply in await task]
    assert len(replies) == 200
    assert all_complete(replies)
    assert spent_once(sandbox)
    assert sandbox.authority.max_overlapping_calls == 1
    stored = tokens_of(read_login(store))
    assert sandbox.tokens.introspect(stored["access_token"]).state == "live"


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_another_process_takes_over_when_the_lock_holder_is_killed(
    launch: Launch, start: Start, sandbox: Sandbox, tmp_path: Path, end: str
) -> None:
    """SIGKILL before the call was sent: the kernel releases the lock, and the login is
    kept. The process that takes over is the test's own.

    The first process has an authority behind TLS that never completes the handshake; so
    it holds the lock, and no byte of its request is sent. The second process cannot know
    that, and gives a call of the first the time to end; its long sleeps are short here.
    """
    store = tmp_path / "auth.json"
    write_login(store, a_login(sandbox, end))
    reached = asyncio.Event()

    async def say_nothing(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert await reader.read(1) == b"\x16"  # RFC 8446 section 5.1: a handshake
        reached.set()
        await reader.read()  # until the other side closes
        writer.close()

    silent_server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent_server.sockets[0].getsockname()[1]
    victim = await launch(token_url=f"https://127.0.0.1:{port}/oauth/token")
    keys_file = tmp_path / "successor" / "keys.json"
    now, slept_until = Clock().now, list[float]()

    async def sleep(seconds: float) -> None:
        slept_until.append(now() + seconds)
        await asyncio.sleep(min(seconds, 0.05))

    successor = await start(
        login=None,
        clock=Clock(sleep=sleep),
        folder=keys_file.parent,
        store=store,
        keys_file=keys_file,
    )
    sandbox.revoke_access_tokens()
    lost_requests = asyncio.create_task(victim.client.many(5))
    await reached.wait()
    presented_at = now()
    pending = asyncio.create_task(successor.client.many(20))
    await until_waiters(successor, 20)
    assert sandbox.authority.calls == 0
    victim.kill()
    loop = asyncio.get_running_loop()
    killed_at = loop.time()
    assert all_complete(await pending)
    assert loop.time() - killed_at < 2
    # The record of it is a little older than the handshake.
    assert max(slept_until) > presented_at + MAYBE_SPENT_SECONDS - 1
    assert spent_once(sandbox)
    (failure,) = await asyncio.gather(lost_requests, return_exceptions=True)
    assert isinstance(failure, aiohttp.ClientError | OSError)
    silent_server.close()
    await silent_server.wait_closed()
