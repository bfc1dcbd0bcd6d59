"""An upstream connection that has switched protocols: bytes, and no HTTP any more.

After a 101 (RFC 9110 section 7.8) the transport calls an `UpgradedConnection` instead of
the `UpstreamConnection`, as uvicorn does for its WebSockets. The latter stays in the pool,
which ends it after a long silence.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from bearerd.relay.flow_control import FlowControl
from bearerd.relay.upstream.connection_state import ConnectionState


class TunnelPeer(Protocol):
    """What an upgraded connection hands its bytes to. Called from asyncio's callbacks."""

    def data_received(self, data: bytes) -> None:
        """Take raw bytes of the upstream."""

    def eof_received(self) -> bool:
        """Take the end of its bytes; return True if writing to it goes on."""

    def connection_lost(self, *, is_clean: bool) -> None:
        """Take the loss of the connection; *is_clean* if it was closed, not reset."""


class PooledConnection(Protocol):
    """The connection that was upgraded, as far as it still matters."""

    flow: FlowControl
    state: ConnectionState

    def mark_activity(self) -> None:
        """Note that bytes passed, so that it does not count as silent."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Close it."""

    def abort(self) -> None:
        """Close it at once, without sending what is queued."""


class UpgradedConnection(asyncio.Protocol):
    """Owns the transport of *connection* from the 101 to the end."""

    __slots__ = ("_connection", "_peer", "_transport", "flow")

    def __init__(
        self,
        connection: PooledConnection,
        transport: asyncio.Transport,
        peer: TunnelPeer,
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._peer = peer
        self.flow = connection.flow

    def write(self, data: bytes) -> None:
        """Send *data*, unless the connection is closing."""
        if not self._transport.is_closing():
            self._connection.mark_activity()
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send no more. TLS has no half-close in asyncio, and is closed whole."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def close(self) -> None:
        """Close after what is queued has gone out."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once, without sending what is queued."""
        self._connection.abort()

    # asyncio calls these.

    def data_received(self, data: bytes) -> None:
        """Pass *data* on."""
        self._connection.mark_activity()
        self._peer.data_received(data)

    def eof_received(self) -> bool:
        """Pass the end on; the other direction may go on, except in TLS."""
        return self._peer.eof_received() and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss on. A connection that was aborted here did not end cleanly."""
        was_aborted = self._connection.state is ConnectionState.CLOSED
        self._peer.connection_lost(is_clean=exc is None and not was_aborted)
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pause reading from the client."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Read from the client again."""
        self.flow.resume_writing()
