"""Flow control between the connections to a client and to an upstream.

A transport buffers what its peer has not taken yet. asyncio calls `pause_writing` when
that buffer passes its high-water mark (64 KiB, asyncio's default) and `resume_writing`
when it has drained to the low-water mark (16 KiB). Each connection, the client's and the
upstream's, has one `FlowControl`, which pauses whatever fills the buffer:

1. Response body. The upstream's connection is the source of the client's. A client that
   takes nothing pauses reading from the upstream.
2. Request body. The task that uploads is the source. It waits in `drain` and reads no
   more of the body; then the reader's own limit pauses reading from the client.
3. Tunnel. Each connection is the source of the other.
4. A response body that nothing takes yet. The upstream's connection pauses its own
   reading when its `BodyBuffer` is full, and resumes it when the body has a sink.

So a stream holds at most what one read brings and what the two buffers allow. No task and
no queue stands between the two connections.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class PausableReader(Protocol):
    """A connection that can stop reading, so that its peer's window fills up."""

    def pause_reading(self) -> None:
        """Read no more from the peer."""

    def resume_reading(self) -> None:
        """Read again."""


class FlowControl:
    """Owns whether *connection* reads, and who is paused while its buffer is full."""

    __slots__ = ("_connection", "_source", "_writable", "is_reading_paused")

    def __init__(self, connection: PausableReader) -> None:
        self._connection = connection
        self._source: FlowControl | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.is_reading_paused = False

    def set_source(self, source: FlowControl | None) -> None:
        """Pause *source* while this connection's buffer is full; None ends that.

        The source until now is left reading.
        """
        if self._source is not None:
            self._source.resume_reading()
        self._source = source
        if source is not None and not self._writable.is_set():
            source.pause_reading()

    def pause_reading(self) -> None:
        """Stop reading, unless it has stopped."""
        if not self.is_reading_paused:
            self.is_reading_paused = True
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self.is_reading_paused:
            self.is_reading_paused = False
            self._connection.resume_reading()

    def pause_writing(self) -> None:
        """Pause the source: the buffer has passed its high-water mark."""
        self._writable.clear()
        if self._source is not None:
            self._source.pause_reading()  # 1, 3

    def resume_writing(self) -> None:
        """Let the source go on: the buffer has drained, or the connection is lost."""
        self._writable.set()
        if self._source is not None:
            self._source.resume_reading()

    async def drain(self) -> None:
        """Wait while the buffer is above its mark."""
        await self._writable.wait()  # 2
