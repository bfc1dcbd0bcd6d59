"""A whole bearerd in a process of its own that dies at a named point.

It is the real service over the real file. Only its store is one that knows where the
process is between a 401 and the publication. At one point it ends the process there, as
the kernel would, or waits until the test lets it go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bearerd.admin.status import ServiceStatus
from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.journal_entry import JournalEntry
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
    "before the budget is recorded",
    "budget recorded",
    "before the token is recorded",
    "token recorded",
    "response in memory",
    "response recorded",
    "before the store is replaced",
    "before the login is written",
    "stored",
    "before the record is cleared",
    "record cleared",
    "before the outcome is recorded",
    "outcome recorded",
    "lock released",
    "before the publication",
)
"""In the order in which a refresh comes to them."""

PAUSED, GO, ARM, ARMED = "paused", "go", "arm", "armed"
"""What a victim and its test say to each other."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Where a victim lives, and the point at which it dies; an empty point is none.

    *pauses*: it does not die there by itself, but waits for the test.
    """

    folder: Path
    issuer_url: str
    upstream_url: str
    point: str = ""
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a victim listens, and its process."""

    url: str
    pid: int


class Death:
    """Waits at one point. Owns whether it is armed: the start passes the same points."""

    def __init__(self, spec: Spec, line: Connection) -> None:
        assert not spec.point or spec.point in POINTS
        self._spec = spec
        self._line = line
        self.is_armed = False
        self._is_over = False

    def at(self, point: str) -> None:
        """End this process if this is the point, or pause the whole of it."""
        assert point in POINTS
        if not self.is_armed or self._is_over or point != self._spec.point:
            return
        if not self._spec.pauses:
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_over = True
        self._line.send(PAUSED)
        assert self._line.recv() == GO

    def observe(self, event: Event) -> None:
        """Notice the publication."""
        if isinstance(event, CredentialRefreshed):
            self.at("before the publication")


class MortalJournal(Journal):
    """A journal with points around what it does."""

    def __init__(self, journal: Journal, death: Death) -> None:
        super().__init__(
            journal._paths,
            is_folder_missing=journal._is_folder_missing,
            reader=journal._reader,
        )
        self._death = death

    async def read(self) -> list[JournalEntry]:
        """Read; then a point."""
        found = await super().read()
        self._death.at("journal read")
        return found

    async def write(self, entry: JournalEntry) -> Path:
        """Write, between two points."""
        is_response = entry.spending is None
        before = "response in memory" if is_response else "before the token is recorded"
        self._death.at(before)
        place = await super().write(entry)
        self._death.at("response recorded" if is_response else "token recorded")
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
        self._is_locked = False
        self._is_replaced = False
        self.journal = MortalJournal(self.journal, death)

    async def has_changed(self) -> bool:
        """Compare, after a point.

        The background looks no more once death is armed: strace is to meet no file call
        but those of the refresh.
        """
        task = asyncio.current_task()
        if task is None or "_watch_store" not in repr(task.get_coro()):
            self._death.at("401 seen")
        elif self._death.is_armed:
            await asyncio.Event().wait()
        return await super().has_changed()

    async def load(self) -> Credential:
        """Load; then a point, if that is under the lock."""
        found = await super().load()
        if self._is_locked:
            self._death.at("store read again")
        return found

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the lock, with points before, inside and after."""
        self._death.at("before the lock")
        async with super().lock(timeout_seconds):
            self._is_locked = True
            self._death.at("lock held")
            yield
            self._is_locked = False
        self._death.at("lock released")

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Replace, between two points."""
        self._death.at("before the store is replaced")
        winner = await super().replace(base, successor)
        self._is_replaced = True
        self._death.at("stored")
        return winner

    async def write_state(self, state: StoreState) -> None:
        """Write, between two points: the budget comes before the login, the outcome after."""
        what = "outcome" if self._is_replaced else "budget"
        self._death.at(f"before the {what} is recorded")
        await super().write_state(state)
        self._death.at(f"{what} recorded")

    async def _write(self, successor: Credential) -> None:
        self._death.at("before the login is written")
        await super()._write(successor)


def live(spec: Spec, line: Connection) -> None:
    """Serve until killed; the target of a process.

    *line* tells the parent when this process listens, is armed, or is paused.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(spec, line))


async def _serve(spec: Spec, line: Connection) -> None:
    death = Death(spec, line)

    def store(profile: ProfileSettings, clock: Clock) -> FileStore:
        return MortalStore(profile.store, clock=clock, death=death)

    def started(status: ServiceStatus) -> None:
        line.send(Ready(f"http://{status.relay[0]}", os.getpid()))

    def armed() -> None:
        death.is_armed = line.recv() == ARM
        line.send(ARMED)

    asyncio.get_running_loop().add_reader(line.fileno(), armed)
    service = Service(
        load_settings(settings_of(spec), environ={}, config=empty_config(spec.folder)),
        observe=death.observe,
        stores=store,
    )
    await service.run(asyncio.Event(), started)


def settings_of(spec: Spec) -> dict[str, str]:
    """Return the settings of all that work on one login."""
    return {
        "store": str(spec.folder / "auth.json"),
        "issuer_url": spec.issuer_url,
        "upstream_url": spec.upstream_url,
        "listen": "127.0.0.1:0",
        "admin_listen": "none",
        "require_key": "false",
        "refresh_burst": "100",
    }
