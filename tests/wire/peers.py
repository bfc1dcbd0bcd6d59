"""Raw connections: bytes are sent as a test writes them, and read as they arrive.

Nothing here parses HTTP, except for the end of a head, so no mistake of a parser is
made twice. Every wait ends after `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 5.0
"""How long a test waits for bytes that should arrive at once, before it fails."""

HEAD_END = b"\r\n\r\n"


class Peer:
    """One end of one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Connect to a loopback port."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel or the buffer has accepted it."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.writer.drain()

    async def head(self) -> bytes:
        """Return the next head, with its empty line."""
        return await self.until(HEAD_END)

    async def until(self, mark: bytes) -> bytes:
        """Return the bytes up to and including *mark*."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readuntil(mark)

    async def exactly(self, count: int) -> bytes:
        """Return the next *count* bytes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """Return all bytes until the other side closes.

        Raises:
            ConnectionResetError: the connection was reset.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()

    async def gone(self) -> bytes:
        """Return all bytes until the connection is closed or reset."""
        try:
            return await self.rest()
        except ConnectionResetError:
            return b""

    async def is_reset(self) -> bool:
        """Return True if the connection ends with a reset, and False if with a close."""
        try:
            await self.rest()
        except ConnectionResetError:
            return True
        return False

    async def response(self) -> tuple[bytes, bytes]:
        """Return the next response's head, and its body by its Content-Length."""
        head = await self.head()
        lengths = values(head, b"content-length")
        return head, await self.exactly(int(lengths[0]) if lengths else 0)

    def half_close(self) -> None:
        """Close the sending direction, and go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Reset the connection."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    async def leave(self) -> None:
        """Close the connection if it is open, and wait for that."""
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class RawUpstream:
    """An upstream that sends nothing by itself: a test accepts each connection in turn."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.peers: list[Peer] = []
        self.port = 0

    @property
    def connections(self) -> int:
        """Return how many connections were ever made."""
        return len(self.peers)

    async def accept(self) -> Peer:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._arrived.get()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self.peers:
            await peer.leave()
        await self._server.wait_closed()

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._arrived.put_nowait(peer)


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return a head's field lines, unchanged."""
    lines = head.removesuffix(HEAD_END).split(b"\r\n")[1:]
    pairs = [line.split(b": ", 1) for line in lines]
    return [(name, value) for name, value in pairs]


def values(head: bytes, name: bytes) -> list[bytes]:
    """Return the values of a field in *head*; *name* is in lower case."""
    return [value for field, value in fields(head) if field.lower() == name]


def names(head: bytes) -> set[bytes]:
    """Return the names of a head's fields, in lower case."""
    return {name.lower() for name, _ in fields(head)}


def first_line(head: bytes) -> bytes:
    """Return the request line or the status line."""
    return head.split(b"\r\n", 1)[0]


def status(head: bytes) -> int:
    """Return the code in a status line."""
    return int(first_line(head).split(b" ")[1])
