"""The pool of upstream connections, its limits on silence, and the errors made ours.

The newest idle connection is used first, so that the others age and are closed. No
timer runs per request: one sweep a second looks at every wire.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

from bearerd.errors import UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.connection_state import ConnectionState
from bearerd.relay.upstream.cookies import CookieJar
from bearerd.relay.upstream.dial import HttpProxy, dial

IDLE_SECONDS = 15.0
"""Kept shorter than any upstream keeps them (nginx 75 s, Cloudflare 400 s, Node 5 s is
the exception), so that we close first. aiohttp's pool has 15 s as well."""


VIA = b"Via: 1.1 bearerd\r\n"
"""RFC 9110 section 7.6.3, with a pseudonym for our name."""

TUNNEL_IDLE_SECONDS = 3900.0
"""The upstream ends its WebSockets after 60 minutes; a silent one past that is dead."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the upstream is: scheme, host, port; and the path that it starts with."""

    is_tls: bool
    host: str
    port: int
    base_path: bytes
    authority: bytes

    @classmethod
    def from_url(cls, url: str) -> Origin:
        """Split a URL that the settings have checked."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        return cls(
            is_tls=is_tls,
            host=parts.hostname or "",
            port=parts.port or (443 if is_tls else 80),
            base_path=parts.path.rstrip("/").encode(),
            authority=parts.netloc.encode(),
        )


class UpstreamPool:
    """Connections to one origin. Owns every wire; `run_expiry` sweeps them until cancelled.

    *proxy* and *cookies* are for an https origin; a loopback one has neither. With
    *says_via* requests say that they came through here. The limit on TLS is the one on
    connecting, and the limit on the first byte the one on silence, unless given.
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
        self._proxy = proxy if origin.is_tls else None
        self._connect_timeout_seconds = connect_timeout_seconds
        self._tls_timeout_seconds = tls_timeout_seconds or connect_timeout_seconds
        self._idle_timeout_seconds = idle_timeout_seconds
        self._first_byte_timeout_seconds = (
            first_byte_timeout_seconds or idle_timeout_seconds
        )
        self._tls = tls if origin.is_tls else None
        self._idle: deque[UpstreamConnection] = deque()
        self._connections: set[UpstreamConnection] = set()

    async def acquire(self, *, must_be_new: bool = False) -> UpstreamConnection:
        """Return a connection that takes a request; *must_be_new* wants a new one.

        Raises:
            UpstreamUnreachable: there is none to be had.
            UpstreamTimeout: connecting took too long.
        """
        while self._idle and not must_be_new:
            connection = self._idle.pop()
            if connection.is_available and not connection.has_unread_data:
                return connection
            connection.abort()
        return await self._connect()

    def cookie_line(self) -> bytes:
        """Return the field line with what `learn` has kept, or nothing."""
        return self._cookies.cookie_line() if self._cookies is not None else b""

    def store_cookies(self, head: ResponseHead) -> None:
        """Keep what a response sets for the next request."""
        if self._cookies is not None:
            self._cookies.store(head.values(b"set-cookie"))

    async def run_expiry(self) -> None:
        """Close what has been silent, or idle, for too long. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        shortest = min(self._idle_timeout_seconds, self._first_byte_timeout_seconds)
        interval = min(1.0, shortest / 4)
        while True:
            await asyncio.sleep(interval)
            self.close_expired(loop.time())

    def close_connections(self) -> None:
        """Abort every connection."""
        for connection in tuple(self._connections):
            connection.abort()

    @property
    def connection_count(self) -> int:
        """Count the open connections, busy and idle."""
        return len(self._connections)

    def close_expired(self, now: float) -> None:
        """Close what has been silent, or idle, for too long at *now*, the loop's time."""
        while self._idle and now - self._idle[0].last_activity_at > IDLE_SECONDS:
            self._idle.popleft().abort()
        for connection in tuple(self._connections):
            limit = self._silence_limit_seconds(connection)
            if now - connection.last_activity_at > limit:
                connection.abort(
                    UpstreamTimeout(f"the upstream was silent for {limit:g} seconds")
                )

    def _silence_limit_seconds(self, connection: UpstreamConnection) -> float:
        if connection.state is ConnectionState.TUNNEL:
            return TUNNEL_IDLE_SECONDS
        if not connection.is_waiting_for_upstream:
            return math.inf
        if connection.state is ConnectionState.WAITING:
            return self._first_byte_timeout_seconds
        return self._idle_timeout_seconds

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        where = f"{origin.host}:{origin.port}"
        step, limit = "connection to", self._connect_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                connected = await dial(origin.host, origin.port, self._proxy)
            step, limit = "TLS with", self._tls_timeout_seconds
            async with asyncio.timeout(limit):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(loop, connected, self._released),
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=origin.host if self._tls else None,
                )
        except TimeoutError:
            raise UpstreamTimeout(
                f"no {step} the upstream {where} within {limit:g} seconds"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamUnreachable(
                f"the upstream {where} has no valid certificate: "
                f"{error.verify_message}; behind a TLS-inspecting proxy set `ca_file`"
            ) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UpstreamUnreachable(
                f"no connection to the upstream {where}: {reason}"
            ) from error
        # The event loop hands over what came with the handshake before this task runs.
        if not connection.is_available:
            raise UpstreamUnreachable(
                f"the upstream {where} sent bytes, or closed, before any request"
            )
        self._connections.add(connection)
        return connection

    def _released(self, connection: UpstreamConnection) -> None:
        if connection.is_available:
            self._idle.append(connection)
        else:
            self._connections.discard(connection)
