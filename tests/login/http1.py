"""A small HTTP/1.1 server on asyncio streams, which lets a test decide about each byte."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs

LINGER_NONE = struct.pack("ii", 1, 0)
"""The value of `SO_LINGER` that makes a close send a reset."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in. Names of header fields are in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    at: float

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """Return the value of one field, or nothing."""
        return next((value for key, value in self.fields if key == name), "")

    def form(self) -> dict[str, str]:
        """Return the fields of a JSON object or of a form in the body."""
        try:
            document = json.loads(self.body)
        except ValueError:
            fields = parse_qs(self.body.decode("latin-1"))
            return {name: values[0] for name, values in fields.items()}
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, document: object, **headers: str) -> Self:
        """Make a response with a JSON body; `retry_after="1"` becomes a field."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps(document).encode()
        return cls(status, body, {"content-type": "application/json", **fields})

    def encoded(self) -> bytes:
        """Return the bytes of the response."""
        with suppress(ValueError):
            reason = HTTPStatus(self.status).phrase
            return self._with_reason(reason)
        return self._with_reason("Unknown")

    def _with_reason(self, reason: str) -> bytes:
        fields = {"content-length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + self.body


class Connection:
    """One connection of a client. Owns its two streams."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_closing(self) -> bool:
        """True if the connection is closed, or about to be."""
        return self._writer.is_closing()

    async def send(self, data: Response | bytes) -> None:
        """Send a response, or bytes as they are."""
        self._writer.write(data if isinstance(data, bytes) else data.encoded())
        with suppress(ConnectionError):
            await self._writer.drain()

    async def peer_closed(self) -> None:
        """Return when the client has closed or reset the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(4096):
                pass

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection in order."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def read_request(self) -> Request | None:
        """Return the next request, or None if the client has closed."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            method, target, _ = first.split(" ", 2)
            pairs = [line.partition(":") for line in lines]
            fields = tuple((k.lower(), v.strip()) for k, _, v in pairs)
            body = await self._read_body(dict(fields))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Request(method, target, fields, body, time.monotonic())

    async def _read_body(self, fields: Mapping[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() != "chunked":
            return await self._reader.readexactly(int(fields.get("content-length", 0)))
        body = b""
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return body


Handler = Callable[[Request, Connection], Awaitable[None]]


class Server:
    """Listens on loopback and gives each request to one handler. Counts connections."""

    def __init__(self, handler: Handler) -> None:
        self.connections = 0
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    async def start(self, sock: socket.socket | None = None, **options: Any) -> None:
        """Listen on a free port of loopback, or on *sock*."""
        sock = sock or socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=sock, **options)

    async def stop(self) -> None:
        """Stop listening and break each connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = Connection(reader, writer)
        try:
            while (request := await connection.read_request()) is not None:
                await self._handler(request, connection)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
