"""One connection to the upstream: HTTP/1.1, one request at a time.

A request goes in as bytes. Its response comes out of `response`: the head first, then the
body, which goes to a sink from within `data_received`.

Rules:

1. What the parser does not accept ends the connection and is never passed on.
2. Bytes that answer no request end it as well: they would be taken for the response to
   the next one (RFC 9112 section 6.3).
3. It takes another request only if the last one was sent whole and answered whole.
4. After a 101 it carries bytes of another protocol, and never a request again.

The states are in `connection_state`. A method that changes the state names the new one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from bearerd.errors import UpstreamError, UpstreamUnreachable
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.connection_state import TRANSITIONS, ConnectionState
from bearerd.relay.upstream.response_reader import ResponseReader
from bearerd.relay.upstream.socket_checks import SocketProbe, has_ended_in_order
from bearerd.relay.upstream.upgraded import TunnelPeer, UpgradedConnection

# Looked up once: each event passes here.
_NEW, _IDLE = ConnectionState.NEW, ConnectionState.IDLE
_WAITING, _RECEIVING = ConnectionState.WAITING, ConnectionState.RECEIVING
_TUNNEL, _CLOSED = ConnectionState.TUNNEL, ConnectionState.CLOSED


class UpstreamConnection(asyncio.Protocol):
    """Owns its transport, its state, and whether the request has been sent whole.

    *connected* is the socket beneath the transport. *on_released* is called each time the
    connection has become IDLE, and once when it has become CLOSED.
    """

    __slots__ = (
        "_is_request_sent",
        "_loop",
        "_on_released",
        "_probe",
        "_request_count",
        "_transport",
        "flow",
        "last_activity_at",
        "response",
        "state",
    )

    _transport: asyncio.Transport  # from `connection_made` on

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connected: socket.socket,
        on_released: Callable[[UpstreamConnection], None],
    ) -> None:
        self._loop = loop
        self._probe = SocketProbe(connected)
        self._on_released = on_released
        self._request_count = 0
        self._is_request_sent = False
        self.state = _NEW
        self.flow = FlowControl(self)
        self.response = ResponseReader(loop, self.flow)
        self.last_activity_at = loop.time()

    def __repr__(self) -> str:
        paused = ", reading paused" if self.flow.is_reading_paused else ""
        return (
            f"<{type(self).__name__} {self.state.name}, "
            f"requests: {self._request_count}{paused}>"
        )

    # The pool asks these.

    @property
    def is_available(self) -> bool:
        """Return True if the connection takes a request: it is NEW or IDLE."""
        is_free = self.state is _IDLE or self.state is _NEW
        return is_free and not self._transport.is_closing()

    @property
    def has_unread_data(self) -> bool:
        """Return True if bytes or an end have come that the event loop has not read."""
        return self._probe.has_unread_data()

    @property
    def is_waiting_for_upstream(self) -> bool:
        """Return True if a response is due, and no slow client keeps it from being read."""
        is_due = self.state is _RECEIVING or self.state is _WAITING
        return is_due and not self.flow.is_reading_paused

    @property
    def is_reused(self) -> bool:
        """Return True if the request under way, or the last one, was not the first."""
        return self._request_count > 1

    # The sender of a request calls these.

    def start_request(
        self,
        request: bytes,
        *,
        is_head_request: bool,
        asks_upgrade: bool,
        is_complete: bool,
        on_interim: Callable[[ResponseHead], None],
    ) -> None:
        """Send a request, or its beginning; `send_body` sends the rest. To WAITING.

        *on_interim* is called with each interim response (RFC 9110 section 15.2).
        """
        self._change_state(_WAITING)
        self._request_count += 1
        self._is_request_sent = is_complete
        self.response.expect_response(
            is_head_request=is_head_request,
            asks_upgrade=asks_upgrade,
            on_interim=on_interim,
        )
        self.last_activity_at = self._loop.time()
        self._transport.write(request)

    async def send_body(self, part: bytes) -> None:
        """Send a part of the request's body, and wait while the upstream takes no more.

        Raises:
            UpstreamError: the connection is closed.
        """
        self.response.raise_if_failed()
        self.last_activity_at = self._loop.time()
        self._transport.write(part)
        await self.flow.drain()

    def mark_request_sent(self) -> None:
        """Note that the request has been sent whole."""
        self._is_request_sent = True

    def release(self) -> None:
        """Be done with the response. To IDLE if another may follow it, else to CLOSED.

        A connection that is released already, or closed, or a tunnel's, stays as it is.
        """
        if self.state is not _RECEIVING and self.state is not _WAITING:
            return
        if not (self._is_request_sent and self.response.leaves_connection_reusable):
            self.abort()  # rule 3
            return
        self._change_state(_IDLE)
        # The response may have ended while reading was paused.
        self.flow.resume_reading()
        self.last_activity_at = self._loop.time()
        self._on_released(self)

    def abort(self, error: UpstreamError | None = None) -> None:
        """Close at once, without sending what is queued. To CLOSED.

        Each call that waits raises *error*.
        """
        self._close(
            error or UpstreamUnreachable("the connection to the upstream was aborted")
        )

    def switch_protocols(self, peer: TunnelPeer) -> UpgradedConnection:
        """Hand the transport to a connection of raw bytes, after a 101. To TUNNEL.

        *peer* gets what came behind the 101 before this returns.
        """
        self._change_state(_TUNNEL)  # rule 4
        upgraded = UpgradedConnection(self, self._transport, peer)
        self._transport.set_protocol(upgraded)
        if self.response.trailing_data:
            peer.data_received(self.response.trailing_data)
        return upgraded

    def mark_activity(self) -> None:
        """Note that bytes passed, so that the connection does not count as silent."""
        self.last_activity_at = self._loop.time()

    # The flow control calls these.

    def pause_reading(self) -> None:
        """Read no more from the upstream."""
        if self.state is not _CLOSED:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again. The pause does not count as the upstream's silence."""
        if self.state is not _CLOSED:
            self.last_activity_at = self._loop.time()
            self._transport.resume_reading()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, and pass the body on. To RECEIVING at the first byte."""
        if self.state is not _RECEIVING:
            if self.state is not _WAITING:
                self.abort()  # rule 2
                return
            self._change_state(_RECEIVING)
        self.last_activity_at = self._loop.time()
        try:
            self.response.feed(data)
        except UpstreamError as error:
            self._close(error)  # rule 1

    def eof_received(self) -> bool:
        """End a body that ends with the connection; any other has broken off."""
        is_due = self.state is _RECEIVING and not self.response.is_complete
        if is_due and has_ended_in_order(self._transport):
            self.response.feed_eof()
        return False  # asyncio closes the transport, and calls `connection_lost`

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Raise in the call that waits. To CLOSED."""
        when = "before its response was complete"
        if not self.response.has_head:
            when = "before it sent a response"
        self._close(UpstreamUnreachable(f"the upstream closed the connection {when}"))

    def pause_writing(self) -> None:
        """Pause the upload."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Let the upload go on."""
        self.flow.resume_writing()

    def _change_state(self, state: ConnectionState) -> None:
        assert state in TRANSITIONS[self.state], f"{self!r} to {state.name}"  # noqa: S101
        self.state = state

    def _close(self, error: UpstreamError) -> None:
        """Close for good. Only the first error counts."""
        if self.state is _CLOSED:
            return
        self._change_state(_CLOSED)
        self._transport.abort()
        self.flow.resume_writing()
        self.response.fail(error)
        self._on_released(self)
