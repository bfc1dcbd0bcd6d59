"""A connected socket to the upstream: by Happy Eyeballs, or through an HTTP proxy."""

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


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A proxy on the way out. `authorization` is the whole field line, or empty."""

    host: str
    port: int
    authorization: bytes = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> HttpProxy:
        """Split a URL that the settings have checked, with its user information."""
        parts = urlsplit(url)
        line = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            coded = base64.b64encode(pair.encode())
            line = b"Proxy-Authorization: Basic %b\r\n" % coded  # RFC 7617
        return cls(parts.hostname or "", parts.port or 80, line)


async def dial(host: str, port: int, proxy: HttpProxy | None) -> socket.socket:
    """Return a socket whose other end is *host*.

    Raises:
        OSError: no address answered.
        UpstreamUnreachable: the proxy did not let us through.
    """
    if proxy is None:
        return await _connect(host, port)
    connected = await _connect(proxy.host, proxy.port)
    try:
        await _pass_through(connected, host, port, proxy)
    except BaseException:
        connected.close()
        raise
    return connected


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await _first_of(addresses)


async def _first_of(addresses: Sequence[AddrInfoType]) -> socket.socket:
    """Return a socket connected to the address that answers first."""
    return await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1
    )


async def _pass_through(
    connected: socket.socket, host: str, port: int, proxy: HttpProxy
) -> None:
    """Ask the proxy for a tunnel (RFC 9110 section 9.3.6)."""
    loop = asyncio.get_running_loop()
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    authority = where.encode()
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n"
    await loop.sock_sendall(
        connected, request % (authority, authority, proxy.authorization)
    )
    response = b""
    while b"\r\n\r\n" not in response:
        part = await loop.sock_recv(connected, 4096)
        response += part
        if not part or len(response) > CONNECT_RESPONSE_LIMIT_BYTES:
            message = f"the proxy {proxy.host}:{proxy.port} gave no answer to CONNECT"
            raise UpstreamUnreachable(message)
    status = response.split(b"\r\n", 1)[0].split(b" ")[1:2]
    # TLS is for us to begin, so nothing can have come behind the head.
    if status != [b"200"] or not response.endswith(b"\r\n\r\n"):
        code = status[0].decode("ascii", "replace") if status else "none"
        message = (
            f"the proxy {proxy.host}:{proxy.port} does not let us through to {where} "
            f"(status {code}); check `upstream_proxy`"
        )
        raise UpstreamUnreachable(message)
