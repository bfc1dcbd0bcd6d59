"""bearerd in this process: a real service on ports that the system chose."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiohttp

from bearerd.admin.log import EventLog
from bearerd.admin.status import ServiceStatus
from bearerd.clock import Clock
from bearerd.events import Event, RequestFinished
from bearerd.keys.ring import KeyRing
from bearerd.sandbox import Sandbox
from bearerd.sandbox.gate import Notifier
from bearerd.service import Service
from bearerd.settings import Settings, load_settings
from tests.support.canary import Canary
from tests.support.client import Client
from tests.support.login import write_login

E = TypeVar("E", bound=Event)

A_LOGIN: Mapping[str, object] = {}
"""Stands for a new login of the sandbox."""

CA_FILE = Path(__file__).with_name("of_no_server.pem")
"""A certificate that no server has. To read the system's certificates would take as long
as all the rest of a start, and few tests call a server by TLS."""

ADMIN_PAGES = ("/", "/metrics", "/api/status", "/readyz", "/healthz", "/nowhere")


class Start(Protocol):
    """Starts a daemon that ends with the test."""

    async def __call__(
        self,
        *,
        login: Mapping[str, object] | None = A_LOGIN,
        clock: Clock | None = None,
        folder: Path | None = None,
        **settings: object,
    ) -> Daemon: ...


class Daemon:
    """One service and one agent of it. Owns the events that were announced."""

    def __init__(self, sandbox: Sandbox, settings: Settings, canary: Canary) -> None:
        self.sandbox = sandbox
        self.settings = settings
        self.store: Path = settings.profile("default").store
        self.events: list[Event] = []
        self.status: ServiceStatus | None = None
        self.client: Client
        self.admin_url = ""
        self._canary = canary
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._written = io.StringIO()

    def announced(self, kind: type[E]) -> list[E]:
        """Return what was announced of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], count: int = 1) -> list[E]:
        """Return once *count* events of one kind have been announced."""
        await self._notifier.wait_for(
            lambda: len(self.announced(kind)) >= count,
            description=f"{count} of {kind.__name__}",
        )
        return self.announced(kind)

    async def wait_for_finished(self, count: int) -> list[RequestFinished]:
        """Return once *count* requests are over, also those that nobody waits for."""
        return await self.wait_for(RequestFinished, count)

    async def admin(self, path: str) -> tuple[int, str]:
        """Return status and text of an admin page."""
        ((status, text),) = await self._admin_pages([path])
        return status, text

    async def _admin_pages(self, paths: Sequence[str]) -> list[tuple[int, str]]:
        """Return status and text of admin pages, and show them to the canary."""
        pages = []
        async with aiohttp.ClientSession(self.admin_url) as session:
            for path in paths:
                async with session.get(path) as response:
                    text = await response.text()
                self._canary.saw(f"the admin page {path}", text)
                pages.append((response.status, text))
        return pages

    async def start(self, clock: Clock) -> None:
        """Start the service; raise what keeps it from starting."""
        started: asyncio.Future[ServiceStatus] = (
            asyncio.get_running_loop().create_future()
        )
        log = EventLog(self._written, clock=clock, log_format="json", level="debug")

        def observe(event: Event) -> None:
            self.events.append(event)
            self._canary.saw("an event's repr", repr(event))
            log(event)
            self._notifier.notify()

        service = Service(self.settings, observe=observe, clock=clock)
        self._task = asyncio.create_task(service.run(self._stop, started.set_result))
        ends: set[asyncio.Future[Any]] = {self._task, started}
        await asyncio.wait(ends, return_when="FIRST_COMPLETED")
        if not started.done():
            await self._task
        self.status = started.result()
        self.admin_url = f"http://{self.status.admin[0]}"

    async def stop(self) -> None:
        """Ask the service to drain, and return when it has ended."""
        assert self._task is not None
        self._stop.set()
        await self._task

    @property
    def is_running(self) -> bool:
        """Say whether the service has not ended."""
        return self._task is not None and not self._task.done()

    async def look_around(self) -> None:
        """Show the canary everything that can be asked for, and the log."""
        if self.is_running:
            await self._admin_pages(ADMIN_PAGES)

    def show_log(self) -> None:
        """Show the canary what was logged."""
        self._canary.saw("the log", self._written.getvalue())


@asynccontextmanager
async def running_daemon(
    folder: Path,
    sandbox: Sandbox,
    canary: Canary,
    *,
    login: Mapping[str, object] | None,
    clock: Clock | None = None,
    **given: object,
) -> AsyncIterator[Daemon]:
    """Give a daemon that listens, over *login* in a file; None is no file.

    *given* are settings; None is the default. The key of the daemon's client is made
    beside the store.
    """
    chosen = {
        "store": folder / "auth.json",
        "issuer_url": sandbox.issuer_url,
        "upstream_url": sandbox.upstream_url,
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "drain_seconds": 5,
        "ca_file": CA_FILE,
        **given,
    }
    flags = {name: str(value) for name, value in chosen.items() if value is not None}
    settings = load_settings(flags, environ={}, config=empty_config(folder))
    daemon = Daemon(sandbox, settings, canary)
    if login is not None:
        write_login(daemon.store, login)
    key = client_key(settings.keys_file)
    canary.knows("a client key", key)
    await daemon.start(clock or Clock())
    assert daemon.status is not None
    try:
        async with Client(f"http://{daemon.status.relay[0]}", key, canary) as client:
            daemon.client = client
            yield daemon
            await daemon.look_around()
    finally:
        await daemon.stop()
        daemon.show_log()


def client_key(keys_file: Path, name: str = "agent") -> str:
    """Return a new client key of *name*; another process has made it, as it were."""
    ring = KeyRing.load(keys_file)
    if name in ring.names():
        ring.revoke(name)
    return ring.create(name)


def empty_config(folder: Path) -> Path:
    """Return an empty file of settings, so that no user's own is read."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "bearerd.toml"
    config.touch()
    return config
