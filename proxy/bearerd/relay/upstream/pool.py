"""The pool of connections to the upstream: which one is used again, and which is closed.

The newest idle connection is used first, so that the others age and are closed. No timer
runs per request: `run_expiry` looks at every connection once a second. How long one may
be silent follows from its state:

1. IDLE: `IDLE_SECONDS` since its release.
2. WAITING: `first_byte_timeout_seconds` since the last part of the request.
3. RECEIVING: `idle_timeout_seconds` since the last byte of the response.
4. TUNNEL: `TUNNEL_IDLE_SECONDS` since the last byte in either direction.

A connection whose reading is paused has no limit: it waits for a slow client.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque

from bearerd.errors import UpstreamTimeout
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.connection_state import ConnectionState
from bearerd.relay.upstream.connector import Connector
from bearerd.relay.upstream.cookies import CookieJar
from bearerd.relay.upstream.dial import HttpProxy
from bearerd.relay.upstream.origin import Origin

IDLE_SECONDS = 15.0
"""Shorter than nearly every upstream's own limit (nginx 75 s, Cloudflare 400 s; Node has
5 s), so that this side closes first. aiohttp's pool has 15 s as well."""

TUNNEL_IDLE_SECONDS = 3900.0
"""The upstream ends its WebSockets after 60 minutes; a silent one past that is dead."""

LONGEST_CHECK_INTERVAL_SECONDS = 1.0

VIA = b"Via: 1.1 bearerd\r\n"
"""RFC 9110 section 7.6.3, with a pseudonym for the host's name."""


class UpstreamPool:
    """Owns every connection to one origin, busy or idle.

    *cookies*, *proxy* and *tls* are used for an https origin alone. With *says_via* each
    request names this proxy. The limit on TLS is the one on connecting, and the limit on
    the first byte the one on silence, unless given.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connect_timeout_seconds: float,
        idle_timeout_seconds: float,
        tls_timeout_seconds: float | None = None,
        first_byte_timeout_seconds: float | None = None,
        tls: ssl.SSLContext | None,
        proxy: HttpProxy | None = None,
        cookies: CookieJar | None = None,
        says_via: bool = False,
    ) -> None:
        self.origin = origin
        self.via_line = VIA if says_via else b""
        self._cookies = cookies if origin.is_tls else None
        self._connector = Connector(
            origin,
            tls=tls,
            proxy=proxy,
            connect_timeout_seconds=connect_timeout_seconds,
            tls_timeout_seconds=tls_timeout_seconds or connect_timeout_seconds,
        )
        self._idle_timeout_seconds = idle_timeout_seconds
        self._first_byte_timeout_seconds = (
            first_byte_timeout_seconds or idle_timeout_seconds
        )
        self._idle: deque[UpstreamConnection] = deque()  # the newest is the last
        self._connections: set[UpstreamConnection] = set()

    @property
    def connection_count(self) -> int:
        """Return the number of open connections, busy and idle."""
        return len(self._connections)

    async def acquire(self, *, must_be_new: bool = False) -> UpstreamConnection:
        """Return a connection that takes a request; with *must_be_new* a new one.

        Raises:
            UpstreamUnreachable: none could be opened.
            UpstreamTimeout: connecting took too long.
        """
        while self._idle and not must_be_new:
            connection = self._idle.pop()
            if connection.is_available and not connection.has_unread_data:
                return connection
            connection.abort()
        connection = await self._connector.connect(self._on_released)
        self._connections.add(connection)
        return connection

    def cookie_line(self) -> bytes:
        """Return the Cookie field line for a request, or nothing."""
        return self._cookies.cookie_line() if self._cookies is not None else b""

    def store_cookies(self, head: ResponseHead) -> None:
        """Keep what a response sets, for the requests that follow."""
        if self._cookies is not None:
            self._cookies.store(head.values(b"set-cookie"))

    async def run_expiry(self) -> None:
        """Close connections past their limits. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        shortest = min(self._idle_timeout_seconds, self._first_byte_timeout_seconds)
        interval = min(LONGEST_CHECK_INTERVAL_SECONDS, shortest / 4)
        while True:
            await asyncio.sleep(interval)
            self.close_expired(loop.time())

    def close_expired(self, now: float) -> None:
        """Close the connections that are past their limits at *now*, the loop's time."""
        while self._idle and now - self._idle[0].last_activity_at > IDLE_SECONDS:
            self._idle.popleft().abort()  # 1
        for connection in tuple(self._connections):
            limit = self._silence_limit_seconds(connection)
            if now - connection.last_activity_at > limit:
                connection.abort(
                    UpstreamTimeout(f"the upstream was silent for {limit:g} seconds")
                )

    def close_connections(self) -> None:
        """Abort every connection."""
        for connection in tuple(self._connections):
            connection.abort()

    def _silence_limit_seconds(self, connection: UpstreamConnection) -> float:
        if connection.state is ConnectionState.TUNNEL:
            return TUNNEL_IDLE_SECONDS  # 4
        if not connection.is_waiting_for_upstream:
            return math.inf
        if connection.state is ConnectionState.WAITING:
            return self._first_byte_timeout_seconds  # 2
        return self._idle_timeout_seconds  # 3

    def _on_released(self, connection: UpstreamConnection) -> None:
        if connection.is_available:
            self._idle.append(connection)
        else:
            self._connections.discard(connection)
