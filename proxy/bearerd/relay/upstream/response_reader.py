"""The response on one connection: what has come of it, and the call that waits for more.

`feed` is called from the event loop's read callback, and passes on what it reads before
it returns, so that a streamed event needs no task to reach the client:

1. Interim responses go to `on_interim` at once.
2. Without a sink, the body goes to a buffer. `peek_body` shows it and takes nothing away;
   a full buffer pauses reading, so that a body costs a bounded amount.
3. `stream_body_to` hands the buffer to a sink, and the end if it has come.
4. With a sink, the body goes straight to it. The end goes last, and once.

At most one call waits at a time: for the head, for the body's beginning, or for the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from bearerd.errors import UpstreamError
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.response_parser import ResponseParser

BUFFER_LIMIT_BYTES = 64 * 1024
"""How much is kept before reading stops: asyncio's own high-water mark for writing."""


class BodySink(Protocol):
    """Where a response's body goes. Called from the event loop's read callback."""

    def body_chunks(self, chunks: list[bytes]) -> None:
        """Take what one read brought of the body: one or more chunks, none empty."""

    def end(self, trailers: list[Field]) -> None:
        """Take the end of a body that came whole."""


class BodyBuffer:
    """Owns the chunks of a body that have come before its sink, and their size."""

    __slots__ = ("_chunks", "byte_count")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.byte_count = 0

    @property
    def is_full(self) -> bool:
        """Return True if no more should be read before there is a sink."""
        return self.byte_count >= BUFFER_LIMIT_BYTES

    def add(self, chunks: list[bytes]) -> None:
        """Keep *chunks*."""
        self._chunks += chunks
        self.byte_count += sum(map(len, chunks))

    def peek(self, limit_bytes: int) -> bytes:
        """Return the first *limit_bytes*, or less if there is less. They stay."""
        return b"".join(self._chunks)[:limit_bytes]

    def take_chunks(self) -> list[bytes]:
        """Return all chunks, and forget them."""
        chunks, self._chunks, self.byte_count = self._chunks, [], 0
        return chunks


class ResponseReader:
    """Owns the parser and the body of one response after another.

    *flow* is the connection's.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_flow",
        "_loop",
        "_on_interim",
        "_parser",
        "_sink",
        "_waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, flow: FlowControl) -> None:
        self._loop = loop
        self._flow = flow
        self._parser = ResponseParser()
        self._buffer = BodyBuffer()
        self._sink: BodySink | None = (
            None  # None before `stream_body_to`, and at the end
        )
        self._on_interim: Callable[[ResponseHead], None] = _ignore
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Return True if a byte of the response has come."""
        return self._parser.has_begun

    @property
    def has_head(self) -> bool:
        """Return True if the final response's head has come."""
        return self._parser.head is not None

    @property
    def is_complete(self) -> bool:
        """Return True if the response has come whole."""
        return self._parser.is_complete

    @property
    def leaves_connection_reusable(self) -> bool:
        """Return True if another response may follow on the same connection."""
        return self._parser.leaves_connection_reusable

    @property
    def trailing_data(self) -> bytes:
        """Return what has come behind a 101."""
        return self._parser.trailing_data

    # The sender of the request calls these.

    async def receive_head(self) -> ResponseHead:
        """Return the final response's head as soon as it has come.

        Raises:
            UpstreamError: the connection closed, or the response was refused, before.
        """
        while self._parser.head is None:
            await self._wait()
        return self._parser.head

    async def peek_body(self, limit_bytes: int) -> bytes:
        """Return the body's first *limit_bytes*, or all of it if it is shorter.

        Of a body that breaks off, return what has come.
        """
        while (
            self._error is None
            and not self._parser.is_complete
            and self._buffer.byte_count < limit_bytes
        ):
            await self._wait()
        return self._buffer.peek(limit_bytes)

    def stream_body_to(self, sink: BodySink) -> None:
        """Hand the body to *sink*: what has come at once, the rest as it comes."""
        if chunks := self._buffer.take_chunks():
            sink.body_chunks(chunks)  # 3
        if self._parser.is_complete:
            sink.end(self._parser.trailers)
        else:
            self._sink = sink
        self._flow.resume_reading()

    async def wait_complete(self) -> None:
        """Return when the response has come whole.

        Raises:
            UpstreamError: the response broke off. The sink keeps what it has got.
        """
        while not self._parser.is_complete:
            await self._wait()

    # The connection calls these.

    def expect_response(
        self,
        *,
        is_head_request: bool,
        asks_upgrade: bool,
        on_interim: Callable[[ResponseHead], None],
    ) -> None:
        """Forget the last response; the next bytes are the response to a new request."""
        self._parser.expect_response(
            is_head_request=is_head_request, asks_upgrade=asks_upgrade
        )
        self._buffer = BodyBuffer()
        self._sink = None
        self._on_interim = on_interim

    def feed(self, data: bytes) -> None:
        """Parse *data*, and pass on what it holds.

        Raises:
            UpstreamProtocolError: the response was refused. What came before the fault
                has been passed on.
        """
        try:
            self._parser.feed(data)
        finally:
            self._pass_on()

    def feed_eof(self) -> None:
        """Note the end of what comes. It completes a body that ends with it."""
        self._parser.feed_eof()
        self._pass_on()

    def fail(self, error: UpstreamError) -> None:
        """Raise *error* in the call that waits, and in each later one that would wait."""
        self._error = error
        self._wake()

    def raise_if_failed(self) -> None:
        """Raise the error that has ended the connection, if one has."""
        if self._error is not None:
            raise self._error

    def _pass_on(self) -> None:
        parser, sink = self._parser, self._sink
        chunks = parser.take_chunks()
        if sink is None:
            for head in parser.take_interims():
                self._on_interim(head)  # 1
            self._buffer.add(chunks)  # 2
            if self._buffer.is_full and not parser.is_complete:
                self._flow.pause_reading()
            self._wake()
            return
        if chunks:
            sink.body_chunks(chunks)  # 4
        if parser.is_complete:
            self._sink = None
            sink.end(parser.trailers)
            self._wake()

    async def _wait(self) -> None:
        """Wait for the next event of the response; raise if there can be none."""
        self.raise_if_failed()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _ignore(_head: ResponseHead) -> None:
    """Take no interim response: no request is under way."""
