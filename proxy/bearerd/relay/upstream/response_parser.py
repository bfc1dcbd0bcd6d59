"""llhttp, as one upstream response after another sees it. No I/O.

Bytes go in by `feed`; what they say is left in the attributes. The parser is strict
where a lenient reading could let two parties disagree on where a response ends.
"""

from __future__ import annotations

import re

import httptools

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.headers import nominations
from bearerd.relay.message import Field, ResponseHead, codings, declared_length

HEAD_LIMIT_BYTES = 64 * 1024
"""nginx allows 4 to 8 KiB for all fields, h11 16 KiB; ours only bounds the memory."""

INTERIM_LIMIT = 16
"""Informational responses before the final one: some bound, as Go's transport has."""

SWITCHING_PROTOCOLS, NO_CONTENT, NOT_MODIFIED = 101, 204, 304

WEBSOCKET = b"websocket"

NOT_IN_A_REASON = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
"""RFC 9112 section 4 allows no control byte but tab; llhttp lets the others pass."""


class ResponseParser:
    """Owns what is known of the response under way. `expect` begins a new one.

    `pieces` and `interims` are the caller's to take away; `is_stray` tells of bytes
    that belong to no response that was asked for. After a 101 `switched` holds what came
    behind it, which is no HTTP any more.
    """

    __slots__ = (
        "_asks_upgrade",
        "_error",
        "_field_bytes",
        "_fields",
        "_head_bytes",
        "_interim_count",
        "_is_head_request",
        "_keeps_alive",
        "_parser",
        "_reason",
        "chunks",
        "head",
        "interims",
        "is_complete",
        "is_stray",
        "switched",
        "trailers",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.is_stray = False
        self._is_head_request = False
        self.expect(is_head_request=False, asks_upgrade=False)

    def expect(self, *, is_head_request: bool, asks_upgrade: bool) -> None:
        """Forget the last response; the next bytes are the response to a new request."""
        if self._is_head_request:
            # llhttp still waits for the body that the response to a HEAD only spoke of.
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
        self.head: ResponseHead | None = None
        self.interims: list[ResponseHead] = []
        self.chunks: list[bytes] = []
        self.trailers: list[Field] = []
        self.is_complete = False
        self.switched: bytes | None = None

    @property
    def may_be_followed(self) -> bool:
        """Say whether the connection may carry another response after this one."""
        if not self.is_complete or self.is_stray or self.switched is not None:
            return False
        return self._is_delimited and self._keeps_alive

    def feed(self, data: bytes) -> None:
        """Parse *data*.

        Raises:
            UpstreamProtocolError: this is no response that may be passed on. What stands
                in `pieces` came before the fault.
        """
        if self.switched is not None:
            self.switched += data  # nobody has taken the tunnel over yet
            return
        if self.head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            if self.head is None or self.head.status != SWITCHING_PROTOCOLS:
                message = "the upstream switched protocols without being asked"
                raise UpstreamProtocolError(message) from None
            self.switched = bytes(data[switch.args[0] :])
        except httptools.HttpParserError:
            if self._error is None and not self.is_complete:
                message = "the upstream's answer breaks the rules of HTTP/1.1"
                raise UpstreamProtocolError(message) from None
            self.is_stray = self.is_complete
        if self._error is not None:
            raise self._error
        if self.head is None and self._head_bytes > HEAD_LIMIT_BYTES:
            message = "the upstream's header section is too large"
            raise UpstreamProtocolError(message)

    def feed_eof(self) -> None:
        """Take the connection's end; it completes only a body that ends with it."""
        if self.head is not None and not self._is_delimited:
            self.is_complete = True

    @property
    def _is_delimited(self) -> bool:
        head = self.head
        if head is None:
            return False
        return not head.has_body or head.is_chunked or head.length is not None

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """Begin a head, unless the response that was asked for is in."""
        if self.is_complete:
            self.is_stray = True

    def on_status(self, reason: bytes) -> None:
        """Take a part of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field line of the head, or of the trailer section."""
        value = value.rstrip(b" \t")  # RFC 9112 section 5.1; llhttp leaves it there
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > HEAD_LIMIT_BYTES and not self.is_complete:
            message = "the upstream's header section is too large"
            self._error = UpstreamProtocolError(message)
        elif self.head is None:
            self._fields.append((name, value))
        elif not self.is_complete:
            self.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take a whole head, interim or final."""
        if self.is_complete or self._error is not None:
            return
        try:
            head = self._read_head()
        except ValueError as fault:
            self._error = UpstreamProtocolError(f"the upstream's answer has {fault}")
            return
        self._fields, self._reason = [], b""
        # llhttp knows it only now; at the message's end it has forgotten.
        self._keeps_alive = self._parser.should_keep_alive()
        if head.status == SWITCHING_PROTOCOLS:
            self._switch(head)
            return
        if head.status >= 200:  # noqa: PLR2004 - RFC 9110 section 15.2
            self.head = head
            # llhttp is not told what was asked; without this it waits for a body.
            self.is_complete = self._is_head_request
            return
        self._interim_count += 1
        self.interims.append(head)
        if self._interim_count > INTERIM_LIMIT:
            message = "the upstream sends one informational answer after another"
            self._error = UpstreamProtocolError(message)

    def on_body(self, chunk: bytes) -> None:
        """Take a part of the body; its chunk framing is gone already."""
        if self.is_complete:
            self.is_stray = True
        elif self.head is not None:  # else its head was refused
            self.chunks.append(chunk)

    def on_message_complete(self) -> None:
        """Take the end of a response; the end of an interim one ends nothing."""
        if self.head is not None and self._error is None:
            self.is_complete = True

    def _switch(self, head: ResponseHead) -> None:
        """Take a 101 if it is what was asked for, and says so (RFC 9110 section 7.8)."""
        protocols = [value.strip().lower() for value in head.values(b"upgrade")]
        is_meant = b"upgrade" in nominations(head.fields)
        if self._asks_upgrade and is_meant and protocols == [WEBSOCKET]:
            self.head = head
            self.is_complete = True
        else:
            message = "the upstream switched to a protocol that nobody asked for"
            self._error = UpstreamProtocolError(message)

    def _read_head(self) -> ResponseHead:
        """Return the head; ValueError says what its framing has that it must not."""
        fields = tuple(self._fields)
        status = self._parser.get_status_code()
        if status < 100:  # noqa: PLR2004 - RFC 9110 section 15: three digits, from 100
            message = "a status that is none"
            raise ValueError(message)
        if NOT_IN_A_REASON.search(self._reason):
            message = "a reason with a byte that none may hold"
            raise ValueError(message)
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            message = "a version that was not asked for"
            raise ValueError(message)
        transfer_codings = codings(fields)
        try:
            length = declared_length(fields)
        except ValueError:
            message = "contradictory lengths"
            raise ValueError(message) from None
        # RFC 9112 section 6.3, item 3: both together is how responses are split.
        if transfer_codings and length is not None:
            message = "both a transfer coding and a length"
            raise ValueError(message)
        if transfer_codings not in ([], [b"chunked"]):
            message = "a transfer coding that nobody asked for"
            raise ValueError(message)
        has_no_body = (
            self._is_head_request
            or status < 200  # noqa: PLR2004 - RFC 9112 section 6.3, item 1
            or status in (NO_CONTENT, NOT_MODIFIED)
        )
        return ResponseHead(
            status=status,
            reason=self._reason,
            fields=fields,
            length=length,
            is_chunked=bool(transfer_codings),
            has_body=not has_no_body,
        )
