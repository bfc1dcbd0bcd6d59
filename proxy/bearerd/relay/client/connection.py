"""One client's connection: aiohttp's server protocol, without its responses.

aiohttp parses requests, keeps connections alive, and cancels a handler whose client has
left. It neither decodes bodies nor logs here. `Response` writes straight to the transport,
because aiohttp's writer would frame a response again and add fields to it.

For some of this aiohttp has no public way. The private parts in use, each of which has a
test of its name, so that a release without one fails with that name:

- `RequestHandler._waiter`: pending while the connection waits for a request's head.
- `RequestHandler._messages`: the requests that are parsed and not handled yet, each with
  the reader of its body.
- `web_protocol._ErrInfo`: stands in `_messages` for a request that could not be parsed.
- `RequestHandler._current_request`: the request that is handled now, or None.
- `RequestHandler._lingering_time`: how many seconds, behind a response, the rest of the
  request's body is still read.
- `StreamResponse._keep_alive`: whether the connection goes on behind a response.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
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
from bearerd.relay.client.date import DateField
from bearerd.relay.client.response import Response
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.tunnel import Tunnel

LINE_LIMIT_BYTES = 16 * 1024
FIELD_LIMIT_BYTES = 32 * 1024
FIELD_COUNT_LIMIT = 256
"""RFC 9112 section 3 recommends at least 8000 octets for a request line. Codex sends some
20 fields, the largest of 1 KiB; keys and turn metadata may grow."""

HEAD_LIMIT_BYTES = 256 * 1024
"""All fields together. As many as are allowed, of the allowed size, would be 8 MiB, and a
slow client occupies the memory of what it has sent."""


class AlreadySent(web.StreamResponse):
    """A response that aiohttp has nothing to send of: `Response` has written it."""

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keeps_alive

    async def prepare(self, _request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing."""
        return None

    async def write_eof(self, _data: bytes = b"") -> None:
        """Send nothing."""


class ClientConnection(web.RequestHandler):
    """One client's connection. `flow` has the upstream's connection for its source."""

    __slots__ = (
        "_connection_limit",
        "_date",
        "_head_bytes",
        "_is_busy",
        "_server",
        "_tunnel",
        "flow",
    )

    def __init__(
        self,
        server: web.Server,
        date: DateField,
        connection_limit: int,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self._server = server
        self._date = date
        self._connection_limit = connection_limit
        self._tunnel: Tunnel | None = None
        self._head_bytes = 0  # of a head that is incomplete
        self._is_busy = False
        self.flow = FlowControl(self)

    # The handler calls these.

    @property
    def is_busy(self) -> bool:
        """Return True while a request of this connection is handled."""
        return self._is_busy

    def request_started(self) -> None:
        """Note that a request is handled from now on."""
        self._is_busy = True

    def request_finished(self) -> None:
        """Note that the request has been handled."""
        self._is_busy = False

    def refuse(self, error: BearerdError, *, is_head_request: bool = False) -> None:
        """Answer bytes that are no request here with *error*; the connection ends."""
        if self.transport is not None:
            Response(
                self.transport,
                is_http_10=False,
                is_head_request=is_head_request,
                must_close=True,
                date=self._date,
            ).send_error(error)

    def start_tunnel(self, tunnel: Tunnel) -> None:
        """Hand what the client sends to *tunnel* from now on.

        aiohttp has a place for the reader behind an upgrade, and hands it the bytes that
        arrived behind the request.
        """
        self._tunnel = tunnel
        self.set_parser(cast("WebSocketReader", tunnel))

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if len(self._server.connections) > self._connection_limit:
            message = "too many connections; close some, or raise `max_connections`"
            self.refuse(Overloaded(message, retry_after_seconds=1))
            self.force_close()

    def eof_received(self) -> bool | None:  # type: ignore[override] # asyncio's own
        """Pass a half-close on to the tunnel. Without one, the client has left."""
        if self._tunnel is not None:
            return self._tunnel.client_ended()
        return None

    def pause_writing(self) -> None:
        """Pause reading from the upstream: the client's buffer is full."""
        super().pause_writing()
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Read from the upstream again."""
        super().resume_writing()
        self.flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse *data*.

        Where it breaks the grammar, the bodies that are incomplete get an error: aiohttp's
        C parser forgets the body that it was in, and its reader would wait for ever.
        """
        super().data_received(data)
        if self._waiter is not None and not self._waiter.done():
            self._count_head(len(data))
            return
        self._head_bytes = 0
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._lingering_time = 0.0  # nothing behind the error can be read
            self._fail_bodies()

    # aiohttp calls this.

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Refuse what aiohttp could not parse. Its own page would echo the bytes."""
        self.refuse(client_error(exc, status))
        return AlreadySent(keeps_alive=False)

    def _count_head(self, count: int) -> None:
        """Refuse a head that grows past its limit before it is complete."""
        self._head_bytes += count
        if self._head_bytes > HEAD_LIMIT_BYTES:
            message = f"a header section has at most {HEAD_LIMIT_BYTES} bytes in all"
            self.refuse(FieldsTooLarge(message))
            self.force_close()

    def _fail_bodies(self) -> None:
        """Give the reader of each incomplete body an error."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("the framing is broken"))


def client_error(exc: BaseException | None, status: int) -> BearerdError:
    """Return the error for a client whose request aiohttp could not parse or handle.

    *exc* is what aiohttp, or the handler, raised; *status* is aiohttp's suggestion.
    """
    if isinstance(exc, BearerdError):
        return exc
    # A field that is too long has another limit in its exception than a line has.
    if isinstance(exc, LineTooLong) and exc.args[1:2] == (LINE_LIMIT_BYTES,):
        return TargetTooLong(f"a request line has at most {LINE_LIMIT_BYTES} bytes")
    if isinstance(exc, LineTooLong) or "Too many" in str(exc):
        return FieldsTooLarge(
            f"a header section has at most {FIELD_COUNT_LIMIT} fields, of at most "
            f"{FIELD_LIMIT_BYTES} bytes each"
        )
    if status == HTTPStatus.BAD_REQUEST:
        return RequestMalformed("the request breaks the grammar of HTTP/1.1")
    return BearerdError("bearerd failed to handle this request; its log has the reason")
