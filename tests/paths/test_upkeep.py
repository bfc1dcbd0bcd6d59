"""Without requests: the store is watched, and a token is refreshed before it expires.

Two background loops of the service, with the file, the authority and the clock.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bearerd.clock import Clock
from bearerd.events import (
    ClockJumped,
    CredentialLoaded,
    CredentialRefreshed,
    LoginRestored,
    RefreshFailed,
)
from bearerd.sandbox import AuthorityFault, Sandbox, fingerprint
from tests.support import (
    Daemon,
    ManualClock,
    Start,
    read_login,
    tokens_of,
    write_login,
)

HOUR_SECONDS = 3600
WINDOW_SECONDS = 300
LATEST_SECONDS = 0.9 * WINDOW_SECONDS
"""The jitter is a tenth of the window, so from here on every token is due."""


def access_of(store: Path) -> str:
    """Return the name under which the upstream records the stored access token."""
    return fingerprint(tokens_of(read_login(store))["access_token"])


def last_access(sandbox: Sandbox) -> str | None:
    """Return the name of the access token in the last request."""
    return sandbox.upstream.records[-1].access_fingerprint


async def profile_of(daemon: Daemon) -> dict[str, Any]:
    """Return the status of the one profile."""
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    assert isinstance(profile, dict)
    return profile


async def ticked(clock: ManualClock, seconds: float) -> None:
    """Move the clock, and return once both loops have run and sleep again."""
    await clock.wait_for_sleepers(2)
    clock.advance(seconds)
    await clock.wait_for_sleepers(2)


async def test_a_file_that_appears_is_loaded(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """At the next tick, without a restart and without a request."""
    daemon = await timed_start(login=None)
    assert (await daemon.admin("/readyz"))[0] == 503
    write_login(daemon.store, timed_sandbox.auth_document())
    await ticked(clock, 1)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await daemon.client.send()).status == 200
    assert last_access(timed_sandbox) == access_of(daemon.store)


async def test_a_changed_file_is_loaded(start: Start, sandbox: Sandbox) -> None:
    """Within two seconds by the real clock; the next request uses it, and nothing is
    rejected.
    """
    daemon = await start()
    assert (await daemon.client.send()).status == 200
    before = last_access(sandbox)
    began = asyncio.get_running_loop().time()
    write_login(daemon.store, sandbox.auth_document())
    _, loaded = await daemon.wait_for(CredentialLoaded, 2)
    assert asyncio.get_running_loop().time() - began < 2
    assert loaded.generation == 2
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, None)
    assert last_access(sandbox) == access_of(daemon.store) != before
    assert sandbox.authority.calls == 0


async def test_the_old_token_is_used_during_a_background_refresh(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Inside the window: no request waits, and none is rejected."""
    timed_sandbox.tokens.access_lifetime_seconds = HOUR_SECONDS
    daemon = await timed_start()
    before = access_of(daemon.store)
    timed_sandbox.authority.gate.close()
    await ticked(clock, HOUR_SECONDS - LATEST_SECONDS)
    await timed_sandbox.authority.wait_for_waiting(1)
    for reply in await daemon.client.many(20):
        assert (reply.status, reply.recovery) == (200, None)
    used = {record.access_fingerprint for record in timed_sandbox.upstream.records}
    assert used == {before}
    assert daemon.announced(CredentialRefreshed) == []
    timed_sandbox.authority.gate.open()
    (refreshed,) = await daemon.wait_for(CredentialRefreshed)
    assert (refreshed.trigger, refreshed.outcome) == ("expiring", "renewed")
    assert (await daemon.client.send()).status == 200
    assert last_access(timed_sandbox) == access_of(daemon.store) != before
    assert timed_sandbox.authority.calls == 1
    assert timed_sandbox.upstream.statuses == {200: 21}


async def test_jitter_is_chosen_once_for_each_credential(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """The moment is fixed from the start: the tick before it does nothing, the next one
    refreshes.
    """
    timed_sandbox.tokens.access_lifetime_seconds = HOUR_SECONDS
    daemon = await timed_start()
    drawn = await profile_of(daemon)
    due_at, expires_at = drawn["refresh_at"], drawn["expires_at"]
    assert expires_at - WINDOW_SECONDS <= due_at <= expires_at - LATEST_SECONDS
    for _ in range(5):
        await ticked(clock, (due_at - clock.seconds) / 2)
        assert (await daemon.client.get()).status == 200
        assert (await profile_of(daemon))["refresh_at"] == due_at
    await ticked(clock, due_at - clock.seconds - 0.001)
    assert timed_sandbox.authority.calls == 0
    clock.advance(1)
    await daemon.wait_for(CredentialRefreshed)
    assert timed_sandbox.authority.calls == 1
    drawn_anew = await profile_of(daemon)
    offsets = {one["expires_at"] - one["refresh_at"] for one in (drawn, drawn_anew)}
    assert len(offsets) == 2


async def test_the_old_token_is_used_while_the_authority_fails(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """It is valid for some minutes still, and the daemon stays ready."""
    timed_sandbox.tokens.access_lifetime_seconds = HOUR_SECONDS
    daemon = await timed_start()
    timed_sandbox.authority.fault(
        AuthorityFault("answer", status=500, before_spending=True)
    )
    timed_sandbox.authority.gate.close()
    await ticked(clock, HOUR_SECONDS - LATEST_SECONDS)
    await timed_sandbox.authority.wait_for_waiting(1)
    assert (await daemon.client.send()).status == 200
    timed_sandbox.authority.gate.open()
    (failed,) = await daemon.wait_for(RefreshFailed)
    assert failed.trigger == "expiring"
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await profile_of(daemon))["last_error"] is not None
    timed_sandbox.authority.clear_faults()
    await ticked(clock, 2)  # past the first backoff
    await daemon.wait_for(CredentialRefreshed)
    assert (await profile_of(daemon))["last_error"] is None
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.calls == 2


@pytest.mark.parametrize("seconds", [2 * HOUR_SECONDS, 3 * 24 * HOUR_SECONDS])
async def test_a_suspended_machine_finds_its_token_expired(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, seconds: int
) -> None:
    """The wall clock moved and the monotonic clock did not; the next tick sees it."""
    timed_sandbox.tokens.access_lifetime_seconds = HOUR_SECONDS
    asleep_seconds = 0.0

    def monotonic() -> float:
        return clock.seconds - asleep_seconds

    suspended = Clock(now=clock.now, monotonic=monotonic, sleep=clock.sleep)
    daemon = await timed_start(clock=suspended)
    await clock.wait_for_sleepers(2)
    asleep_seconds = float(seconds)
    clock.seconds += seconds
    clock.advance(1)
    (jumped,) = await daemon.wait_for(ClockJumped)
    assert jumped.seconds == pytest.approx(seconds)
    (refreshed,) = await daemon.wait_for(CredentialRefreshed)
    assert (refreshed.trigger, refreshed.outcome) == ("expired", "renewed")
    assert (await daemon.client.send()).recovery is None
    assert timed_sandbox.upstream.statuses == {200: 1}
