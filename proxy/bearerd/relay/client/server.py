"""The server of one listening address: it makes, and keeps, the clients' connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from bearerd.relay.client.connection import (
    FIELD_COUNT_LIMIT,
    FIELD_LIMIT_BYTES,
    LINE_LIMIT_BYTES,
    ClientConnection,
)
from bearerd.relay.client.date import DateField

KEEP_ALIVE_SECONDS = 300.0
"""How long an idle connection is kept. Longer than the pools of agents keep theirs
(undici 4 s, httpx 5 s, reqwest 90 s), so that the client closes first. A head that does
not arrive completely ends with it as well."""


class ClientServer(web.Server):
    """Makes a `ClientConnection` for each client of one address; aiohttp keeps them."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        date: DateField,
        connection_limit: int,
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._keep_alive_seconds = keep_alive_seconds
        self._date = date
        self._connection_limit = connection_limit

    def __call__(self) -> ClientConnection:
        """Return the protocol of a new connection; asyncio calls this."""
        return ClientConnection(
            self,
            self._date,
            self._connection_limit,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._keep_alive_seconds,
            max_line_size=LINE_LIMIT_BYTES,
            max_field_size=FIELD_LIMIT_BYTES,
            max_headers=FIELD_COUNT_LIMIT,
        )

    def close_idle(self) -> None:
        """Close the connections that wait for a next request.

        aiohttp's own `pre_shutdown` would also stop reading bodies that still arrive.
        """
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.is_busy:
                connection.force_close()
