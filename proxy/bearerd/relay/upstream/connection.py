"""One upstream connection: HTTP/1.1, bytes in, bytes out.

A wire carries one request at a time. It knows neither credentials nor clients: a
request goes in as bytes; a response comes out as a `Head` and then as pieces, which go to
a sink from within `data_received`, so that a streamed event is on its way to the client
before any task has run.

Rules:

1. What the parser does not accept ends the connection and is never passed on.
2. Bytes that nobody asked for, between two responses or after one, end it as well: they
   would be taken for the response to the next request (RFC 9112 section 6.3).
3. A wire takes another request only if the last one was sent whole and answered whole.
4. After a 101 it is a pipe, and nothing else any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from bearerd.errors import UpstreamError, UpstreamUnreachable
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.response_body import BodySink, ResponseBody
from bearerd.relay.upstream.response_parser import ResponseParser


class TunnelPeer(Protocol):
    """The other end of a tunnel. Called from the event loop's callbacks."""

    def data_received(self, data: bytes) -> None:
        """Take raw bytes."""

    def eof_received(self) -> bool:
        """Take the end of what comes; say whether the connection stays open."""

    def connection_lost(self, *, is_clean: bool) -> None:
        """Take the loss of the connection; *is_clean* if it was closed, not reset."""


class UpstreamConnection(asyncio.Protocol):
    """Owns its transport, its parser, and the request under way.

    *connected* is the socket beneath the transport. *released* is called once each time
    the wire has become idle, or has closed.
    """

    __slots__ = (
        "_body",
        "_error",
        "_is_busy",
        "_is_sent",
        "_loop",
        "_on_interim",
        "_parser",
        "_peer",
        "_released",
        "_socket",
        "_transport",
        "_waiter",
        "flow",
        "is_untouched",
        "last_activity_at",
        "was_used",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connected: socket.socket,
        released: Callable[[UpstreamConnection], None],
    ) -> None:
        self._loop = loop
        self._socket = connected
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._body = ResponseBody()
        self._on_interim: Callable[[ResponseHead], None] = _ignore
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._peer: TunnelPeer | None = None
        self.flow = FlowControl(self)
        self._is_busy = False
        self._is_sent = False
        self.is_untouched = True  # no byte of a response has come
        self.was_used = False  # a response has come over it before
        self.last_activity_at = loop.time()

    # What the pool asks.

    @property
    def is_idle(self) -> bool:
        """Say whether it takes a request."""
        transport = self._transport
        return (
            not self._is_busy and transport is not None and not transport.is_closing()
        )

    @property
    def has_no_unread_data(self) -> bool:
        """Say whether nothing has come in unseen: an end, or bytes nobody asked for.

        A request written into such a connection would be lost, and a POST may not go
        out again (RFC 9112 section 9.3.1). So the kernel is asked before each reuse;
        the event loop may be a round behind.
        """
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def is_waiting_for_upstream(self) -> bool:
        """Say whether it waits for the upstream, not for a client that is slow."""
        return self._is_busy and not (self.flow.is_reading_paused or self.is_tunnel)

    @property
    def is_tunnel(self) -> bool:
        """Say whether it has switched protocols: its silence has another limit."""
        return self._peer is not None

    def expire(self, error: UpstreamError) -> None:
        """Give up; whoever waits gets *error*."""
        self._fail(error)

    # What the exchange asks.

    def start_request(
        self,
        request: bytes,
        *,
        is_head_request: bool,
        asks_upgrade: bool,
        is_complete: bool,
        on_interim: Callable[[ResponseHead], None],
    ) -> None:
        """Send a request, or its first part; the rest comes by `send` and `sent`.

        *on_interim* takes informational responses (RFC 9110 section 15.2) as they come.
        """
        assert self._transport is not None  # noqa: S101 - it is idle
        self.was_used = not self.is_untouched or self.was_used
        self._parser.expect_response(
            is_head_request=is_head_request, asks_upgrade=asks_upgrade
        )
        self._body = ResponseBody()
        self._on_interim = on_interim
        self._is_busy = True
        self._is_sent = is_complete
        self.is_untouched = True
        self.last_activity_at = self._loop.time()
        self._transport.write(request)

    async def send_body(self, part: bytes) -> None:
        """Send a part of the request's body; wait while the upstream takes no more.

        Raises:
            UpstreamError: the connection has ended.
        """
        if self._transport is None or self._error is not None:
            raise self._error or UpstreamUnreachable(_closed("during the request"))
        self.last_activity_at = self._loop.time()
        self._transport.write(part)
        await self.flow.drain()

    def mark_request_sent(self) -> None:
        """Note that the request has been handed over whole."""
        self._is_sent = True

    async def receive_head(self) -> ResponseHead:
        """Return the final response's head as soon as it is in.

        Raises:
            UpstreamError: none will come.
        """
        while self._parser.head is None:
            await self._wait()
        return self._parser.head

    async def peek_body(self, limit_bytes: int) -> bytes:
        """Return the body's beginning: *limit_bytes* of it, or all if it is shorter.

        A sink that comes later gets it again. A body that breaks off gives what came.
        """
        while not self._parser.is_complete and self._body.buffered_bytes < limit_bytes:
            if self._error is not None:
                break
            await self._wait()
        return self._body.peek(limit_bytes)

    def stream_body_to(self, sink: BodySink) -> None:
        """Hand the response's body to *sink*: what is held now, the rest as it comes."""
        self._body.set_sink(sink)
        self.flow.resume_reading()

    async def wait_complete(self) -> None:
        """Return when the body has gone to the sink whole.

        Raises:
            UpstreamError: it broke off. What was handed over stays handed over.
        """
        while not self._parser.is_complete:
            await self._wait()
        self.release()

    def release(self) -> None:
        """Be done with the response: keep the connection if all of it is in, else close."""
        if not self._is_busy:
            return
        if self._is_sent and self._parser.leaves_connection_reusable:
            self._is_busy = False
            # The response may have ended while reading was paused.
            self.flow.resume_reading()
            self.last_activity_at = self._loop.time()
            self._released(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, without sending what is queued."""
        self._fail(UpstreamUnreachable("the connection to the upstream was given up"))

    def switch(self, peer: TunnelPeer) -> None:
        """Pass raw bytes from now on, after a 101: what came behind it, and the rest."""
        self._peer = peer
        if self._parser.trailing_data:
            peer.data_received(self._parser.trailing_data)
        self.flow.resume_reading()

    def write_raw(self, data: bytes) -> None:
        """Send bytes of the protocol that was switched to."""
        if self._transport is not None and not self._transport.is_closing():
            self.last_activity_at = self._loop.time()
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send no more; TLS cannot say so, and ends instead."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def finish(self) -> None:
        """Close after what is queued has gone out."""
        if self._transport is not None:
            self._transport.close()

    # What the flow control calls.

    def pause_reading(self) -> None:
        """Read no more from the upstream."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again. The pause does not count as the upstream's silence."""
        if self._transport is not None:
            self.last_activity_at = self._loop.time()
            self._transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse, and hand the body on in one go."""
        if self._peer is not None:
            self.last_activity_at = self._loop.time()
            self._peer.data_received(data)
            return
        if not self._is_busy:
            self.abort()
            return
        self.last_activity_at = self._loop.time()
        self.is_untouched = False
        fault: UpstreamError | None = None
        try:
            self._parser.feed(data)
        except UpstreamError as error:
            fault = error
        self._pass_on()
        if fault is not None:
            self._fail(fault)

    def eof_received(self) -> bool:
        """End a body that ends with the connection; any other has broken off.

        A tunnel may go on in the other direction: then the transport stays.
        """
        if self._peer is not None:
            return self._peer.eof_received()
        if self._is_busy and not self._parser.is_complete and self._has_tls_ended():
            self._parser.feed_eof()
            self._pass_on()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that nothing more will come."""
        if self._peer is not None:
            self._peer.connection_lost(is_clean=exc is None and self._error is None)
        where = "in mid-answer" if self._parser.head else "before it answered"
        self._fail(UpstreamUnreachable(_closed(where)))
        self._transport = None

    def pause_writing(self) -> None:
        """Slow down whatever writes to the upstream."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Let it go on."""
        self.flow.resume_writing()

    # Inside.

    def _pass_on(self) -> None:
        """Hand on what the parser has made of the last bytes."""
        parser, body = self._parser, self._body
        is_streamed = body.has_sink
        if not is_streamed:
            for head in parser.take_interims():
                self._on_interim(head)
        if chunks := parser.take_chunks():
            body.write(chunks)
        if parser.is_complete:
            body.end(parser.trailers)
            self._wake()
        elif not is_streamed:
            if body.is_full:
                self.flow.pause_reading()
            self._wake()

    def _has_tls_ended(self) -> bool:
        """Say whether it was not TCP alone that ended, which anybody can bring about.

        RFC 9112 section 9.8: without TLS's own end a body may be cut off.
        """
        assert self._transport is not None  # noqa: S101 - its end has just come
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or tls.read(1) == b""
        except OSError:  # it wants more
            return False

    async def _wait(self) -> None:
        """Wait for news; raise once there can be none."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        """Close for good, once."""
        if self._error is not None:
            return
        self._error = error
        if self._transport is not None:
            self._transport.abort()
        self._is_busy = False
        self.flow.resume_writing()
        self._wake()
        self._released(self)


def _ignore(_head: ResponseHead) -> None:
    """Take no interim response: no request is under way."""


def _closed(where: str) -> str:
    return f"the upstream closed the connection {where}"
