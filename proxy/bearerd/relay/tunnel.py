"""A tunnel after a 101: bytes both ways, untouched, until both sides have ended.

Nothing is parsed here, so extensions, fragments, pings and close codes are the peers' own.
Each side is the source of the other's flow control. A tunnel ends in one of five ways:

1. Each side ends its half (TCP's half-close). The first end is passed on, and the other
   direction goes on; the second closes the tunnel.
2. The upstream's connection is closed in order, whole. TLS ends so, since asyncio has no
   half-close for it.
3. The upstream's connection is reset, or the pool aborts it after a long silence.
4. The client's connection is lost. aiohttp cancels its handler, and with it
   `relay_until_closed`.
5. The service stops waiting for open requests, and cancels the handler.

After 1 and 2 what is queued still goes out on both sides. After 3, 4 and 5 both sides are
aborted, so that neither takes a part for the whole.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol

from bearerd.relay.flow_control import FlowControl
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.upgraded import UpgradedConnection


class ClientSide(Protocol):
    """The client's connection, as a tunnel needs it."""

    transport: asyncio.Transport | None
    flow: FlowControl

    def start_tunnel(self, tunnel: Tunnel) -> None:
        """Hand what the client sends to *tunnel* from now on."""


class TunnelState(Enum):
    """Which sides still send."""

    OPEN = "open"
    CLIENT_ENDED = "client ended"
    UPSTREAM_ENDED = "upstream ended"
    CLOSED = "closed"  # 1, 2
    BROKEN = "broken"  # 3, 4, 5


_OVER = (TunnelState.CLOSED, TunnelState.BROKEN)


class Tunnel:
    """Joins a client's connection and the upstream's until `relay_until_closed` returns.

    Toward aiohttp it is a payload parser, toward the upstream a `TunnelPeer`.
    """

    _upstream: UpgradedConnection  # from `relay_until_closed` on

    def __init__(self, client: ClientSide, connection: UpstreamConnection) -> None:
        self._client = client
        self._connection = connection
        self._state = TunnelState.OPEN
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.name}>"

    async def relay_until_closed(self) -> None:
        """Pass bytes until the tunnel has ended. Cancelling this aborts both sides."""
        self._upstream = self._connection.switch_protocols(self)
        self._client.flow.set_source(self._upstream.flow)
        self._upstream.flow.set_source(self._client.flow)
        self._client.start_tunnel(self)
        try:
            await self._over.wait()
        except BaseException:
            self._end(TunnelState.BROKEN)  # 4, 5
            raise
        finally:
            self._close_connections()

    # The client's connection calls these.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass on bytes of the client. The shape is that of aiohttp's payload parsers."""
        self._upstream.write(data)
        return False, b""

    def feed_eof(self) -> None:
        """Note the client's loss: nothing to do, its handler is cancelled (4)."""

    def client_ended(self) -> bool:
        """Pass on the client's half-close; return True, since it may still receive."""
        self._upstream.write_eof()
        self._end_half(TunnelState.CLIENT_ENDED)
        return True

    # The upstream's connection calls these.

    def data_received(self, data: bytes) -> None:
        """Pass on bytes of the upstream."""
        transport = self._client.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def eof_received(self) -> bool:
        """Pass on the upstream's half-close; return True, since it may still receive."""
        transport = self._client.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
        self._end_half(TunnelState.UPSTREAM_ENDED)
        return True

    def connection_lost(self, *, is_clean: bool) -> None:
        """End the tunnel: the upstream's connection is gone."""
        self._end(TunnelState.CLOSED if is_clean else TunnelState.BROKEN)  # 2, 3

    def _end_half(self, ended: TunnelState) -> None:
        if self._state is TunnelState.OPEN:
            self._state = ended
        elif self._state is not ended:
            self._end(TunnelState.CLOSED)  # 1

    def _end(self, state: TunnelState) -> None:
        """End as *state*, unless the tunnel has ended already."""
        if self._state not in _OVER:
            self._state = state
            self._over.set()

    def _close_connections(self) -> None:
        self._client.flow.set_source(None)
        self._upstream.flow.set_source(None)
        if self._state is TunnelState.CLOSED:
            self._upstream.close()
            return
        self._upstream.abort()
        if self._client.transport is not None:
            self._client.transport.abort()
