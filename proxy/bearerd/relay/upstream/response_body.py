"""A response's body on its way from the parser to its sink, with a buffer before it.

1. Before there is a sink, what comes is kept. `peek` shows it and takes nothing away.
   The connection stops reading once `is_full`, so a body costs a bounded amount.
2. `set_sink` hands over what was kept, and the end if it has come.
3. From then on each part goes straight to the sink, from within `data_received`.
"""

from __future__ import annotations

from typing import Protocol

from bearerd.relay.message import Field

BUFFER_LIMIT_BYTES = 64 * 1024
"""How much is kept before reading stops: asyncio's own high-water mark for writing."""


class BodySink(Protocol):
    """Where a response's body goes. Called from the event loop's read callback."""

    def body_chunks(self, chunks: list[bytes]) -> None:
        """Take what one read brought of the body: one or more chunks, none empty."""

    def end(self, trailers: list[Field]) -> None:
        """Take the end of a body that came whole. Called once, or never."""


class ResponseBody:
    """Owns what has come of one response's body and has no sink yet."""

    __slots__ = ("_buffer", "_buffered_bytes", "_sink", "_trailers")

    def __init__(self) -> None:
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._sink: BodySink | None = None
        self._trailers: list[Field] | None = None  # None until the body has ended

    @property
    def has_sink(self) -> bool:
        """Return True if parts of the body go straight to a sink."""
        return self._sink is not None

    @property
    def buffered_bytes(self) -> int:
        """Return how much is kept."""
        return self._buffered_bytes

    @property
    def is_full(self) -> bool:
        """Return True if no more should be read before there is a sink."""
        return self._buffered_bytes >= BUFFER_LIMIT_BYTES

    def peek(self, limit_bytes: int) -> bytes:
        """Return the first *limit_bytes* of what is kept, or less if there is less."""
        return b"".join(self._buffer)[:limit_bytes]

    def write(self, chunks: list[bytes]) -> None:
        """Pass *chunks* on, or keep them."""
        if self._sink is not None:
            self._sink.body_chunks(chunks)  # 3
        else:
            self._buffer += chunks  # 1
            self._buffered_bytes += sum(map(len, chunks))

    def end(self, trailers: list[Field]) -> None:
        """Pass the end on, or keep it. Only the first call counts."""
        if self._trailers is None:
            self._trailers = trailers
            if self._sink is not None:
                self._sink.end(trailers)

    def set_sink(self, sink: BodySink) -> None:
        """Hand the body to *sink*: what is kept at once, the rest as it comes."""
        self._sink = sink  # 2
        chunks, self._buffer, self._buffered_bytes = self._buffer, [], 0
        if chunks:
            sink.body_chunks(chunks)
        if self._trailers is not None:
            sink.end(self._trailers)
