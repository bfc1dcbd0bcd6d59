"""Connections that carry one call each, and send nothing that is no longer wanted.

A refresh token is good once, so where it is must be known. Three things could spend it
behind our back:

1. A pooled connection that died unseen: after a write into it, nobody knows whether the
   token arrived. Each call has a connection of its own.
2. A process that was stopped between deciding to send and sending. Once the connection
   and TLS stand, `SendCheck.may_send` is asked a last time; then the request is one
   write.
3. The kernel. It goes on delivering what a process wrote, after that process was killed
   or gave up: with the link cut and healed, a token arrived 3.3 to 3.8 s after the send.
   `SO_LINGER` 0 makes the end of the socket discard what is unsent, and
   `TCP_USER_TIMEOUT` bounds how long the kernel tries.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

import aiohttp

LINGER_OFF: Final = struct.pack("ii", 1, 0)

USER_TIMEOUT_MILLISECONDS: Final = 10_000
"""How long sent bytes may go unacknowledged before the kernel gives the connection up."""

_CHECK: ContextVar[SendCheck | None] = ContextVar("send_check", default=None)


@dataclass(slots=True)
class SendCheck:
    """The last look before a request is sent. Owns the sockets of one call.

    *may_send* returns False if the request is no longer wanted. `was_refused` is true
    once it has: then nothing of the request has left.
    """

    may_send: Callable[[], bool]
    was_refused: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)

    def add_socket(self, connecting: socket.socket) -> None:
        """Note a socket that the call may use; with two addresses there are several."""
        self._sockets.append(connecting)

    def decide(self) -> None:
        """Shut the sockets down if the request is no longer wanted.

        aiohttp would leak the connection if its hook raised. A write into a socket that
        is shut down fails instead, and aiohttp cleans up.
        """
        if self.may_send():
            return
        self.was_refused = True
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def bind_check(check: SendCheck) -> None:
    """Make *check* the one of the current task's call."""
    _CHECK.set(check)


def open_session(tls: ssl.SSLContext, user_agent: str) -> aiohttp.ClientSession:
    """Return a session whose connections are used once.

    The environment's proxies, cookies and netrc are not used.
    """
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_on_connected)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            force_close=True, ssl=tls, socket_factory=_open_socket
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        trust_env=False,
        trace_configs=[trace],
    )


def _open_socket(address: aiohttp.connector.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)  # noqa: FBT003
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        opened.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS
        )
    check = _CHECK.get()
    if check is not None:
        check.add_socket(opened)
    return opened


async def _on_connected(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateEndParams,
) -> None:
    check = _CHECK.get()
    if check is not None:
        check.decide()
