"""A tap on the line between an agent and bearerd: bytes pass, and are kept.

It changes nothing and understands nothing while they pass; what an agent sent is taken
apart afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as an agent sent it; the names of its fields in lower case."""

    method: str
    target: str
    fields: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """Return the digest of the body's bytes."""
        return hashlib.sha256(self.body).hexdigest()


class Tap:
    """Owns what agents sent, a piece for each connection. An async context manager."""

    def __init__(self, behind: str) -> None:
        parts = urlsplit(behind)
        self._behind = (parts.hostname, parts.port)
        self._kept: list[bytearray] = []
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Return where it listens, on 127.0.0.1."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    @property
    def url(self) -> str:
        """Return the base URL of the tap, in place of the one behind it."""
        return f"http://127.0.0.1:{self.port}"

    def sent(self) -> list[Sent]:
        """Return all requests so far: by connection, and there in order."""
        return [request for kept in self._kept for request in requests(bytes(kept))]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        kept = bytearray()
        self._kept.append(kept)
        onward, responses = await asyncio.open_connection(*self._behind)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pass(reader, responses, kept))
            both.create_task(_pass(onward, writer, bytearray()))


def requests(stream: bytes) -> list[Sent]:
    """Return the requests in the bytes of one connection.

    Agents send a Content-Length with every body (RFC 9112 section 6.2); another framing
    is an error here. What follows a WebSocket's handshake is left aside.
    """
    found = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        assert "transfer-encoding" not in fields
        length = int(fields.get("content-length", "0"))
        body, stream = stream[:length], stream[length:]
        assert len(body) == length
        found.append(Sent(method, target, fields, body))
        if "upgrade" in fields:
            break
    return found


async def _pass(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray
) -> None:
    """Pass bytes on until their sender closes; then close toward the other."""
    with suppress(ConnectionError):
        while piece := await source.read(PIECE_BYTES):
            kept += piece
            sink.write(piece)
            await sink.drain()
    sink.close()
