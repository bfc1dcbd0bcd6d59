"""Connections that carry one call each, and a last check before the request is sent.

A refresh token can be used once, so bearerd must know whether it was delivered. Three
things could deliver it without bearerd's knowledge:

1. A pooled connection that was lost unnoticed: after a write into it, it is unknown
   whether the token arrived. So each call has its own connection.
2. A process that is stopped between the decision to send and the write. So
   `SendCheck.may_send` is called again after the TLS handshake, directly before the
   request, which is a single write.
3. The kernel, which keeps delivering written data after the process was killed or has
   closed the socket. With a link that was cut and restored, a token arrived 3.3 to 3.8 s
   after the send. So `SO_LINGER` 0 discards unsent data when the socket is closed, and
   `TCP_USER_TIMEOUT` limits how long the kernel tries.
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
"""How long sent data may stay unacknowledged before the kernel closes the connection."""

_CHECK: ContextVar[SendCheck | None] = ContextVar("send_check", default=None)


@dataclass(slots=True)
class SendCheck:
    """The check before a request is sent. Owns the sockets of one call.

    *may_send* returns False if the request must not be sent any more. `is_cancelled` is
    True after that: nothing of the request has been sent.
    """

    may_send: Callable[[], bool]
    is_cancelled: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)

    def add_socket(self, candidate: socket.socket) -> None:
        """Add a socket of the call. A host with several addresses has several."""
        self._sockets.append(candidate)

    def run(self) -> None:
        """Shut the sockets down if the request must not be sent.

        The hook that calls this must not raise, because aiohttp would leak the
        connection. After the shutdown the write fails, and aiohttp cleans up.
        """
        if self.may_send():
            return
        self.is_cancelled = True
        for candidate in self._sockets:
            with suppress(OSError):
                candidate.shutdown(socket.SHUT_RDWR)


def bind_check(check: SendCheck) -> None:
    """Set *check* for the call of the current task."""
    _CHECK.set(check)


def open_session(tls: ssl.SSLContext, user_agent: str) -> aiohttp.ClientSession:
    """Return a session that uses each connection once.

    It ignores the proxies and the netrc of the environment, and stores no cookies.
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
        check.run()
