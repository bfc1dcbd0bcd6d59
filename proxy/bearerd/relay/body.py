"""A request body that can be sent again, up to a limit.

What is read from the client is kept while it streams to the upstream, so that a replay
sends the same bytes and then goes on with the rest. Past the limit the body goes on
streaming; only the replay is lost, and that is announced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol


class BodyReader(Protocol):
    """Where a client's body comes from; aiohttp's StreamReader is one."""

    async def readany(self) -> bytes:
        """Return what is there, waiting for some; empty only at the end."""

    def read_nowait(self, n: int = -1) -> bytes:
        """Return what is there without waiting."""

    def is_eof(self) -> bool:
        """Say whether all has come in, read or not."""


class ReplayMemory:
    """What all kept bodies together may take. Owns the count."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def acquire(self, count: int) -> bool:
        """Reserve *count* bytes; False when that would be too many."""
        if self.used_bytes + count > self._limit_bytes:
            return False
        self.used_bytes += count
        return True

    def release(self, count: int) -> None:
        """Return what was reserved."""
        self.used_bytes -= count


class ReplayBody:
    """One request's body. Owns what is kept of it; `release` must be called at the end.

    *abandoned* is called once, with the reason, when the replay is given up.
    """

    def __init__(
        self,
        reader: BodyReader,
        *,
        limit_bytes: int,
        memory: ReplayMemory,
        abandoned: Callable[[Literal["request_limit", "total_limit"]], None],
    ) -> None:
        self._reader = reader
        self._limit_bytes = limit_bytes
        self._memory = memory
        self._abandoned = abandoned
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._is_at_end = False
        self.is_replayable = True

    def whole(self) -> bytes | None:
        """Return the whole body if it has come in already; None if more must be awaited.

        What it returns must be sent: a body past the limit is not kept even then.
        """
        if not self._is_at_end and not self._kept and self._reader.is_eof():
            self._is_at_end = True
            part = self._reader.read_nowait()
            self._keep(part)
            return part
        return b"".join(self._kept) if self._is_at_end and self.is_replayable else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body from its start: what is kept, then what still comes in.

        Every attempt calls this anew; one that was broken off loses nothing.
        """
        for part in tuple(self._kept):
            yield part
        while not self._is_at_end:
            part = await self._reader.readany()
            if not part:
                self._is_at_end = True
                return
            self._keep(part)
            yield part

    def release(self) -> None:
        """Forget what is kept, and give its room back."""
        self._memory.release(self._kept_bytes)
        self._kept, self._kept_bytes = [], 0
        self.is_replayable = False

    def _keep(self, part: bytes) -> None:
        if not part or not self.is_replayable:
            return
        if self._kept_bytes + len(part) > self._limit_bytes:
            self._give_up("request_limit")
        elif not self._memory.acquire(len(part)):
            self._give_up("total_limit")
        else:
            self._kept.append(part)
            self._kept_bytes += len(part)

    def _give_up(self, reason: Literal["request_limit", "total_limit"]) -> None:
        self.release()
        self._abandoned(reason)
