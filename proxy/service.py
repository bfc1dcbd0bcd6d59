"""Builds the rooms from settings, starts them, and stops them in reverse order.

The one place that knows every room. On the way down the relay drains before the
flights land: a refresh under way always finishes, whoever has left.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
from platformdirs import user_state_path

from proxy import __version__
from proxy.address import Address, is_loopback_host
from proxy.admin.feed import EventFeed
from proxy.admin.health import ServiceStatus
from proxy.admin.metrics import Metrics
from proxy.admin.server import AdminServer
from proxy.credential.authority import HttpAuthority
from proxy.credential.backoff import Backoff
from proxy.credential.budget import Budget
from proxy.credential.clock import Clock
from proxy.credential.file_store import FileStore
from proxy.credential.holding import Holding
from proxy.credential.journal import Spender
from proxy.credential.renewal import Renewal
from proxy.credential.source import CredentialSource
from proxy.credential.upkeep import Upkeep
from proxy.errors import ConfigurationError
from proxy.events import (
    Event,
    LockWaited,
    Observer,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
)
from proxy.relay import gate
from proxy.relay.body import ReplayMemory
from proxy.relay.cookies import Cookies
from proxy.relay.dial import HttpProxy
from proxy.relay.gate import Gate, Policy
from proxy.relay.keys import Client, KeyRing
from proxy.relay.listener import Listener
from proxy.relay.relay import Relay, Route
from proxy.relay.upstream import Origin, Upstream
from proxy.settings import Settings
from proxy.settings.profile import ProfileSettings

LOCK_GRACE_SECONDS = 15.0
"""How much longer than one call to the authority the lock is waited for."""

USER_AGENT = f"bearerd/{__version__}"
"""What the authority is told: who really calls."""

ANONYMOUS = Client(name="anonymous", profile="default", allowed=frozenset({"relay"}))
"""Who comes without a key, where none is required."""

Stores: TypeAlias = Callable[[ProfileSettings, Clock], FileStore]


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
        self._relay: Relay | None = None
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
            session = await stack.enter_async_context(authority_session(tls))
            await self._open_admin(stack)
            routes = await self._routes(stack, session, tls)
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
        self,
        stack: AsyncExitStack,
        session: aiohttp.ClientSession,
        tls: ssl.SSLContext,
    ) -> dict[str, Route]:
        """Build every profile: its source, and its upstream."""
        routes = {}
        for name, profile in self._settings.profiles.items():
            store = self._stores(profile, self._clock)
            with suppress(TimeoutError):
                async with store.lock(0):
                    pass  # the place for the lock is there; who holds it is no matter
            source = build_source(
                profile,
                store,
                session,
                self._clock,
                self._observe,
                upstream_proxy=self._settings.upstream_proxy,
            )
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
            upkeep = Upkeep(route.source, clock=self._clock, observe=self._observe)
            await stack.enter_async_context(running(upkeep.run(), stop))
            await stack.enter_async_context(running(route.upstream.run(), stop))

    def _upstream(self, profile: ProfileSettings, tls: ssl.SSLContext) -> Upstream:
        return Upstream(
            Origin.of(profile.upstream_url),
            connect_timeout_seconds=self._settings.upstream_connect_timeout_seconds,
            idle_timeout_seconds=self._settings.upstream_idle_timeout_seconds,
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
        self._relay = Relay(
            routes,
            Gate(keys, ANONYMOUS),
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
            [(address, policy(settings, address)) for address in settings.listen]
        )

    def _announce(self, started: Callable[[ServiceStatus], None]) -> None:
        status = self.status()
        admin = ", ".join(status.admin) or None
        self._observe(
            ServiceStarted(status.relay, admin, tuple(self._settings.profiles))
        )
        started(status)


@asynccontextmanager
async def open_source(
    settings: Settings, profile: str, observe: Observer
) -> AsyncIterator[CredentialSource]:
    """Give a command the source of *profile*, without a listener or upkeep.

    A refresh that is under way when the command is done lands before it ends.
    """
    clock = Clock()
    chosen = settings.profile(profile)
    store = file_store(chosen, clock)
    async with authority_session(tls_context(settings)) as session:
        source = build_source(
            chosen,
            store,
            session,
            clock,
            observe,
            upstream_proxy=settings.upstream_proxy,
        )
        await source.start()
        try:
            yield source
        finally:
            await source.close()


def file_store(profile: ProfileSettings, clock: Clock) -> FileStore:
    """Return the store of one profile, with a rescue place of its own."""
    return FileStore(profile.store, clock=clock, rescue=rescue_place(profile.store))


def rescue_place(store: Path) -> Path:
    """Return where an answer is kept when the store's own folder cannot be written."""
    name = hashlib.sha256(str(store.resolve()).encode()).hexdigest()[:16]
    return user_state_path("bearerd") / "rescue" / f"{name}.json"


def build_source(
    profile: ProfileSettings,
    store: FileStore,
    session: aiohttp.ClientSession,
    clock: Clock,
    observe: Observer,
    *,
    upstream_proxy: str | None,
) -> CredentialSource:
    """Return the source of one profile, over *store*."""
    renewal = Renewal(
        store=store,
        authority=HttpAuthority(
            session,
            token_url=profile.token_url,
            client_id=profile.client_id,
            timeout_seconds=profile.authority_timeout_seconds,
            proxy_url=upstream_proxy,
        ),
        budget=Budget(profile.refresh_burst, profile.refresh_interval_seconds),
        backoff=Backoff(clock=clock, draw=random.random),
        clock=clock,
        lock_timeout_seconds=profile.authority_timeout_seconds + LOCK_GRACE_SECONDS,
        waited=lambda seconds: observe(LockWaited(profile.name, seconds)),
        spender=Spender.this_process(clock.now()),
    )
    return CredentialSource(
        profile=profile.name,
        store=store,
        renewal=renewal,
        holding=Holding(
            window_seconds=profile.refresh_window_seconds,
            clock=clock,
            draw=random.random,
        ),
        clock=clock,
        observe=observe,
    )


def policy(settings: Settings, address: Address) -> Policy:
    """Return what the listener on *address* asks of its clients."""
    return gate.policy(
        is_loopback=address.is_loopback,
        is_unix=address.kind == "unix",
        require_key=settings.require_key,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
    )


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the verification that the upstream and the authority must pass."""
    return ssl.create_default_context(cafile=settings.ca_file)


@asynccontextmanager
async def authority_session(
    tls: ssl.SSLContext,
) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session for calls to the authority.

    Each call has a connection of its own: a pooled one that died unseen would make it
    unclear whether the token was spent. Proxies, cookies and netrc are not picked up.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        trust_env=False,
    ) as session:
        yield session


def refuse_loop(settings: Settings) -> None:
    """Raise if an upstream is one of our own listeners.

    Raises:
        ConfigurationError: requests would go round in a circle.
    """
    own = {address.port for address in settings.listen if address.kind == "tcp"}
    for name, profile in settings.profiles.items():
        origin = Origin.of(profile.upstream_url)
        if origin.port in own and is_loopback_host(origin.host):
            raise ConfigurationError(
                f"upstream_url = {profile.upstream_url} (profile {name}) is bearerd's "
                "own listener; set it to the upstream"
            )


def outgoing_proxy(settings: Settings) -> HttpProxy | None:
    """Return the proxy on the way out, if one is set; the environment's do not count."""
    url = settings.upstream_proxy
    return HttpProxy.of(url) if url is not None else None


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
