"""A connected socket to the upstream, directly or through an HTTP proxy.

Directly, every address of the host is tried, the next after a quarter of a second, until
one answers (Happy Eyeballs, RFC 8305). Through a proxy (RFC 9110 section 9.3.6):

1. Connect to the proxy, in the same way.
2. Send CONNECT with the upstream's host and port. The proxy resolves the name. The
   credentials for the proxy (RFC 7617) go in this request and in no other.
3. Read the head of the response, and nothing past its bound.
4. Status 200, and no byte behind the head: the socket's other end is the upstream now.
   The client speaks first in TLS, so bytes behind the head are not the upstream's.
5. Any other status, 407 among them: refused, and the error names the proxy and the status.
6. The proxy closes, or its head does not end within the bound: no response.

The time is limited by the caller.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from bearerd.errors import UpstreamUnreachable

NEXT_ADDRESS_SECONDS = 0.25
"""RFC 8305 section 5: when to try the next address as well."""

CONNECT_RESPONSE_LIMIT_BYTES = 16 * 1024
"""A response to CONNECT has some hundred bytes. h11 allows 16 KiB for a head."""

READ_BYTES = 4096

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An outgoing proxy. `authorization_line` is a whole field line, or empty."""

    host: str
    port: int
    authorization_line: bytes = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> HttpProxy:
        """Split a URL that the settings have checked, with its user information."""
        parts = urlsplit(url)
        line = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            encoded = base64.b64encode(pair.encode())
            line = b"Proxy-Authorization: Basic %b\r\n" % encoded  # RFC 7617
        return cls(parts.hostname or "", parts.port or 80, line)


async def dial(host: str, port: int, proxy: HttpProxy | None) -> socket.socket:
    """Return a socket whose other end is *host*.

    Raises:
        OSError: no address accepted the connection.
        UpstreamUnreachable: the proxy refused, or sent no response.
    """
    if proxy is None:
        return await _connect(host, port)
    connected = await _connect(proxy.host, proxy.port)  # 1
    try:
        await _open_tunnel(connected, host, port, proxy)
    except BaseException:
        connected.close()
        raise
    return connected


async def connect_first(addresses: Sequence[AddrInfoType]) -> socket.socket:
    """Return a socket connected to the address that answers first.

    Raises:
        OSError: none did.
    """
    return await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1
    )


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await connect_first(addresses)


async def _open_tunnel(
    connected: socket.socket, host: str, port: int, proxy: HttpProxy
) -> None:
    """Ask the proxy for a tunnel to *host*."""
    loop = asyncio.get_running_loop()
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    authority = where.encode()
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
        authority,
        authority,
        proxy.authorization_line,
    )
    await loop.sock_sendall(connected, request)  # 2
    response = await _read_head(connected, proxy)
    status = _status(response)
    if status != "200" or not response.endswith(HEAD_END):  # 4, 5
        raise UpstreamUnreachable(
            f"the proxy {proxy.host}:{proxy.port} opens no tunnel to {where} "
            f"(status {status}); check `upstream_proxy`"
        )


async def _read_head(connected: socket.socket, proxy: HttpProxy) -> bytes:
    """Return what the proxy sends up to the end of a head, and what came with it."""
    loop = asyncio.get_running_loop()
    response = b""
    while HEAD_END not in response:
        part = await loop.sock_recv(connected, READ_BYTES)
        response += part
        if not part or len(response) > CONNECT_RESPONSE_LIMIT_BYTES:  # 3, 6
            raise UpstreamUnreachable(
                f"the proxy {proxy.host}:{proxy.port} sent no response to CONNECT"
            )
    return response


def _status(response: bytes) -> str:
    """Return the status in the first line of *response*, or "none"."""
    parts = response.split(b"\r\n", 1)[0].split(b" ")
    return parts[1].decode("ascii", "replace") if len(parts) > 1 else "none"
