"""A request body that can be sent again, up to a limit.

How a replay works:

1. `chunks` yields what arrives from the client, and keeps it. Each attempt calls it again:
   it yields the kept chunks first and then goes on with the rest, so every attempt sends
   the same bytes, and an attempt that is cancelled while it reads loses none.
2. A body that has arrived completely before it is sent comes from `read_if_complete`, in
   one piece, and goes out together with the head.
3. A body that outgrows its own limit, or the limit of all bodies together, goes on
   streaming. What was kept is released at once and the replay is given up: a 401 is
   delivered then, although the credential is still renewed for the next request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from bearerd.events import AbandonReason


class BodyReader(Protocol):
    """The source of a client's body; aiohttp's StreamReader is one."""

    async def readany(self) -> bytes:
        """Return the bytes that have arrived, waiting for some; empty only at the end."""

    def read_nowait(self, n: int = -1) -> bytes:
        """Return the bytes that have arrived, without waiting."""

    def is_eof(self) -> bool:
        """Return True if the end has arrived, whether it has been read or not."""


class ReplayMemory:
    """The memory that all kept bodies share. Owns the count of used bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def acquire(self, count: int) -> bool:
        """Reserve *count* bytes. Return False, and reserve none, past the limit."""
        if self.used_bytes + count > self._limit_bytes:
            return False
        self.used_bytes += count
        return True

    def release(self, count: int) -> None:
        """Return *count* bytes that were reserved."""
        self.used_bytes -= count


class ReplayBody:
    """One request's body. Owns the chunks that are kept.

    The owner calls `release` at the end of the exchange. *on_abandon* is called at most
    once, with the reason, when the replay is given up.
    """

    def __init__(
        self,
        reader: BodyReader,
        *,
        limit_bytes: int,
        memory: ReplayMemory,
        on_abandon: Callable[[AbandonReason], None],
    ) -> None:
        self._reader = reader
        self._limit_bytes = limit_bytes
        self._memory = memory
        self._on_abandon = on_abandon
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._is_at_end = False
        self.is_replayable = True

    def read_if_complete(self) -> bytes | None:
        """Return the whole body if it has arrived, None if more must be waited for.

        The caller must send what this returns: a body past the limit is not kept.
        """
        if not self._is_at_end and not self._kept and self._reader.is_eof():
            self._is_at_end = True
            chunk = self._reader.read_nowait()
            self._keep(chunk)
            return chunk
        return b"".join(self._kept) if self._is_at_end and self.is_replayable else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body from its start: the kept chunks, then those that still arrive."""
        for chunk in tuple(self._kept):
            yield chunk
        while not self._is_at_end:
            chunk = await self._reader.readany()
            if not chunk:
                self._is_at_end = True
                return
            # Kept before it is yielded: the consumer may be cancelled in between.
            self._keep(chunk)
            yield chunk

    def release(self) -> None:
        """Drop the kept chunks and return their memory. A second call does nothing."""
        self._memory.release(self._kept_bytes)
        self._kept, self._kept_bytes = [], 0
        self.is_replayable = False

    def _keep(self, chunk: bytes) -> None:
        if not chunk or not self.is_replayable:
            return
        if self._kept_bytes + len(chunk) > self._limit_bytes:
            self._abandon("request_limit")
        elif not self._memory.acquire(len(chunk)):
            self._abandon("total_limit")
        else:
            self._kept.append(chunk)
            self._kept_bytes += len(chunk)

    def _abandon(self, reason: AbandonReason) -> None:
        self.release()
        self._on_abandon(reason)
