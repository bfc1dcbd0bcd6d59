"""The admin listener: status page, health, metrics and events, for GET and HEAD.

Knows what to answer from callables and values that it is given; holds no credential and
starts nothing. Accesses are logged nowhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web

from bearerd.address import Address, is_loopback_host
from bearerd.admin import guard, health, page, responses
from bearerd.admin.feed import EventFeed
from bearerd.admin.health import ServiceStatus
from bearerd.admin.metrics import Metrics
from bearerd.clock import Clock
from bearerd.errors import BearerdError, NotFound, StartError

PATHS: Final = (
    "/",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "/api/status",
    "/api/events",
)

PING_SECONDS: Final = 15.0
"""A comment in a silent event stream, so that proxies on the way keep it open."""

STOP_SECONDS: Final = 1.0
"""How long answers may take once the listener closes; none is worth waiting for."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """One listener, on one address or several. Owns its sockets and nothing else."""

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        status: Callable[[], ServiceStatus],
        metrics: Metrics,
        feed: EventFeed,
        clock: Clock,
        allowed_hosts: Collection[str] = (),
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._status = status
        self._metrics = metrics
        self._feed = feed
        self._clock = clock
        self._allowed_hosts = frozenset(allowed_hosts)
        self._ping_seconds = ping_seconds
        self._runner: web.AppRunner | None = None
        self._bound: tuple[Address, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that are open, with the ports that the system chose."""
        return self._bound

    async def start(self) -> tuple[Address, ...]:
        """Open all addresses and return them with their ports.

        Raises:
            StartError: one of them cannot be had; none is open then.
        """
        app = web.Application(middlewares=[self._respond])
        app.router.add_get("/", self._page)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics_text)
        app.router.add_get("/api/status", self._status_document)
        app.router.add_get("/api/events", self._events)
        runner = self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            self._bound = tuple([await _open(runner, one) for one in self._addresses])
        except BaseException:
            await self.stop()
            raise
        return self._bound

    async def stop(self) -> None:
        """Close all addresses and let the subscribers of events go."""
        self._feed.end()
        runner, self._runner = self._runner, None
        self._bound = ()
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _respond(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        try:
            guard.judge(
                method=request.method,
                host=request.headers.get("Host", ""),
                origin=request.headers.get("Origin"),
                is_loopback=self._came_by_loopback(request),
                allowed_hosts=self._allowed_hosts,
            )
            return await handler(request)
        except BearerdError as error:
            return responses.of_refusal(error)
        except web.HTTPNotFound:
            paths = ", ".join(PATHS)
            return responses.of_refusal(
                NotFound(f"{request.path}: not here; there are: {paths}")
            )

    def _came_by_loopback(self, request: web.Request) -> bool:
        """True when the listener it came by is open to this machine alone.

        A listener on all addresses is reached by loopback too, from a reverse proxy.
        """
        here = request.transport and request.transport.get_extra_info("sockname")
        if not isinstance(here, tuple):
            return False  # a unix socket, which no browser can reach
        is_wide = any(
            bound.kind == "tcp" and not bound.is_loopback and bound.port == here[1]
            for bound in self._bound
        )
        return is_loopback_host(here[0]) and not is_wide

    async def _page(self, _: web.Request) -> web.Response:
        return responses.of_page(page.render(self._status(), self._clock.now()))

    async def _livez(self, _: web.Request) -> web.Response:
        return responses.of_health(health.livez())

    async def _readyz(self, _: web.Request) -> web.Response:
        return responses.of_health(health.readyz(self._status()))

    async def _healthz(self, _: web.Request) -> web.Response:
        return responses.of_health(health.healthz(self._status()))

    async def _metrics_text(self, _: web.Request) -> web.Response:
        return responses.of_metrics(self._metrics.text())

    async def _status_document(self, _: web.Request) -> web.Response:
        return responses.of_document(HTTPStatus.OK, health.document(self._status()))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        with self._feed.subscribe() as subscription:
            response = responses.of_stream()
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            await response.write(b": the events of bearerd, as they happen\n\n")
            while True:
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        frame = await subscription.next()
                except TimeoutError:
                    frame = b": still here\n\n"
                if frame is None:
                    return response
                await response.write(frame)


async def _open(runner: web.AppRunner, address: Address) -> Address:
    """Listen on *address*; return it with the port that the system chose."""
    site: web.BaseSite
    if address.kind == "unix":
        await _check_free(address)
        site = web.UnixSite(runner, address.path)
    else:
        site = web.TCPSite(runner, address.host, address.port)
    before = len(runner.addresses)
    try:
        await site.start()
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise _taken(address, reason) from error
    if address.kind == "unix":
        return address
    port = runner.addresses[before][1]
    return Address("tcp", host=address.host, port=port)


async def _check_free(address: Address) -> None:
    """Raise if somebody answers on a unix socket: binding would take it from them."""
    with suppress(OSError):
        _, writer = await asyncio.open_unix_connection(address.path)
        writer.close()
        raise _taken(address, "another process listens there")


def _taken(address: Address, reason: str) -> StartError:
    return StartError(
        f"cannot listen on {address}: {reason}; is bearerd running already (`bearerd "
        "status`)? Otherwise choose another address with `admin_listen`"
    )
