"""The admin listener: status page, health, metrics and events, for GET and HEAD.

Its responses are made from the values and callables that it is given. It has no
credential, and keeps no access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeAlias

from aiohttp import web

from bearerd.address import Address, is_loopback_host
from bearerd.admin import guard, page, responses
from bearerd.admin.feed import EventFeed
from bearerd.admin.health import check_health, check_readiness
from bearerd.admin.metrics import Metrics
from bearerd.admin.status import ServiceStatus
from bearerd.clock import Clock
from bearerd.errors import BearerdError, NotFound
from bearerd.host_rule import loopback_rule
from bearerd.listen import OpenListener, open_listener

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
"""The interval of comments in an idle event stream: proxies close a silent one."""

STOP_SECONDS: Final = 1.0
"""How long responses may take after the listener has closed."""

SETTING: Final = "admin_listen"
"""The setting that the addresses come from."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """One listener, on one or several addresses. Owns its sockets and nothing else."""

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
        self._hosts = loopback_rule(allowed_hosts, any_loopback_address=True)
        self._ping_seconds = ping_seconds
        self._runner: web.AppRunner | None = None
        self._listeners: list[OpenListener] = []

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The open addresses, with the ports that the system chose."""
        return tuple(listener.address for listener in self._listeners)

    async def start(self) -> tuple[Address, ...]:
        """Open all addresses and return them with their ports.

        Raises:
            StartError: one of them cannot be opened; then none is open.
        """
        app = web.Application(middlewares=[self._respond])
        for path, handler in zip(PATHS, self._handlers(), strict=True):
            app.router.add_get(path, handler)
        runner = self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - made by setup()
        try:
            for address in self._addresses:
                self._listeners.append(
                    await open_listener(address, runner.server, setting=SETTING)
                )
        except BaseException:
            await self.stop()
            raise
        return self.addresses

    def _handlers(self) -> tuple[Handler, ...]:
        """Return the handler of each of `PATHS`."""
        return (
            self._page,
            self._livez,
            self._readyz,
            self._healthz,
            self._metrics_text,
            self._status_document,
            self._events,
        )

    async def stop(self) -> None:
        """Close all addresses and end the event streams."""
        self._feed.close()
        runner, self._runner = self._runner, None
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _respond(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        try:
            guard.authorize(
                method=request.method,
                host=request.headers.get("Host", ""),
                origin=request.headers.get("Origin"),
                is_loopback=self._is_loopback(request),
                hosts=self._hosts,
            )
            return await handler(request)
        except BearerdError as error:
            return responses.error_response(error)
        except web.HTTPNotFound:
            paths = ", ".join(PATHS)
            return responses.error_response(
                NotFound(f"{request.path}: no such path; there are: {paths}")
            )

    def _is_loopback(self, request: web.Request) -> bool:
        """Return True if the request's listener is open to this machine only.

        A connection to a listener on all addresses may use loopback as well, for instance
        from a reverse proxy; such a listener is not meant for this machine only.
        """
        here = request.transport and request.transport.get_extra_info("sockname")
        if not isinstance(here, tuple):
            return False  # a unix socket, which no browser can reach
        is_wide = any(
            bound.kind == "tcp" and not bound.is_loopback and bound.port == here[1]
            for bound in self.addresses
        )
        return is_loopback_host(here[0]) and not is_wide

    async def _page(self, _: web.Request) -> web.Response:
        return responses.page_response(page.render(self._status(), self._clock.now()))

    async def _livez(self, _: web.Request) -> web.Response:
        return responses.livez_response()

    async def _readyz(self, _: web.Request) -> web.Response:
        return responses.readyz_response(check_readiness(self._status()))

    async def _healthz(self, _: web.Request) -> web.Response:
        return responses.healthz_response(check_health(self._status()))

    async def _metrics_text(self, _: web.Request) -> web.Response:
        return responses.metrics_response(self._metrics.text())

    async def _status_document(self, _: web.Request) -> web.Response:
        return responses.status_response(self._status())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        with self._feed.subscribe() as subscription:
            response = responses.event_stream_response()
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            await response.write(b": events of bearerd\n\n")
            while True:
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        frame = await subscription.next()
                except TimeoutError:
                    frame = b": keep-alive\n\n"
                if frame is None:
                    return response
                await response.write(frame)
