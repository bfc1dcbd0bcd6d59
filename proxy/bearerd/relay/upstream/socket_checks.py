"""What the kernel and TLS know of a connection before the event loop does."""

from __future__ import annotations

import asyncio
import select
import socket


class SocketProbe:
    """Asks the kernel about one socket that the event loop reads."""

    __slots__ = ("_poll",)

    def __init__(self, connected: socket.socket) -> None:
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def has_unread_data(self) -> bool:
        """Return True if bytes, an end or an error lie unread.

        A request on a connection that the upstream has closed is lost, and a POST may not
        be sent again (RFC 9112 section 9.3.1). So this is asked before each reuse; poll(2)
        costs half of recv(2) with MSG_PEEK and its BlockingIOError.
        """
        return bool(self._poll.poll(0))


def has_ended_in_order(transport: asyncio.Transport) -> bool:
    """Return True if the end of the bytes was the upstream's own, once EOF has come.

    RFC 9112 section 9.8: anybody can end the TCP connection beneath TLS, so without TLS's
    closure alert a body may have been cut off.
    """
    tls = transport.get_extra_info("ssl_object")
    try:
        return tls is None or tls.read(1) == b""
    except OSError:  # it wants more
        return False
