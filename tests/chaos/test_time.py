"""Time that jumps, and a process that stands still: no storm, and no login lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from bearerd.clock import Clock
from bearerd.events import ClockJumped, LoginNeeded
from bearerd.sandbox import Sandbox
from tests.chaos.daemons import daemon
from tests.chaos.test_disk import assert_stored, refresh, scene
from tests.support import Canary
from tests.support.daemon import running_daemon

DAY_SECONDS = 86400.0
HOUR_SECONDS = 3600.0


class Crooked:
    """A wall clock that is set, while everything that waits goes by the other one."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.clock = Clock(now=self.now)

    def now(self) -> float:
        """Return what the wall shows."""
        return time.time() + self.ahead


async def test_a_clock_that_is_set_a_day_on_and_two_days_back(
    tmp_path: Path, canary: Canary
) -> None:
    """Tokens of an hour look dead, or young, for a day; all requests are served."""
    crooked = Crooked()
    async with Sandbox(access_lifetime_seconds=HOUR_SECONDS) as sandbox:
        canary.watches(sandbox)
        async with running_daemon(
            tmp_path,
            sandbox,
            canary,
            login=sandbox.auth_document(),
            clock=crooked.clock,
            refresh_burst=100,
        ) as daemon_here:
            for ahead in (DAY_SECONDS, -DAY_SECONDS, 0.0):
                jumps = len(daemon_here.announced(ClockJumped))
                crooked.ahead = ahead
                for _ in range(10):
                    assert (await daemon_here.client.get()).status == 200
                await daemon_here.wait_for(ClockJumped, jumps + 1)
                sandbox.revoke_access_tokens()
                assert (await daemon_here.client.get()).status == 200
            assert daemon_here.announced(LoginNeeded) == []
            # One for each 401, and at most one more for each jump.
            assert 3 <= sandbox.authority.refreshes <= 6
            assert_stored(sandbox, daemon_here.store)


async def test_a_process_that_stood_still_while_the_response_came(
    tmp_path: Path, canary: Canary
) -> None:
    """Longer than callers wait: the response is there, and is used all the same."""
    store = tmp_path / "auth.json"
    async with scene(tmp_path, store, canary, authority_timeout_seconds=1) as (
        sandbox,
        served,
    ):
        sandbox.revoke_access_tokens()
        sandbox.authority.response_gate.close()
        asking = asyncio.create_task(served.client.get())
        await sandbox.authority.response_gate.wait_for_waiting(1)
        served.process.send_signal(signal.SIGSTOP)
        sandbox.authority.response_gate.open()
        await sandbox.authority.wait_for_outcomes(2)
        await asyncio.sleep(2)  # real time: what is tested is a timer of the system
        served.process.send_signal(signal.SIGCONT)
        assert (await asking).status == 200
        assert_stored(sandbox, store)


async def test_another_process_works_while_one_stands_still(
    tmp_path: Path, canary: Canary
) -> None:
    """It holds the lock, and its token is spent: the other waits for both."""
    store = tmp_path / "auth.json"
    async with (
        scene(tmp_path, store, canary, authority_timeout_seconds=3) as (
            sandbox,
            served,
        ),
        daemon(store, sandbox, canary, tmp_path / "other") as other,
    ):
        sandbox.revoke_access_tokens()
        sandbox.authority.response_gate.close()
        asking = asyncio.create_task(served.client.get())
        await sandbox.authority.response_gate.wait_for_waiting(1)
        served.process.send_signal(signal.SIGSTOP)
        sandbox.authority.response_gate.open()
        waiting = asyncio.create_task(other.client.get())
        await asyncio.sleep(1)  # it cannot be seen from here that the other waits
        served.process.send_signal(signal.SIGCONT)
        assert (await asking).status == (await waiting).status == 200
        assert sandbox.authority.refreshes == 2
        assert_stored(sandbox, store)
        await refresh(sandbox, other)
