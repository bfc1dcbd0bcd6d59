"""One client's connection: aiohttp's protocol, with our own responses.

aiohttp parses requests, keeps connections alive and cancels a handler whose client has
left. It is told not to decode bodies and not to log. Answers are written to the
transport by `Answer`, because aiohttp's writer would re-frame and add to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import WebSocketReader
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from bearerd.errors import (
    BearerdError,
    FieldsTooLarge,
    Overloaded,
    RequestMalformed,
    TargetTooLong,
)
from bearerd.relay.client.response import DateField, Response
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.tunnel import Tunnel

KEEP_ALIVE_SECONDS = 300.0
"""How long an idle connection is kept. Longer than the pools of agents keep theirs
(undici 4 s, httpx 5 s, reqwest 90 s), so that they close first. A head that does not
come to its end ends with it as well."""

LINE_LIMIT_BYTES = 16 * 1024
FIELD_LIMIT_BYTES = 32 * 1024
FIELD_COUNT_LIMIT = 256
"""RFC 9112 section 3 wants 8000 octets for a request line. Codex sends some 20 fields,
the largest of 1 KiB; keys and turn metadata may grow."""

HEAD_LIMIT_BYTES = 256 * 1024
"""As many fields of that size would be 8 MiB, and a slow client holds what it has sent."""


class AlreadySent(web.StreamResponse):
    """Tells aiohttp that the response is out, and whether the connection goes on."""

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keeps_alive

    async def prepare(self, _request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Do nothing: it has been written."""
        return None

    async def write_eof(self, _data: bytes = b"") -> None:
        """Do nothing."""


class ClientConnection(web.RequestHandler):
    """One client's connection. `flow` has the upstream's connection for its source."""

    __slots__ = ("_date", "_head_bytes", "_server", "_tunnel", "flow", "is_busy")

    def __init__(self, server: ClientServer, date: DateField, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._date = date
        self._tunnel: Tunnel | None = None
        self._head_bytes = 0  # of a head that is not whole yet
        self.flow = FlowControl(self)
        self.is_busy = False  # a request of it is being served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or tell the client that there are too many."""
        super().connection_made(transport)
        if self._server.is_too_full:
            message = "too many connections; close some, or raise `max_connections`"
            self._refuse(Overloaded(message, retry_after_seconds=1))
            self.force_close()

    def open(self, tunnel: Tunnel) -> None:
        """Hand what the client sends to *tunnel* from now on.

        aiohttp has a place for whoever reads on after an upgrade, and hands over what
        has come in behind the request.
        """
        self._tunnel = tunnel
        self.set_parser(cast("WebSocketReader", tunnel))

    def eof_received(self) -> bool | None:  # type: ignore[override] # asyncio's own
        """Pass a half-close on in a tunnel; anywhere else the client has left."""
        if self._tunnel is not None:
            return self._tunnel.client_ended()
        return None

    def pause_writing(self) -> None:
        """Read no more from the upstream while the client takes no more."""
        super().pause_writing()
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Go on reading."""
        super().resume_writing()
        self.flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take bytes. Where they break the grammar, the body under way has an error.

        aiohttp's C parser forgets that body, and its reader would wait for ever.
        """
        super().data_received(data)
        if self._waiter is not None and not self._waiter.done():
            self._wait_for_head(len(data))
            return
        self._head_bytes = 0
        if not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        self._lingering_time = 0.0  # nothing more of it can be read
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("it breaks its framing"))

    def _wait_for_head(self, count: int) -> None:
        """Give up a head that goes on and on."""
        self._head_bytes += count
        if self._head_bytes > HEAD_LIMIT_BYTES:
            message = f"a header section has at most {HEAD_LIMIT_BYTES} bytes in all"
            self._refuse(FieldsTooLarge(message))
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse. Its own page would echo the bytes."""
        self._refuse(_told(exc, status))
        return AlreadySent(keeps_alive=False)

    def _refuse(self, error: BearerdError) -> None:
        if self.transport is not None:
            Response(
                self.transport,
                is_http_10=False,
                is_head_request=False,
                must_close=True,
                date=self._date,
            ).send_error(error)


def _told(exc: BaseException | None, status: int) -> BearerdError:
    """Return what a client is told of what aiohttp could not parse, or we not do."""
    if isinstance(exc, BearerdError):
        return exc
    if isinstance(exc, LineTooLong) and exc.args[1:2] == (LINE_LIMIT_BYTES,):
        return TargetTooLong(f"a request line has at most {LINE_LIMIT_BYTES} bytes")
    if isinstance(exc, LineTooLong) or "Too many" in str(exc):
        return FieldsTooLarge(
            f"a header section has at most {FIELD_COUNT_LIMIT} fields, of at most "
            f"{FIELD_LIMIT_BYTES} bytes each"
        )
    if status == 400:  # noqa: PLR2004 - what its parser raises
        return RequestMalformed("the request breaks the rules of HTTP/1.1")
    return BearerdError("bearerd failed at this request; its log says more")


class ClientServer(web.Server):
    """Makes a `ClientConnection` for each client."""

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

    @property
    def is_too_full(self) -> bool:
        """Say whether more connections are open than may be."""
        return len(self.connections) > self._connection_limit

    def __call__(self) -> ClientConnection:
        """Return the protocol for a connection that has just come in."""
        return ClientConnection(
            self,
            self._date,
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

        aiohttp's own `pre_shutdown` would also stop reading from those that are still
        uploading.
        """
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.is_busy:
                connection.force_close()
