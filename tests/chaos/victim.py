"""A whole bearerd in a process of its own that dies at a named point.

It is the real service over the real file. Only its store is one that knows where we are
between a 401 and the publication, and ends the process there as the kernel would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bearerd.admin.status import ServiceStatus
from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import Journal, JournalEntry
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.events import CredentialRefreshed, Event
from bearerd.service import Service
from bearerd.settings import load_settings
from bearerd.settings.folders import rescue_path
from bearerd.settings.profile import ProfileSettings
from tests.support.daemon import empty_config

POINTS = (
    "401 seen",
    "before the lock",
    "lock held",
    "journal read",
    "store read again",
    "before the budget is noted",
    "budget noted",
    "spend noted",
    "answer in memory",
    "answer noted",
    "before the store is replaced",
    "stored",
    "before the record is cleared",
    "record cleared",
    "lock let go",
    "before the publication",
)
"""In the order in which a refresh comes to them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Where a victim lives, and where it dies; an empty point is none."""

    folder: Path
    issuer_url: str
    upstream_url: str
    point: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a victim listens, and the thread that does all its writing."""

    url: str
    writer: int


class Death:
    """Waits at one point. Owns whether it is armed: the start passes the same points."""

    def __init__(self, point: str) -> None:
        assert not point or point in POINTS
        self._point = point
        self.is_armed = False

    def at(self, point: str) -> None:
        """End this process if this is the point."""
        assert point in POINTS
        if self.is_armed and point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)

    def saw(self, event: Event) -> None:
        """Notice the publication."""
        if isinstance(event, CredentialRefreshed):
            self.at("before the publication")


class MortalJournal(Journal):
    """A journal with points around what it does."""

    def __init__(self, places: list[Path], death: Death) -> None:
        super().__init__(places)
        self._death = death

    def read(self) -> list[JournalEntry]:
        """Read; then a point."""
        found = super().read()
        self._death.at("journal read")
        return found

    async def write(self, entry: JournalEntry) -> Path:
        """Write; points around the response, and after the intent."""
        is_response = entry.spending is None
        if is_response:
            self._death.at("answer in memory")
        place = await super().write(entry)
        self._death.at("answer noted" if is_response else "spend noted")
        return place

    async def clear(self) -> None:
        """Clear, between two points."""
        self._death.at("before the record is cleared")
        await super().clear()
        self._death.at("record cleared")


class MortalStore(FileStore):
    """A store with points around what it does."""

    def __init__(self, path: Path, *, clock: Clock, death: Death) -> None:
        super().__init__(path, clock=clock, rescue=rescue_path(path))
        self._death = death
        self.journal = MortalJournal(list(self.journal._paths), death)

    def has_changed(self) -> bool:
        """Compare; a point unless upkeep asks."""
        task = asyncio.current_task()
        if task is None or "_watch_store" not in repr(task.get_coro()):
            self._death.at("401 seen")
        return super().has_changed()

    async def load(self) -> Credential:
        """Load; then a point, if that is under the lock."""
        found = await super().load()
        if self._is_locked:
            self._death.at("store read again")
        return found

    _is_locked = False

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the lock, with points before, inside and after."""
        self._death.at("before the lock")
        async with super().lock(timeout_seconds):
            self._is_locked = True
            self._death.at("lock held")
            yield
            self._is_locked = False
        self._death.at("lock let go")

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Replace, between two points."""
        self._death.at("before the store is replaced")
        winner = await super().replace(began_from, renewed)
        self._death.at("stored")
        return winner

    def write_state(self, state: StoreState) -> None:
        """Write, between two points."""
        self._death.at("before the budget is noted")
        super().write_state(state)
        self._death.at("budget noted")


def live(spec: Spec, line: Connection) -> None:
    """Serve until killed; the target of a process.

    *line* tells the parent when we listen, takes "arm", and is answered.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # No uvloop: its threads write to descriptors too, and those are counted elsewhere.
    asyncio.run(_serve(spec, line))


async def _serve(spec: Spec, line: Connection) -> None:
    loop = asyncio.get_running_loop()
    death = Death(spec.point)
    loop.set_default_executor(ThreadPoolExecutor(1))
    writer = await asyncio.to_thread(threading.get_native_id)
    # It looks up names too, and opens files to learn how: that is over with.
    await loop.getaddrinfo("127.0.0.1", 80)

    def store(profile: ProfileSettings, clock: Clock) -> FileStore:
        return MortalStore(profile.store, clock=clock, death=death)

    def started(status: ServiceStatus) -> None:
        line.send(Ready(f"http://{status.relay[0]}", writer))

    def told() -> None:
        death.is_armed = line.recv() == "arm"
        line.send("armed")

    loop.add_reader(line.fileno(), told)
    service = Service(
        load_settings(settings_of(spec), environ={}, config=empty_config(spec.folder)),
        observe=death.saw,
        stores=store,
    )
    await service.run(asyncio.Event(), started)


def settings_of(spec: Spec) -> dict[str, str]:
    """Return the settings of everybody who works on one login."""
    return {
        "store": str(spec.folder / "auth.json"),
        "issuer_url": spec.issuer_url,
        "upstream_url": spec.upstream_url,
        "listen": "127.0.0.1:0",
        "admin_listen": "none",
        "require_key": "false",
        "refresh_burst": "100",
    }
