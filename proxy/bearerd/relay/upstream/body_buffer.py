"""The part of a response's body that has come and has no sink yet."""

from __future__ import annotations

BUFFER_LIMIT_BYTES = 64 * 1024
"""How much is kept before reading stops: asyncio's own high-water mark for writing."""


class BodyBuffer:
    """Owns chunks in the order they came, and their size."""

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
