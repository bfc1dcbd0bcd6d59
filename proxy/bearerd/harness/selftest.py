"""Several daemons on one store, agents at each, and access tokens that keep dying.

Proves for this machine, and for the file system of a store, what the whole program
rests on: however many processes want a refresh at once, one of them runs it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.files import atomic
from bearerd.harness.agents import KeyHolder, open_session
from bearerd.harness.daemon import Daemon, start_daemon
from bearerd.harness.scoreboard import Scoreboard
from bearerd.sandbox import AuthorityFault, Sandbox

AGENTS_PER_PROCESS: Final = 4
AUTHORITY_SECONDS: Final = 0.1
"""How long a refresh takes: time enough for every other process to want one too."""

PATIENCE_SECONDS: Final = 20.0
"""For one recovery, which takes a fraction of a second; after this it has failed."""

MANY: Final = "1000"
"""A budget that never runs out here, for tokens die faster than they ever would."""


@dataclass(frozen=True, slots=True)
class SelftestResult:
    """What was counted. `failures` are answers by what was wrong with them.

    `overlapping` counts calls to the authority beside another one, and the times when
    the lock could be had though somebody held it.
    """

    processes: int
    answered: int
    failures: Mapping[str, int]
    revocations: int
    refreshes: int
    reused: int
    overlapping: int
    stuck: bool
    last_words: str

    @property
    def is_flawless(self) -> bool:
        """True when all was answered, with one refresh for each revocation."""
        flaws = (sum(self.failures.values()), self.reused, self.overlapping, self.stuck)
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
    """Run it in *folder*, which is empty and private, and return what was counted.

    Raises:
        StartError: a daemon did not start.
        OSError, StoreError: the folder takes no file, or no lock.
    """
    store = folder / "auth.json"
    async with Sandbox() as sandbox:
        sandbox.authority.fault(
            AuthorityFault("delay", delay_seconds=AUTHORITY_SECONDS)
        )
        atomic.replace(store, json.dumps(sandbox.auth_document()).encode())
        key = secrets.token_urlsafe(32)
        async with _daemons(processes, store, key, sandbox, environ) as daemons:
            notify(f"{processes} processes on {store}")
            run = _Run(sandbox, FileStore(store, clock=clock), processes, clock, notify)
            urls = [await daemon.base_url() for daemon in daemons]
            async with open_session() as session, _load(urls, key, session, run.board):
                await run.revoke_until(clock.monotonic() + seconds)
            return run.result(daemons)


class _Run:
    """The revocations, and what is seen at each. Owns the scoreboard."""

    def __init__(
        self,
        sandbox: Sandbox,
        store: FileStore,
        processes: int,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self.board = Scoreboard(processes)
        self._sandbox = sandbox
        self._store = store
        self._processes = processes
        self._clock = clock
        self._notify = notify
        self._breaches = 0
        self._is_stuck = False

    async def revoke_until(self, deadline: float) -> None:
        """Let the tokens die again and again; at least once, and never while stuck."""
        while not self._is_stuck:
            self._is_stuck = not await self._revoke_once()
            authority = self._sandbox.authority
            self._notify(
                f"{self.board.revocations} revocations, {authority.refreshes} refreshes, "
                f"{authority.reused} reused, {self.board.answered} answered"
            )
            if self._clock.monotonic() >= deadline:
                return

    async def _revoke_once(self) -> bool:
        """Revoke under load, and say whether every process got over it."""
        if not await self.board.caught_up(PATIENCE_SECONDS):
            return False
        hold = self._sandbox.authority.hold
        hold.close()
        try:
            self._sandbox.revoke_access_tokens()
            self.board.revocations += 1
            await hold.wait_for_waiting(1, timeout_seconds=PATIENCE_SECONDS)
            # A call is under way, so somebody holds the lock: nobody else may have it.
            if await self._lock_can_be_had():
                self._breaches += 1
        except TimeoutError:
            return False
        finally:
            hold.open()
        return await self.board.caught_up(PATIENCE_SECONDS)

    async def _lock_can_be_had(self) -> bool:
        try:
            async with self._store.lock(0):
                return True
        except TimeoutError:
            return False

    def result(self, daemons: list[Daemon]) -> SelftestResult:
        """Return what was counted so far."""
        authority = self._sandbox.authority
        return SelftestResult(
            processes=self._processes,
            answered=self.board.answered,
            failures=dict(self.board.failures),
            revocations=self.board.revocations,
            refreshes=authority.refreshes,
            reused=authority.reused,
            overlapping=self._breaches + max(0, authority.max_overlapping_calls - 1),
            stuck=self._is_stuck,
            last_words=daemons[0].last_words,
        )


@asynccontextmanager
async def _daemons(
    count: int,
    store: Path,
    key: str,
    sandbox: Sandbox,
    environ: Mapping[str, str],
) -> AsyncIterator[list[Daemon]]:
    """Start all at once, as a supervisor does."""
    settings = {
        "client_key": key,
        "upstream_url": sandbox.upstream_url,
        "issuer_url": sandbox.issuer_url,
        "refresh_burst": MANY,
    }
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(start_daemon(store, settings, environ))
            for _ in range(count)
        ]


@asynccontextmanager
async def _load(
    urls: list[str], key: str, session: aiohttp.ClientSession, board: Scoreboard
) -> AsyncIterator[None]:
    """Keep agents busy at each URL; those under way at the end are let finish."""
    over = asyncio.Event()

    async def work(process: int) -> None:
        agent = KeyHolder(session, base_url=urls[process], key=key)
        while not over.is_set():
            sent_after = board.revocations
            await board.add(process, sent_after, await agent.ask())

    async with asyncio.TaskGroup() as tasks:
        for process in range(len(urls)):
            for _ in range(AGENTS_PER_PROCESS):
                tasks.create_task(work(process))
        try:
            yield
        finally:
            over.set()
