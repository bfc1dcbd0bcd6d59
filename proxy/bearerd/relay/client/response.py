"""The response toward the client, written straight to its transport.

After the first byte of the final response there is no second one. A response that the
upstream breaks off is broken off here too, so that no client takes a part for the whole.

The framing of a body (RFC 9112 section 6) is decided once, from the upstream's head and
the client's version. The cases, with the same numbers in the code:

1. The length is known: Content-Length. A response without a body may have it too (to HEAD,
   or a 304): it is the length that a GET would have. A 204 may not (RFC 9110 section 8.6).
2. The length is unknown, and the client speaks HTTP/1.0: the body ends with the connection
   (section 6.3, item 8).
3. The length is unknown, and the client speaks HTTP/1.1: chunked (section 7.1).
4. There is no body, and a GET would have a chunked one: Transfer-Encoding is declared all
   the same (section 6.1 allows it), except to 1.0 and in a 204.
5. There is no body and no length: nothing is declared.

A body that breaks off is incomplete to the client in each case: in 1 it is too short, in 3
the last chunk is missing, and in 2 the connection ends with a reset instead of a FIN.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from enum import Enum
from http import HTTPStatus

from bearerd.error_response import error_document, error_fields
from bearerd.errors import BearerdError
from bearerd.relay import headers
from bearerd.relay.client.date import DateField
from bearerd.relay.message import Field, ResponseHead

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""The value of Allow. Other methods pass too, and no agent needs them."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER, on, for 0 seconds: close() sends a RST."""


class ResponseState(Enum):
    """How far a response has got."""

    NOT_STARTED = "not started"
    STARTED = "started"  # the final head is sent, or waits for the first chunk
    SWITCHED = "switched"  # a 101 is sent; the connection is a tunnel's
    COMPLETE = "complete"
    ABORTED = "aborted"


class Response:
    """The response to one request. Owns its framing, its state and its status.

    It is the sink (`BodySink`) of the upstream's response body. `must_close` is True if
    the connection ends behind this response.
    """

    __slots__ = (
        "_date",
        "_ends_with_connection",
        "_is_chunked",
        "_is_head_request",
        "_is_http_10",
        "_pending_head",
        "_state",
        "_transport",
        "must_close",
        "status",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        is_http_10: bool,
        is_head_request: bool,
        must_close: bool,
        date: DateField,
    ) -> None:
        self._transport = transport
        self._is_http_10 = is_http_10
        self._is_head_request = is_head_request
        self._date = date
        self._is_chunked = False
        self._ends_with_connection = False
        self._pending_head = b""
        self._state = ResponseState.NOT_STARTED
        # A 1.0 client would have to ask for keep-alive; none of the agents speaks 1.0.
        self.must_close = must_close or is_http_10
        self.status = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}, status {self.status}>"

    @property
    def has_started(self) -> bool:
        """Return True if the final response has started."""
        return self._state is not ResponseState.NOT_STARTED

    # Interim responses.

    def send_continue(self) -> None:
        """Let a client that waits for it send its body (RFC 9110 section 10.1.1)."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_interim(self, head: ResponseHead) -> None:
        """Pass an interim response on (RFC 9110 section 15.2).

        HTTP/1.0 knows none. A 100 is never passed on: the relay answers Expect itself.
        """
        is_own = head.status == HTTPStatus.CONTINUE
        if not (self._is_http_10 or self.has_started or is_own):
            self._transport.write(headers.response_head(head, b""))

    # The final response.

    def send_head(self, head: ResponseHead, added: bytes = b"") -> None:
        """Start the final response. *added* is the relay's own field lines.

        The head goes out together with the first chunk, or by `flush_head`.
        """
        self._start(head, ResponseState.STARTED)
        framing = self._framing(head)
        if not head.values(b"date"):
            added += self._date.line()
        self._pending_head = headers.response_head(head, framing + added)

    def send_switching_protocols(self, head: ResponseHead, added: bytes) -> None:
        """Pass a 101 on (RFC 9110 section 7.8). The bytes behind it are a tunnel's."""
        self._start(head, ResponseState.SWITCHED)
        self.must_close = True
        added += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        self._transport.write(headers.response_head(head, added))

    def flush_head(self) -> None:
        """Send the head now, unless a chunk has taken it along."""
        if self._pending_head:
            self._write(b"")

    def body_chunks(self, chunks: list[bytes]) -> None:
        """Send what one read brought of the body. Each chunk stays a chunk (case 3)."""
        if not self._is_chunked:
            self._write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        elif len(chunks) == 1:
            chunk = chunks[0]
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        else:
            self._write(b"".join([b"%x\r\n%b\r\n" % (len(c), c) for c in chunks]))

    def end(self, trailers: list[Field]) -> None:
        """Complete a body that arrived whole. Only chunked framing carries trailers."""
        self._state = ResponseState.COMPLETE
        if self._is_chunked:
            self._write(b"0\r\n%b\r\n" % headers.trailer_lines(trailers))
        else:
            self.flush_head()

    # Responses of the relay itself.

    def send_options(self) -> None:
        """Answer OPTIONS with the methods that are served (RFC 9110 section 9.3.7)."""
        head = ResponseHead(
            status=HTTPStatus.NO_CONTENT.value,
            reason=b"No Content",
            fields=(),
            length=None,
            is_chunked=False,
            has_body=False,
        )
        self.send_head(head, b"Allow: %b\r\n" % METHODS.encode())
        self.end([])

    def send_error(self, error: BearerdError, *, closes: bool = False) -> None:
        """Answer with *error*, marked as bearerd's own; *closes* ends the connection."""
        self.must_close = self.must_close or closes
        content = json.dumps(error_document(error)).encode()
        added = b"Content-Type: application/json\r\n"
        for name, value in error_fields(error, METHODS):
            added += b"%b: %b\r\n" % (name.encode(), value.encode())
        head = ResponseHead(
            status=error.status.value,
            reason=error.status.phrase.encode(),
            fields=(),
            length=len(content),
            is_chunked=False,
            has_body=True,
        )
        self.send_head(head, added)
        if not self._is_head_request:
            self.body_chunks([content])
        self.end([])
        if closes:
            self._transport.close()

    def abort(self) -> None:
        """End an incomplete body so that the client sees that it is incomplete.

        In cases 1 and 3 an orderly end is enough (RFC 9112 section 8).
        """
        self._state = ResponseState.ABORTED
        self.must_close = True
        if not self._ends_with_connection:
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _start(self, head: ResponseHead, state: ResponseState) -> None:
        assert not self.has_started, self  # noqa: S101 - there is one final response
        self._state = state
        self.status = head.status

    def _framing(self, head: ResponseHead) -> bytes:
        """Decide the framing of the body, and return the field lines that declare it."""
        may_declare = head.status != HTTPStatus.NO_CONTENT
        lines = b""
        if head.length is not None and may_declare:  # 1
            lines = b"Content-Length: %d\r\n" % head.length
        elif head.has_body and self._is_http_10:  # 2
            self._ends_with_connection = True
        elif head.has_body:  # 3
            self._is_chunked = True
            lines = b"Transfer-Encoding: chunked\r\n"
        elif head.is_chunked and may_declare and not self._is_http_10:  # 4
            lines = b"Transfer-Encoding: chunked\r\n"
        if self.must_close:
            lines += b"Connection: close\r\n"
        return lines

    def _write(self, data: bytes) -> None:
        """Write *data* behind the head, unless the client has left."""
        if self._transport.is_closing():
            return
        if self._pending_head:
            data, self._pending_head = self._pending_head + data, b""
        if data:
            self._transport.write(data)
