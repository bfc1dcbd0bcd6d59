"""The response on its way to the client, written straight to the transport.

Rule: after the first byte of the final response has gone out there is no second one. What
the upstream breaks off is broken off here, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate

from bearerd.error_response import error_document, error_fields
from bearerd.errors import BearerdError
from bearerd.relay import headers
from bearerd.relay.message import Field, ResponseHead

NO_CONTENT = 204

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What an Allow field names; other methods pass too, but no agent needs to hear of them."""


class DateField:
    """The Date field line, made once a second. *now* is epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._line = b""

    def __call__(self) -> bytes:
        """Return the whole line (RFC 9110 section 6.6.1)."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


class Response:
    """One answer to one request. Owns how the body is framed and what has gone out.

    A `Sink` of the upstream's wire. `must_close` grows true when the framing needs the
    connection's end.
    """

    __slots__ = (
        "_date",
        "_ends_with_connection",
        "_is_chunked",
        "_is_head_request",
        "_is_http_10",
        "_pending",
        "_transport",
        "has_started",
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
        self._pending = b""
        self.has_started = False
        self.must_close = must_close or is_http_10
        self.status = 0

    def begin(self, head: ResponseHead, added: bytes = b"") -> None:
        """Start the final response. Its head goes out with the first piece, or `flush`."""
        self.has_started = True
        self.status = head.status
        framing = self._framing(head)
        if not head.values(b"date"):
            added += self._date()
        self._pending = headers.response_head(head, framing + added)

    def switch_protocols(self, head: ResponseHead, added: bytes) -> None:
        """Pass a 101 on (RFC 9110 section 7.8); what follows is not ours to frame."""
        self.has_started = self.must_close = True
        self.status = head.status
        added += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        self._transport.write(headers.response_head(head, added))

    def flush(self) -> None:
        """Send the head now if no piece has taken it along."""
        if self._pending:
            self._write(b"")

    def send_continue(self) -> None:
        """Tell a client that waits for it to send its body (RFC 9110 section 10.1.1)."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def interim(self, head: ResponseHead) -> None:
        """Pass an informational response on, except what 1.0 cannot take.

        RFC 9110 section 15.2. We have answered `Expect` ourselves, so a 100 is ours.
        """
        if not (self._is_http_10 or self.has_started or head.status == 100):  # noqa: PLR2004
            self._transport.write(headers.response_head(head, b""))

    def body_chunks(self, chunks: list[bytes]) -> None:
        """Write what one read brought."""
        if not self._is_chunked:
            self._write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        elif len(chunks) == 1:
            chunk = chunks[0]
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        else:
            self._write(b"".join([b"%x\r\n%b\r\n" % (len(p), p) for p in chunks]))

    def end(self, trailers: list[Field]) -> None:
        """Finish a body that came whole; trailers go where chunks can carry them."""
        if not self._is_chunked:
            self.flush()
            return
        self._write(b"0\r\n%b\r\n" % headers.trailer_lines(trailers))

    def send_options(self) -> None:
        """Answer for ourselves what is served here (RFC 9110 section 9.3.7)."""
        head = ResponseHead(
            204, b"No Content", (), None, is_chunked=False, has_body=False
        )
        self.begin(head, b"Allow: %b\r\n" % METHODS.encode())
        self.flush()

    def send_error(self, error: BearerdError) -> None:
        """Answer ourselves, in OpenAI's error shape, marked so that nobody errs."""
        content = json.dumps(error_document(error)).encode()
        lines = b"Content-Type: application/json\r\n"
        for name, value in error_fields(error, METHODS):
            lines += b"%b: %b\r\n" % (name.encode(), value.encode())
        head = ResponseHead(
            status=error.status.value,
            reason=error.status.phrase.encode(),
            fields=(),
            length=len(content),
            is_chunked=False,
            has_body=True,
        )
        self.begin(head, lines)
        if self._is_head_request:
            self.flush()
        else:
            self.body_chunks([content])

    def close(self) -> None:
        """Close behind what has been written: nothing more will be read."""
        self._transport.close()

    def abort(self) -> None:
        """End a body that is not whole so that the client cannot think it is.

        Chunks and lengths tell by themselves. A body that ends with the connection
        needs a reset instead of an end (RFC 9112 section 8).
        """
        self.must_close = True
        if not self._ends_with_connection:
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._transport.abort()

    def _framing(self, head: ResponseHead) -> bytes:
        """Return the field lines that say where the body ends (RFC 9112 section 6)."""
        lines = b""
        if head.length is not None and head.status != NO_CONTENT:
            lines = b"Content-Length: %d\r\n" % head.length
        elif head.has_body and self._is_http_10:
            self._ends_with_connection = True
        elif head.has_body:
            self._is_chunked = True
            lines = b"Transfer-Encoding: chunked\r\n"
        elif head.is_chunked and not (self._is_http_10 or head.status == NO_CONTENT):
            lines = b"Transfer-Encoding: chunked\r\n"  # of a HEAD: what GET would have
        if self.must_close:
            lines += b"Connection: close\r\n"
        return lines

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._pending:
            data, self._pending = self._pending + data, b""
        if data:
            self._transport.write(data)
