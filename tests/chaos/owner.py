"""One of many owners of a login: a process that uses it, refreshes it, and keeps records.

What it records while it holds the lock shows whether another process held it too.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp

from bearerd.builders import authority_client, build_source, tls_context
from bearerd.clock import Clock
from bearerd.credential.background import BackgroundRefresh
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.errors import CredentialError
from bearerd.events import CredentialRefreshed, Event, LoginNeeded
from bearerd.settings import load_settings
from bearerd.settings.folders import rescue_path
from tests.chaos.victim import Spec, settings_of
from tests.support.daemon import empty_config

PAUSE_SECONDS = 0.25
NICENESS = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """What one owner saw: responses of the upstream, refreshes by outcome, troubles."""

    statuses: Counter[int]
    refreshes: Counter[str]
    troubles: tuple[str, ...]


class RecordingStore(FileStore):
    """A store that records when its lock is held, for all owners in one file."""

    def __init__(self, path: Path, *, clock: Clock, records: Path) -> None:
        super().__init__(path, clock=clock, rescue=rescue_path(path))
        self._records = os.open(records, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the lock, between two records."""
        async with super().lock(timeout_seconds):
            os.write(self._records, b"%d in\n" % os.getpid())
            try:
                yield
            finally:
                os.write(self._records, b"%d out\n" % os.getpid())


def own(spec: Spec, records: Path, line: Connection) -> None:
    """Use the login until *line* receives the end; the target of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    asyncio.run(_own(spec, records, line))


async def _own(spec: Spec, records: Path, line: Connection) -> None:
    tally = Tally(Counter(), Counter(), ())
    troubles: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, CredentialRefreshed):
            tally.refreshes[event.outcome] += 1
        elif isinstance(event, LoginNeeded):
            troubles.append(event.message)

    clock, over = Clock(), asyncio.Event()
    asyncio.get_running_loop().add_reader(line.fileno(), over.set)
    settings = load_settings(
        settings_of(spec) | {"refresh_burst": "1000", "refresh_interval_seconds": "1"},
        environ={},
        config=empty_config(spec.folder),
    )
    profile = settings.profile("default")
    store = RecordingStore(profile.store, clock=clock, records=records)
    async with (
        authority_client(settings, profile, tls_context(settings)) as client,
        aiohttp.ClientSession() as session,
    ):
        source = build_source(profile, store, client, clock, observe)
        await source.start()
        background = asyncio.create_task(
            BackgroundRefresh(source, clock=clock, observe=observe).run()
        )
        line.send("ready")
        while not over.is_set():
            await _use(source, session, f"{spec.upstream_url}/codex/models", tally)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), PAUSE_SECONDS)
        background.cancel()
        await asyncio.wait({background})
        await source.close()
    line.send(Tally(tally.statuses, tally.refreshes, tuple(troubles)))


async def _use(
    source: CredentialSource, session: aiohttp.ClientSession, url: str, tally: Tally
) -> None:
    """Send one request, as the relay does; after a 401 refresh, and send it once more."""
    try:
        held = await source.current()
        if await _status(session, url, held.access_token, tally) == 401:
            held = await source.reload(held) or await source.refresh(held, "refused")
            if await _status(session, url, held.access_token, tally) == 401:
                return
        source.record_acceptance(held)
    except CredentialError as error:
        tally.refreshes[error.code] += 1


async def _status(
    session: aiohttp.ClientSession, url: str, access_token: str, tally: Tally
) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    async with session.get(url, headers=headers) as response:
        await response.read()
    tally.statuses[response.status] += 1
    return response.status
