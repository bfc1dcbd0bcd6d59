"""Both ends of one upstream connection over a real socket, and a sink for its bodies."""

from __future__ import annotations

import asyncio
import socket

from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream


class Sink:
    """A sink that keeps what it gets, and wakes a test at each event."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.trailers: list[Field] | None = None
        self._has_changed = asyncio.Event()

    @property
    def result(self) -> tuple[bytes, list[Field] | None]:
        """Return the body so far, and the trailers; None before the end."""
        return b"".join(self.chunks), self.trailers

    def body_chunks(self, chunks: list[bytes]) -> None:
        assert chunks
        assert all(chunks)
        assert self.trailers is None, "a chunk behind the end"
        self.chunks += chunks
        self._has_changed.set()

    def end(self, trailers: list[Field]) -> None:
        assert self.trailers is None, "a second end"
        self.trailers = trailers

    async def wait_for(self, count: int) -> None:
        """Return when *count* bytes have come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(map(len, self.chunks)) < count:
                self._has_changed.clear()
                await self._has_changed.wait()


class Ends:
    """A connection, the upstream's end of it, and what the connection has called."""

    def __init__(self) -> None:
        self.available_at_release: list[bool] = []
        self.interims: list[int] = []
        self.interim_has_come = asyncio.Event()
        self.connection: UpstreamConnection
        self.peer: Peer

    async def connect(self, server: RawUpstream) -> None:
        """Open the connection to *server*."""
        loop = asyncio.get_running_loop()
        connected = socket.create_connection(("127.0.0.1", server.port))
        connected.setblocking(False)
        _, self.connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, connected, self._on_released),
            sock=connected,
        )
        self.peer = await server.accept()

    async def start_request(
        self,
        *,
        is_head_request: bool = False,
        asks_upgrade: bool = False,
        is_complete: bool = True,
    ) -> None:
        """Send a request's head, and see it at the upstream."""
        self.connection.start_request(
            b"GET / HTTP/1.1\r\n\r\n",
            is_head_request=is_head_request,
            asks_upgrade=asks_upgrade,
            is_complete=is_complete,
            on_interim=self._on_interim,
        )
        await self.peer.head()

    async def exchange(self, response: bytes) -> ResponseHead:
        """Send a request, let the upstream send *response*, and return its head."""
        await self.start_request()
        await self.peer.send(response)
        return await self.connection.response.receive_head()

    def _on_interim(self, head: ResponseHead) -> None:
        self.interims.append(head.status)
        self.interim_has_come.set()

    def _on_released(self, connection: UpstreamConnection) -> None:
        self.available_at_release.append(connection.is_available)
