"""Builds the rooms from settings, starts them, and stops them in reverse order.

The one place that knows every room. On the way down the relay drains before the
flights land: a refresh under way always finishes, whoever has left.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from bearerd import __version__
from bearerd.admin.feed import EventFeed
from bearerd.admin.health import ServiceStatus
from bearerd.admin.metrics import Metrics
from bearerd.admin.server import AdminServer
from bearerd.builders import (
    Stores,
    authority_client,
    build_source,
    file_store,
    listener_rules,
    outgoing_proxy,
    refuse_loop,
    tls_context,
)
from bearerd.clock import Clock
from bearerd.credential.background import BackgroundRefresh
from bearerd.credential.source import CredentialSource
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
from bearerd.relay.handler import RelayHandler, Route
from bearerd.relay.listener import Listener
from bearerd.relay.upstream.cookies import Cookies
from bearerd.relay.upstream.pool import Origin, UpstreamPool
from bearerd.settings import Settings
from bearerd.settings.profile import ProfileSettings

ANONYMOUS = Client(name="anonymous", profile="default", allowed=frozenset({"relay"}))
"""Who comes without a key, where none is required."""


class Service:
    """The daemon. Owns every room from `run` on; *observe* hears all that happens.

    *stores* makes the store of a profile; a file, unless told otherwise.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        observe: Observer,
        clock: Clock | None = None,
        stores: Stores | None = None,
    ) -> None:
        self._settings = settings
        self._stores = stores or file_store
        self._clock = clock or Clock()
        self._tell = observe
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
        started: Callable[[ServiceStatus], None] = lambda _: None,
        hurry: asyncio.Event | None = None,
    ) -> None:
        """Serve until *stop* is set, then drain. *started* learns the real addresses.

        *hurry* cuts the draining short; a refresh under way lands even then, within the
        authority's deadline.

        Raises:
            StartError, StoreError, ConfigurationError: it could not be started.
        """
        refuse_loop(self._settings)
        async with AsyncExitStack() as stack:
            tls = tls_context(self._settings)
            await self._open_admin(stack)
            routes = await self._routes(stack, tls)
            # Before any store is looked at: where the port is taken, a daemon runs.
            await self._open_relay(routes)
            await self._start(stack, routes, stop)
            self._announce(started)
            await stop.wait()
            seconds = self._settings.drain_seconds
            self._observe(ServiceStopping("asked to", seconds))
            assert self._listener is not None  # noqa: S101 - opened above
            aborted = await self._listener.close(seconds, hurry)
        self._observe(ServiceStopped(aborted))

    def status(self) -> ServiceStatus:
        """Return what operators are told."""
        relay, listener, admin = self._relay, self._listener, self._admin
        return ServiceStatus(
            version=__version__,
            started_at=self._started_at,
            draining=relay.is_draining if relay else False,
            relay=tuple(map(str, listener.addresses)) if listener else (),
            admin=tuple(map(str, admin.addresses)) if admin else (),
            sources=tuple(source.status() for source in self._sources),
            requests_in_flight=relay.requests_in_flight if relay else 0,
            streams_active=relay.streams_active if relay else 0,
        )

    def _observe(self, event: Event) -> None:
        self._metrics(event)
        self._feed(event)
        self._tell(event)

    async def _routes(
        self, stack: AsyncExitStack, tls: ssl.SSLContext
    ) -> dict[str, Route]:
        """Build every profile: its source, and its upstream."""
        routes = {}
        for name, profile in self._settings.profiles.items():
            store = self._stores(profile, self._clock)
            with suppress(TimeoutError):
                async with store.lock(0):
                    pass  # the place for the lock is there; who holds it is no matter
            client = await stack.enter_async_context(
                authority_client(self._settings, profile, tls)
            )
            source = build_source(profile, store, client, self._clock, self._observe)
            upstream = self._upstream(profile, tls)
            stack.callback(upstream.close)
            stack.push_async_callback(source.close)
            self._sources.append(source)
            routes[name] = Route(source, upstream)
        return routes

    async def _start(
        self, stack: AsyncExitStack, routes: dict[str, Route], stop: asyncio.Event
    ) -> None:
        """Take up what is stored, and keep it fresh from now on."""
        for route in routes.values():
            await route.source.start()
            background = BackgroundRefresh(
                route.source, clock=self._clock, observe=self._observe
            )
            await stack.enter_async_context(running(background.run(), stop))
            await stack.enter_async_context(running(route.upstream.run(), stop))

    def _upstream(self, profile: ProfileSettings, tls: ssl.SSLContext) -> UpstreamPool:
        return UpstreamPool(
            Origin.of(profile.upstream_url),
            connect_timeout_seconds=self._settings.upstream_connect_timeout_seconds,
            idle_timeout_seconds=self._settings.upstream_idle_timeout_seconds,
            tls_timeout_seconds=self._settings.upstream_tls_timeout_seconds,
            first_byte_timeout_seconds=self._settings.upstream_first_byte_timeout_seconds,
            tls=tls,
            proxy=outgoing_proxy(self._settings),
            cookies=Cookies(self._clock.monotonic),
            says_via=self._settings.via,
        )

    async def _open_admin(self, stack: AsyncExitStack) -> None:
        """Open the listener for operators; it closes last, so that draining shows."""
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
        """Open the listeners for agents."""
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
            observe=self._observe,
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

    def _announce(self, started: Callable[[ServiceStatus], None]) -> None:
        status = self.status()
        admin = ", ".join(status.admin) or None
        self._observe(
            ServiceStarted(status.relay, admin, tuple(self._settings.profiles))
        )
        started(status)


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], stop: asyncio.Event
) -> AsyncIterator[None]:
    """Run *work* beside the body, and cancel it at the end.

    Work that ends by itself has failed: that sets *stop*, and the body's end raises it.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
