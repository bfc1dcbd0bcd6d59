"""Opens connections to one origin: TCP, then TLS, and the errors of both made ours."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from bearerd.errors import UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.dial import HttpProxy, dial
from bearerd.relay.upstream.origin import Origin


class Connector:
    """Knows what a new connection needs, and has no state.

    *tls* and *proxy* are used for an https origin alone: one without TLS is on loopback.
    *connect_timeout_seconds* is for TCP, the name's resolution and the proxy's response.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        proxy: HttpProxy | None,
        connect_timeout_seconds: float,
        tls_timeout_seconds: float,
    ) -> None:
        self._origin = origin
        self._tls = tls if origin.is_tls else None
        self._proxy = proxy if origin.is_tls else None
        self._connect_timeout_seconds = connect_timeout_seconds
        self._tls_timeout_seconds = tls_timeout_seconds

    async def connect(
        self, on_released: Callable[[UpstreamConnection], None]
    ) -> UpstreamConnection:
        """Return a new connection that takes a request.

        Raises:
            UpstreamUnreachable: none could be opened.
            UpstreamTimeout: TCP or TLS took longer than its limit.
        """
        host, port = self._origin.host, self._origin.port
        where = f"{host}:{port}"
        step, limit = "connection to", self._connect_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                connected = await dial(host, port, self._proxy)
            step, limit = "TLS with", self._tls_timeout_seconds
            async with asyncio.timeout(limit):
                connection = await self._start_protocol(connected, on_released)
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
        # asyncio hands over what came with the TLS handshake before this task runs.
        if not connection.is_available:
            raise UpstreamUnreachable(
                f"the upstream {where} sent bytes, or closed, before any request"
            )
        return connection

    async def _start_protocol(
        self,
        connected: socket.socket,
        on_released: Callable[[UpstreamConnection], None],
    ) -> UpstreamConnection:
        """Return the connection on *connected*, once TLS is established."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, connected, on_released),
            sock=connected,
            ssl=self._tls,
            server_hostname=self._origin.host if self._tls else None,
        )
        return connection
