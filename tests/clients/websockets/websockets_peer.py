"""One WebSocket end with the `websockets` package, as a program.

A command is a line of JSON on stdin, an event is a line on stdout. `node/peer.mjs` has
the same protocol.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

LIMIT_BYTES = 64 << 20
OPTIONS: dict[str, Any] = {
    "compression": "deflate",
    "max_size": LIMIT_BYTES,
    "ping_interval": None,
}


def emit(event: str, **fields: object) -> None:
    """Write an event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def summary(kind: str, data: bytes) -> dict[str, object]:
    """Return what identifies a message."""
    digest = hashlib.sha256(data).hexdigest()
    return {"kind": kind, "size": len(data), "digest": digest}


class End:
    """One end. Owns the connection that the next command is for."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Listen on a free port."""
        server = await serve(self._take, "127.0.0.1", 0, **OPTIONS)
        emit("serving", port=next(iter(server.sockets)).getsockname()[1])

    async def connect(self, url: str) -> None:
        """Open a connection."""
        try:
            connection = await connect(url, proxy=None, **OPTIONS)
        except InvalidStatus as refused:
            emit("refused", status=refused.response.status_code)
            return
        task = asyncio.create_task(self._take(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self, kind: str, size: int, fragments: int) -> None:
        """Send one message of random content, in *fragments* frames."""
        is_text = kind == "text"
        data = ("é€𝄞" * (size // 9)).encode() if is_text else secrets.token_bytes(size)
        assert self._connection is not None
        parts = list(cut(data, fragments))
        if fragments == 1:
            await self._connection.send(data, text=is_text)
        else:
            await self._connection.send(parts, text=is_text)
        emit("sent", **summary(kind, data))

    async def ping(self, data: str) -> None:
        """Ping, and report the pong."""
        assert self._connection is not None
        await (await self._connection.ping(data))
        emit("pong", data=data)

    async def close(self, code: int | None, reason: str) -> None:
        """Close with a code, or without one."""
        assert self._connection is not None
        if code is not None:
            await self._connection.close(code, reason)
            return
        async with self._connection.send_context():
            self._connection.protocol.send_close()

    async def abort(self) -> None:
        """Reset the connection."""
        assert self._connection is not None
        transport = self._connection.transport
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _take(self, connection: Connection) -> None:
        self._connection = connection
        extensions = connection.protocol.extensions
        emit("open", extensions=", ".join(known.name for known in extensions))
        try:
            while True:
                data = await connection.recv()
                if isinstance(data, str):
                    emit("message", **summary("text", data.encode()))
                else:
                    emit("message", **summary("binary", data))
        except ConnectionClosed:
            pass
        code, reason = connection.close_code, connection.close_reason
        emit("closed", code=code, reason=reason)


def cut(data: bytes, count: int) -> Iterator[bytes]:
    """Yield *data* in *count* parts."""
    step = -(-len(data) // count)
    for at in range(count):
        yield data[at * step : (at + 1) * step]


async def run_commands() -> None:
    """Run one command after another until stdin ends."""
    loop = asyncio.get_running_loop()
    end = End()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        await getattr(end, command.pop("do"))(**command)


if __name__ == "__main__":
    asyncio.run(run_commands())
