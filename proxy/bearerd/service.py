"""The daemon: builds its parts from settings, starts them, and stops them in reverse.

When the daemon stops, the relay drains first. Then each source completes its refresh in
progress, even if no client waits for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from bearerd import __version__
from bearerd.admin.feed import EventFeed
from bearerd.admin.metrics import Metrics
from bearerd.admin.server import AdminServer
from bearerd.admin.status import ServiceStatus
from bearerd.builders import (
    StoreFactory,
    authority_client,
    build_source,
    build_upstream,
    file_store,
    listener_rules,
    require_no_loop,
    tls_context,
)
from bearerd.clock import Clock
from bearerd.credential.background import BackgroundRefresh
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.events import (
    Event,
    Observer,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
)
from bearerd.keys.ring import Client, KeyRing
from bearerd.relay.access import AccessPolicy
from bearerd.relay.body import ReplayMemory
from bearerd.relay.context import Route
from bearerd.relay.handler import RelayHandler
from bearerd.relay.listener import Listener
from bearerd.settings import Settings

ANONYMOUS = Client(name="anonymous", profile="default", allowed=frozenset({"relay"}))
"""The client of a request without a key, on a listener that requires none."""


class Service:
    """The daemon. Owns all of its parts during `run`.

    *observe* is called with every event. *stores* builds the store of a profile; the
    default is `file_store`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        observe: Observer,
        clock: Clock | None = None,
        stores: StoreFactory | None = None,
    ) -> None:
        self._settings = settings
        self._stores = stores or file_store
        self._clock = clock or Clock()
        self._observe = observe
        self._feed = EventFeed()
        self._sources: list[CredentialSource] = []
        self._relay: RelayHandler | None = None
        self._listener: Listener | None = None
        self._admin: AdminServer | None = None
        self._started_at = self._clock.now()
        self._metrics = Metrics(
            sources=lambda: [source.status() for source in self._sources],
            streams_active=lambda: self._relay.streams_active if self._relay else 0,
            refresh_waiters=lambda: sum(source.waiters for source in self._sources),
        )

    async def run(
        self,
        stop: asyncio.Event,
        on_started: Callable[[ServiceStatus], None] = lambda _: None,
        force: asyncio.Event | None = None,
    ) -> None:
        """Serve until *stop* is set, then drain.

        *on_started* is called with the status, which contains the addresses, after the
        listeners are open. Setting *force* ends the drain; a refresh in progress still
        completes.

        Raises:
            StartError, StoreError, StoreUnavailable, ConfigurationError: the daemon
                cannot start.
        """
        require_no_loop(self._settings)
        async with AsyncExitStack() as stack:
            tls = tls_context(self._settings)
            await self._open_admin(stack)
            routes = await self._routes(stack, tls)
            # Before a store is read: if the port is in use, another daemon is running.
            await self._open_relay(routes)
            await self._start(stack, routes, stop)
            self._emit_started(on_started)
            await stop.wait()
            seconds = self._settings.drain_seconds
            self._emit(ServiceStopping("stop requested", seconds))
            assert self._listener is not None  # noqa: S101 - opened above
            aborted = await self._listener.close(seconds, force)
        self._emit(ServiceStopped(aborted))

    def status(self) -> ServiceStatus:
        """Return the status of the daemon now."""
        relay, listener, admin = self._relay, self._listener, self._admin
        return ServiceStatus(
            version=__version__,
            started_at=self._started_at,
            is_draining=relay.is_draining if relay else False,
            relay=tuple(map(str, listener.addresses)) if listener else (),
            admin=tuple(map(str, admin.addresses)) if admin else (),
            sources=tuple(source.status() for source in self._sources),
            requests_in_flight=relay.requests_in_flight if relay else 0,
            streams_active=relay.streams_active if relay else 0,
        )

    def _emit(self, event: Event) -> None:
        """Pass *event* to every observer."""
        self._metrics(event)
        self._feed(event)
        self._observe(event)

    async def _routes(
        self, stack: AsyncExitStack, tls: ssl.SSLContext
    ) -> dict[str, Route]:
        """Build the source and the upstream of each profile."""
        routes = {}
        for name, profile in self._settings.profiles.items():
            store = self._stores(profile, self._clock)
            await require_lockable(store)
            client = await stack.enter_async_context(
                authority_client(self._settings, profile, tls)
            )
            source = build_source(profile, store, client, self._clock, self._emit)
            upstream = build_upstream(self._settings, profile, self._clock, tls)
            stack.callback(upstream.close_connections)
            stack.push_async_callback(source.close)
            self._sources.append(source)
            routes[name] = Route(name, source, upstream)
        return routes

    async def _start(
        self, stack: AsyncExitStack, routes: dict[str, Route], stop: asyncio.Event
    ) -> None:
        """Load each credential, and keep it fresh in the background."""
        for source in self._sources:
            await source.start()
            background = BackgroundRefresh(
                source, clock=self._clock, observe=self._emit
            )
            await stack.enter_async_context(running(background.run(), stop))
        for route in routes.values():
            await stack.enter_async_context(running(route.upstream.run_expiry(), stop))

    async def _open_admin(self, stack: AsyncExitStack) -> None:
        """Open the admin listener. It closes last, so that it shows the drain."""
        settings = self._settings
        if settings.admin_listen:
            self._admin = AdminServer(
                settings.admin_listen,
                status=self.status,
                metrics=self._metrics,
                feed=self._feed,
                clock=self._clock,
                allowed_hosts=settings.allowed_hosts,
            )
            await self._admin.start()
            stack.push_async_callback(self._admin.stop)

    async def _open_relay(self, routes: dict[str, Route]) -> None:
        """Open the relay's listeners."""
        settings = self._settings
        operator_key = settings.client_key
        keys = KeyRing.load(
            settings.keys_file,
            clock=self._clock,
            operator_key=operator_key.get_secret_value() if operator_key else None,
        )
        self._relay = RelayHandler(
            routes,
            AccessPolicy(keys, ANONYMOUS),
            memory=ReplayMemory(settings.replay_total_bytes),
            replay_limit_bytes=settings.replay_limit_bytes,
            request_limit=settings.max_requests,
            clock=self._clock,
            observe=self._emit,
        )
        self._listener = Listener(
            self._relay, connection_limit=settings.max_connections
        )
        await self._listener.open(
            [
                (address, listener_rules(settings, address))
                for address in settings.listen
            ]
        )

    def _emit_started(self, on_started: Callable[[ServiceStatus], None]) -> None:
        status = self.status()
        admin = ", ".join(status.admin) or None
        profiles = tuple(self._settings.profiles)
        self._emit(ServiceStarted(status.relay, admin, profiles))
        on_started(status)


async def require_lockable(store: FileStore) -> None:
    """Check that the lock of *store* can be created, before a refresh needs it.

    A lock that another process holds is not an error.

    Raises:
        StoreUnavailable: it cannot be created, because its folder is not writable for
            example.
    """
    with suppress(TimeoutError):
        async with store.lock(0):
            pass


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], stop: asyncio.Event
) -> AsyncIterator[None]:
    """Run *work* as a task within the context, and cancel it on exit.

    *work* runs until it is cancelled, unless it fails. A failure sets *stop*, and the
    exit of the context raises its exception.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
