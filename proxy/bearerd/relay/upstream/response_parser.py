"""Parses the responses of one connection, one after another, with llhttp. No I/O.

The parser is strict where a lenient reading would let two parties disagree on where a
response ends. `ResponseState` says how far the response is:

1. HEAD: a part of a head at most has come. Interim (1xx) heads leave this state as it is.
2. BODY: the final head has come, and the body has not ended.
3. COMPLETE: the response has come whole. The next bytes must answer a new request.
4. STRAY: bytes have come behind a complete response. They answer nothing that was asked,
   and would be taken for the response to the next request (RFC 9112 section 6.3).
5. SWITCHED: the final response is a 101 that was asked for. What follows is not HTTP.

Where a body ends is decided in `response_head`.
"""

from __future__ import annotations

from enum import Enum

import httptools

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.headers import connection_options
from bearerd.relay.message import SWITCHING_PROTOCOLS, WEBSOCKET, Field, ResponseHead
from bearerd.relay.upstream.response_head import (
    LOWEST_FINAL_STATUS,
    is_self_delimited,
    read_response_head,
)

HEAD_LIMIT_BYTES = 64 * 1024
"""nginx allows 4 to 8 KiB for all fields, h11 16 KiB; ours only bounds the memory."""

INTERIM_LIMIT = 16
"""Interim responses before the final one. Go's transport has a bound as well."""


class ResponseState(Enum):
    """How far the response has come. The cases are at the head of this file."""

    HEAD = "head"
    BODY = "body"
    COMPLETE = "complete"
    STRAY = "stray"
    SWITCHED = "switched"


_HEAD, _BODY = ResponseState.HEAD, ResponseState.BODY
_COMPLETE, _STRAY = ResponseState.COMPLETE, ResponseState.STRAY
_SWITCHED = ResponseState.SWITCHED


