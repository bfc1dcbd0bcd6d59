"""Several daemons on one store, agents at each, and access tokens revoked over and over.

Verifies, for this machine and the file system of a store, that however many processes
want a refresh at the same time, one of them runs it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.files import atomic
from bearerd.harness.agents import KeyAgent, open_session
from bearerd.harness.daemon import Daemon, start_daemon
from bearerd.harness.result import RecoveryTracker
from bearerd.sandbox import AuthorityFault, Sandbox

AGENTS_PER_PROCESS: Final = 4
REFRESH_SECONDS: Final = 0.1
"""The time of a refresh: long enough that every other process wants one meanwhile."""

RECOVERY_TIMEOUT_SECONDS: Final = 20.0
"""A recovery takes a fraction of a second; after this time it has failed."""

REFRESH_BURST: Final = "1000"
"""No limit in practice: tokens are revoked faster here than a real limit allows."""


@dataclass(frozen=True, slots=True)
class SelftestResult:
    """The counts of a selftest. `failures` counts failed requests by their reason.

    `overlapping` counts the calls to the authority that ran beside another one, and the
    times that the lock was granted although it was held.
    """

    processes: int
    answered: int
    failures: Mapping[str, int]
    revocations: int
    refreshes: int
    reused: int
    overlapping: int
    is_stuck: bool
    last_log_line: str

    @property
    def is_flawless(self) -> bool:
        """Return True if every request succeeded with one refresh for each revocation."""
        flaws = (
            sum(self.failures.values()),
            self.reused,
            self.overlapping,
            self.is_stuck,
        )
        return not any(flaws) and self.refreshes == self.revocations > 0


async def run_selftest(
    folder: Path,
    environ: Mapping[str, str],
    *,
    processes: int,
    seconds: float,
    clock: Clock,
    notify: Callable[[str], None],
) -> SelftestResult:
    """Run the selftest in *folder*, which is empty and private, and return its counts.

    Raises:
        StartError: a daemon did not start.
        OSError, StoreError: the folder accepts no file, or no lock.
    """
    store = folder / "auth.json"
    async with Sandbox() as sandbox:
        sandbox.authority.fault(AuthorityFault("delay", delay_seconds=REFRESH_SECONDS))
        atomic.replace(store, json.dumps(sandbox.auth_document()).encode())
        key = secrets.token_urlsafe(32)
        async with _daemons(processes, store, key, sandbox, environ) as daemons:
            notify(f"{processes} processes on {store}")
            run = _Run(sandbox, FileStore(store, clock=clock), processes, clock, notify)
            urls = [await daemon.base_url() for daemon in daemons]
            async with (
                open_session() as session,
                _agents(urls, key, session, run.tracker),
            ):
                await run.revoke_until(clock.monotonic() + seconds)
            return run.result(daemons)


class _Run:
    """Revokes tokens under load, and checks each recovery. Owns the tracker."""

    def __init__(
        self,
        sandbox: Sandbox,
        store: FileStore,
        processes: int,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self.tracker = RecoveryTracker(processes)
        self._sandbox = sandbox
        self._store = store
        self._processes = processes
        self._clock = clock
        self._notify = notify
        self._double_locks = 0
        self._is_stuck = False

    async def revoke_until(self, deadline: float) -> None:
        """Revoke the tokens at least once, and on until *deadline* while all recover."""
        while not self._is_stuck:
            self._is_stuck = not await self._revoke_once()
            authority = self._sandbox.authority
            self._notify(
                f"{self.tracker.revocations} revocations, {authority.refreshes} "
                f"refreshes, {authority.reused} reused, {self.tracker.answered} answered"
            )
            if self._clock.monotonic() >= deadline:
                return

    async def _revoke_once(self) -> bool:
        """Revoke the tokens under load; return True if every daemon recovers."""
        if not await self.tracker.wait_until_recovered(RECOVERY_TIMEOUT_SECONDS):
            return False
        gate = self._sandbox.authority.gate
        gate.close()
        try:
            self._sandbox.revoke_access_tokens()
            self.tracker.record_revocation()
            await gate.wait_for_waiting(1, timeout_seconds=RECOVERY_TIMEOUT_SECONDS)
            # A call to the authority is in progress, so its process holds the lock.
            if await self._is_lock_granted():
                self._double_locks += 1
        except TimeoutError:
            return False
        finally:
            gate.open()
        return await self.tracker.wait_until_recovered(RECOVERY_TIMEOUT_SECONDS)

    async def _is_lock_granted(self) -> bool:
        try:
            async with self._store.lock(0):
                return True
        except TimeoutError:
            return False

    def result(self, daemons: Sequence[Daemon]) -> SelftestResult:
        """Return the counts so far."""
        authority = self._sandbox.authority
        return SelftestResult(
            processes=self._processes,
            answered=self.tracker.answered,
            failures=dict(self.tracker.failures),
            revocations=self.tracker.revocations,
            refreshes=authority.refreshes,
            reused=authority.reused,
            overlapping=self._double_locks
            + max(0, authority.max_overlapping_calls - 1),
            is_stuck=self._is_stuck,
            last_log_line=daemons[0].last_log_line,
        )


@asynccontextmanager
async def _daemons(
    count: int,
    store: Path,
    key: str,
    sandbox: Sandbox,
    environ: Mapping[str, str],
) -> AsyncIterator[list[Daemon]]:
    """Start all daemons at once, as a supervisor does; stop them at the end."""
    settings = {
        "client_key": key,
        "upstream_url": sandbox.upstream_url,
        "issuer_url": sandbox.issuer_url,
        "refresh_burst": REFRESH_BURST,
    }
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(start_daemon(store, settings, environ))
            for _ in range(count)
        ]


@asynccontextmanager
async def _agents(
    urls: Sequence[str],
    key: str,
    session: aiohttp.ClientSession,
    tracker: RecoveryTracker,
) -> AsyncIterator[None]:
    """Have agents send requests to each URL; at the end, wait for those in flight."""
    stop = asyncio.Event()

    async def send_turns(process: int) -> None:
        agent = KeyAgent(session, base_url=urls[process], key=key)
        while not stop.is_set():
            sent_after = tracker.revocations
            await tracker.record(process, sent_after, await agent.send_turn())

    async with asyncio.TaskGroup() as tasks:
        for process in range(len(urls)):
            for _ in range(AGENTS_PER_PROCESS):
                tasks.create_task(send_turns(process))
        try:
            yield
        finally:
            stop.set()
