"""The one upstream behind all proxies: it records bytes, and answers by the script.

It answers a message as soon as it is whole: the first by the case, a probe as a probe,
and any other with a body that says so, since nobody has asked for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from tests.differential.case import OK, Case, End
from tests.differential.message import Message, take

PROBE_TARGET = b"/backend-api/probe"
PROBE_MARK = b"x-probe"
PROBED = b"HTTP/1.1 200 OK\r\nX-Probe: 1\r\nContent-Length: 5\r\n\r\nprobe"
UNASKED = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked"

GONE_SECONDS = 3.0
"""How long a proxy may take to let a closed connection go."""


class Connection:
    """One connection of a proxy. Owns what has come over it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._has_ended = False
        self.received = bytearray()
        self.is_over = asyncio.Event()

    async def serve(self, script: Script) -> None:
        """Record, and answer, until the proxy is gone."""
        at = 0
        try:
            while data := await self._reader.read(1 << 16):
                self.received += data
                while at < len(self.received):
                    message = _take(bytes(self.received[at:]))
                    if not message.is_whole:
                        break
                    at += len(message.raw)
                    self._answer(script, message)
        except ConnectionError:
            pass
        finally:
            self._writer.transport.abort()
            self.is_over.set()

    def messages(self) -> list[Message]:
        """Return all that has come, cut where messages end."""
        found, data = [], bytes(self.received)
        while data:
            message = _take(data)
            found.append(message)
            data = data[len(message.raw) :]
        return found

    async def close(self) -> None:
        """End it, and wait until the proxy has let it go as well."""
        self._end()
        try:
            async with asyncio.timeout(GONE_SECONDS):
                await self.is_over.wait()
        except TimeoutError:
            self._writer.transport.abort()

    def _answer(self, script: Script, message: Message) -> None:
        if self._has_ended:
            return
        if PROBE_TARGET in message.start:
            self._writer.write(PROBED)
            return
        case = script.next_case()
        if case is None:
            self._writer.write(UNASKED)
            return
        response = case.response
        if message.start.startswith(b"HEAD ") and response is OK:
            response = response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self._writer.write(response)
        if case.end is End.CLOSE:
            self._end()
        elif case.end is End.RESET:
            sock = self._writer.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()

    def _end(self) -> None:
        """Send no more, and go on reading."""
        self._has_ended = True
        with suppress(OSError):  # the proxy was quicker
            self._writer.write_eof()


class Script:
    """Listens for one proxy. Owns its connections, and the case under way."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._case: Case | None = None
        self.connections: list[Connection] = []
        self.port = 0

    async def start(self) -> None:
        """Listen on a port that was free."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        await self.clear()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def begin(self, case: Case) -> None:
        """Answer the next message by *case*."""
        self._case = case

    def next_case(self) -> Case | None:
        """Return the case if no message has been answered by it yet."""
        case, self._case = self._case, None
        return case

    async def clear(self) -> None:
        """Forget all, and leave no connection that the next case could use."""
        connections, self.connections = self.connections, []
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        await connection.serve(self)


def _take(data: bytes) -> Message:
    return take(data, may_have_body=True, ends_with_connection=False)