class ResponseParser:
    """Owns what is known of the response under way. `expect_response` begins a new one.

    `head` is the final response's, once it has come. After a 101 `trailing_data` is what
    has come behind it.
    """

    __slots__ = (
        "_asks_upgrade",
        "_chunks",
        "_error",
        "_field_bytes",
        "_fields",
        "_head_bytes",
        "_interim_count",
        "_interims",
        "_is_head_request",
        "_keeps_alive",
        "_parser",
        "_reason",
        "head",
        "state",
        "trailers",
        "trailing_data",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_head_request = False
        self.expect_response(is_head_request=False, asks_upgrade=False)

    def expect_response(self, *, is_head_request: bool, asks_upgrade: bool) -> None:
        """Forget the last response; the next bytes are the response to a new request."""
        if self._is_head_request:
            # llhttp still waits for the body that the response to the HEAD announced.
            self._parser = httptools.HttpResponseParser(self)
        self._is_head_request = is_head_request
        self._asks_upgrade = asks_upgrade
        self._error: UpstreamProtocolError | None = None
        self._fields: list[Field] = []
        self._reason = b""
        self._field_bytes = 0
        self._head_bytes = 0
        self._interim_count = 0
        self._keeps_alive = False
        self._interims: list[ResponseHead] = []
        self._chunks: list[bytes] = []
        self.state = _HEAD
        self.head: ResponseHead | None = None
        self.trailers: list[Field] = []
        self.trailing_data = b""

    @property
    def has_begun(self) -> bool:
        """Return True if a byte of the response has come."""
        return self._head_bytes > 0

    @property
    def is_complete(self) -> bool:
        """Return True if the response has come whole."""
        return self.state is not _BODY and self.state is not _HEAD

    @property
    def leaves_connection_reusable(self) -> bool:
        """Return True if another response may follow on the same connection."""
        return (
            self.state is _COMPLETE
            and self._keeps_alive
            and self.head is not None
            and is_self_delimited(self.head)
        )

    def take_interims(self) -> list[ResponseHead]:
        """Return the interim responses that have come since the last call."""
        interims, self._interims = self._interims, []
        return interims

    def take_chunks(self) -> list[bytes]:
        """Return what has come of the body since the last call; no chunk is empty."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def feed(self, data: bytes) -> None:
        """Parse *data*.

        Raises:
            UpstreamProtocolError: the response may not be passed on. The chunks that
                `take_chunks` returns came before the fault.
        """
        if self.state is _SWITCHED:
            self.trailing_data += data  # the tunnel is not open yet
            return
        if self.head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.state is _SWITCHED:
                self.trailing_data = bytes(data[upgrade.args[0] :])
            else:
                self._refuse("the upstream switched to a protocol without being asked")
        except httptools.HttpParserError:
            self._refuse("the upstream's response breaks the rules of HTTP/1.1")
        if self.head is None and self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse("the upstream's header section is too large")
        if self._error is not None:
            raise self._error

    def feed_eof(self) -> None:
        """Note the connection's end. It completes only a body that ends with it."""
        if self.head is not None and not is_self_delimited(self.head):
            self.state = _COMPLETE

    # llhttp calls these. An exception in them would be lost, so `feed` raises it.

    def on_message_begin(self) -> None:
        """Begin a head. Behind a complete response it is stray."""
        if self.state is _COMPLETE:
            self.state = _STRAY

    def on_status(self, reason: bytes) -> None:
        """Keep a part of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field line of the head, or of the trailer section."""
        value = value.rstrip(b" \t")  # RFC 9112 section 5.1; llhttp leaves it there
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > HEAD_LIMIT_BYTES:
            self._refuse("the upstream's header section is too large")
        elif self.state is _HEAD:
            self._fields.append((name, value))
        elif self.state is _BODY:
            self.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check a whole head, interim or final."""
        if self.is_complete or self._error is not None:
            return
        try:
            head = read_response_head(
                status=self._parser.get_status_code(),
                reason=self._reason,
                version=self._parser.get_http_version(),
                fields=tuple(self._fields),
                is_head_request=self._is_head_request,
            )
        except UpstreamProtocolError as error:
            self._error = error
            return
        self._fields, self._reason = [], b""
        # llhttp knows it only now; at the message's end it has forgotten.
        self._keeps_alive = self._parser.should_keep_alive()
        if head.status == SWITCHING_PROTOCOLS:
            self._switch(head)
        elif head.status >= LOWEST_FINAL_STATUS:
            self.head = head
            # llhttp does not know that HEAD was asked; it would wait for a body.
            self.state = _COMPLETE if self._is_head_request else _BODY
        else:
            self._add_interim(head)

    def on_body(self, chunk: bytes) -> None:
        """Keep a part of the body. llhttp has removed the chunked coding."""
        if self.state is _BODY:
            self._chunks.append(chunk)
        elif self.state is _COMPLETE:
            self.state = _STRAY
        # In HEAD, the head was refused.

    def on_message_complete(self) -> None:
        """End the response. The end of an interim one is none."""
        if self.state is _BODY and self._error is None:
            self.state = _COMPLETE

    def _add_interim(self, head: ResponseHead) -> None:
        self._interim_count += 1
        self._interims.append(head)
        if self._interim_count > INTERIM_LIMIT:
            self._refuse(
                f"the upstream sent more than {INTERIM_LIMIT} interim responses"
            )

    def _switch(self, head: ResponseHead) -> None:
        """Accept a 101 if it switches to what was asked for (RFC 9110 section 7.8)."""
        protocols = [value.strip().lower() for value in head.values(b"upgrade")]
        is_upgrade = b"upgrade" in connection_options(head.fields)
        if self._asks_upgrade and is_upgrade and protocols == [WEBSOCKET]:
            self.head = head
            self.state = _SWITCHED
        else:
            self._refuse("the upstream switched to a protocol that was not asked for")

    def _refuse(self, message: str) -> None:
        """Refuse the response, for the first reason; behind a complete one it is stray."""
        if self.is_complete:
            self.state = _STRAY
        elif self._error is None:
            self._error = UpstreamProtocolError(message)
