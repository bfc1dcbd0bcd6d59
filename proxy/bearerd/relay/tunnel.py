"""After a 101: bytes both ways, untouched, until both sides have ended.

Nothing is parsed here, so extensions, fragments, pings and close codes are the peers'
own. Each side may end its half alone (TCP's half-close); a side that is lost takes the
other with it. A silent tunnel is ended by the pool's sweep.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from bearerd.relay.flow_control import FlowControl
from bearerd.relay.upstream.connection import UpstreamConnection


class ClientSide(Protocol):
    """The client's connection, as a tunnel needs it."""

    transport: asyncio.Transport | None
    flow: FlowControl

    def open(self, tunnel: Tunnel) -> None:
        """Hand what the client sends to *tunnel* from now on."""


class Tunnel:
    """The upstream's far end, and the client's. Owns the pairing until `run` returns."""

    def __init__(self, connection: ClientSide, upstream: UpstreamConnection) -> None:
        self._connection = connection
        self._upstream = upstream
        self._over = asyncio.Event()
        self._is_client_done = False
        self._is_upstream_done = False
        self._was_lost = False

    async def run(self) -> None:
        """Pass bytes until it is over. Cancelling it breaks off both sides."""
        self._connection.flow.set_source(self._upstream.flow)
        self._upstream.flow.set_source(self._connection.flow)
        self._upstream.switch(self)
        self._connection.open(self)
        try:
            await self._over.wait()
        except BaseException:
            self._was_lost = True
            raise
        finally:
            self._close()

    # The client's side, called by its connection.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the client. The shape is that of aiohttp's payload parsers."""
        self._upstream.write_raw(data)
        return False, b""

    def feed_eof(self) -> None:
        """Take the client's loss; its handler is being cancelled."""

    def client_ended(self) -> bool:
        """Pass the client's half-close on; say whether its connection stays open."""
        self._is_client_done = True
        self._upstream.write_eof()
        self._settle()
        return True

    # The upstream's side, called by its wire.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the upstream."""
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def eof_received(self) -> bool:
        """Pass the upstream's half-close on; its connection stays open."""
        self._is_upstream_done = True
        transport = self._connection.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
        self._settle()
        return True

    def connection_lost(self, *, is_clean: bool) -> None:
        """Take the loss of the upstream."""
        self._was_lost = not is_clean
        self._over.set()

    def _settle(self) -> None:
        if self._is_client_done and self._is_upstream_done:
            self._over.set()

    def _close(self) -> None:
        """End both sides: what is queued still goes out, unless one was lost."""
        self._connection.flow.set_source(None)
        self._upstream.flow.set_source(None)
        if not self._was_lost:
            self._upstream.finish()
            return
        self._upstream.abort()
        if self._connection.transport is not None:
            self._connection.transport.abort()
