"""2 GiB in each direction through a process whose memory stays flat."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from tests.support import Canary
from tests.wire.peers import HEAD_END
from tests.wire.processes import daemon

SIZE = 2 << 30
BLOCK = bytes(range(256)) * (1 << 12)
LIMIT_SECONDS = 60.0
"""It takes about five seconds on two cores."""

GROWTH_BYTES = 48 << 20
"""By how much memory may grow: 8 MiB kept for a replay, buffers, and a generous part for
the allocator. It is a fortieth of the body."""

CHUNKED_BLOCK = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK)
LENGTH_LINE = b"Content-Length: %d\r\n" % SIZE
CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class BlockingConnection:
    """A blocking socket in a thread, so that only bearerd uses an event loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(LIMIT_SECONDS)

    def read_head(self) -> bytes:
        """Return a head, and not one byte more."""
        got = b""
        while not got.endswith(HEAD_END):
            got += self._sock.recv(1)
        return got

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.sendall(data)

    def send_body(self, *, is_chunked: bool) -> None:
        """Send 2 GiB."""
        for _ in range(SIZE // len(BLOCK)):
            self._sock.sendall(CHUNKED_BLOCK if is_chunked else BLOCK)
        if is_chunked:
            self._sock.sendall(LAST_CHUNK)

    def read_body(self, *, is_chunked: bool) -> int:
        """Return the number of body bytes, after a check that each is as it was sent."""
        reader = self._sock.makefile("rb", buffering=1 << 20)
        seen = 0
        while True:
            left = int(reader.readline(), 16) if is_chunked else SIZE - seen
            if not left:
                break
            while left:
                part = reader.read(min(left, len(BLOCK)))
                at = seen % len(BLOCK)
                assert part == (BLOCK[at:] + BLOCK[:at])[: len(part)]
                seen += len(part)
                left -= len(part)
            if is_chunked:
                assert reader.readline() == b"\r\n"
        if is_chunked:
            assert reader.readline() == b"\r\n"
        return seen


class Upstream(threading.Thread):
    """Receives one request of 2 GiB or sends one response of 2 GiB, in its own thread."""

    def __init__(self, *, is_upload: bool, is_chunked: bool) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(LIMIT_SECONDS)
        self._is_upload = is_upload
        self._is_chunked = is_chunked
        self.port = self._server.getsockname()[1]
        self.taken = 0

    def run(self) -> None:
        """Serve one connection."""
        with self._server, self._server.accept()[0] as sock:
            end = BlockingConnection(sock)
            end.read_head()
            if self._is_upload:
                self.taken = end.read_body(is_chunked=self._is_chunked)
                end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                framing = CHUNKED_LINE if self._is_chunked else LENGTH_LINE
                end.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing)
                end.send_body(is_chunked=self._is_chunked)


def send_request(port: int, *, is_upload: bool, is_chunked: bool) -> tuple[bytes, int]:
    """Send the request; return the head and the number of body bytes of the response."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        end = BlockingConnection(sock)
        start = b"%b /v1/responses HTTP/1.1\r\nHost: localhost\r\n"
        if not is_upload:
            end.send(start % b"GET" + b"\r\n")
            return end.read_head(), end.read_body(is_chunked=is_chunked)
        framing = CHUNKED_LINE if is_chunked else LENGTH_LINE
        end.send(start % b"POST" + framing + b"\r\n")
        end.send_body(is_chunked=is_chunked)
        return end.read_head(), 0


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("is_upload", [False, True], ids=["down", "up"])
async def test_2_gib_are_forwarded_with_flat_memory(
    tmp_path: Path, canary: Canary, is_upload: bool, is_chunked: bool
) -> None:
    """Item 85: every byte is checked, and the peak of memory is measured."""
    upstream = Upstream(is_upload=is_upload, is_chunked=is_chunked)
    upstream.start()
    async with daemon(tmp_path, canary, upstream.port) as process:
        before = process.resident_bytes()
        async with asyncio.timeout(LIMIT_SECONDS):
            read_head, got = await asyncio.to_thread(
                send_request, process.port, is_upload=is_upload, is_chunked=is_chunked
            )
        assert read_head.startswith(b"HTTP/1.1 200 ")
        assert (upstream.taken if is_upload else got) == SIZE
        assert process.highest_resident_bytes() - before < GROWTH_BYTES
    await asyncio.to_thread(upstream.join, LIMIT_SECONDS)
    assert not upstream.is_alive()
