"""A socket to the upstream: directly, and through a proxy that does as a test says."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator

import pytest

from bearerd.errors import UpstreamUnreachable
from bearerd.relay.upstream.dial import (
    CONNECT_RESPONSE_LIMIT_BYTES,
    HttpProxy,
    connect_first,
    dial,
)
from tests.wire.peers import Peer, RawUpstream

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    """A server that does nothing by itself: a proxy, or the upstream."""
    async with RawUpstream() as running:
        yield running


@pytest.mark.parametrize(
    ("url", "host", "port", "pair"),
    [
        ("http://proxy.test", "proxy.test", 80, None),
        ("http://proxy.test:3128", "proxy.test", 3128, None),
        ("http://[::1]:3128", "::1", 3128, None),
        ("http://user:pass@proxy.test", "proxy.test", 80, b"user:pass"),
        ("http://user@proxy.test", "proxy.test", 80, b"user:"),
        ("http://u%40x:p%3Aw@proxy.test", "proxy.test", 80, b"u@x:p:w"),
    ],
)
def test_a_proxy_is_what_its_url_names(
    url: str, host: str, port: int, pair: bytes | None
) -> None:
    """User information is decoded before it becomes credentials (RFC 7617)."""
    proxy = HttpProxy.from_url(url)
    assert (proxy.host, proxy.port) == (host, port)
    if pair is None:
        assert proxy.authorization_line == b""
    else:
        encoded = base64.b64encode(pair)
        line = b"Proxy-Authorization: Basic %b\r\n" % encoded
        assert proxy.authorization_line == line


def test_a_proxy_does_not_print_its_credentials() -> None:
    """Neither as given nor encoded."""
    shown = repr(HttpProxy.from_url("http://user:made-up-password@proxy.test"))
    assert "made-up-password" not in shown
    assert "Basic" not in shown


async def test_without_a_proxy_the_socket_leads_to_the_host(
    server: RawUpstream,
) -> None:
    """By its name or its address."""
    for host in ("localhost", "127.0.0.1"):
        with await dial(host, server.port, None) as connected:
            await server.accept()
            assert connected.getpeername()[1] == server.port


async def test_an_address_that_refuses_is_an_error() -> None:
    """The caller adds which upstream it was."""
    async with RawUpstream() as closed:
        port = closed.port
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await dial("127.0.0.1", port, None)


async def test_of_two_addresses_the_one_that_accepts_is_connected(
    server: RawUpstream,
) -> None:
    """Whichever comes first."""
    async with RawUpstream() as closed:
        port = closed.port
    ports = [port, server.port]
    for order in (ports, ports[::-1]):
        addresses = [
            socket.getaddrinfo("127.0.0.1", one, type=socket.SOCK_STREAM)[0]
            for one in order
        ]
        with await connect_first(addresses) as connected:
            assert connected.getpeername()[1] == server.port


def through(server: RawUpstream, host: str, userinfo: str = "") -> asyncio.Task[Peer]:
    """Dial *host* through the proxy that *server* is; return its end once it is open."""

    async def open_and_close() -> Peer:
        proxy = HttpProxy.from_url(f"http://{userinfo}127.0.0.1:{server.port}")
        with await dial(host, 443, proxy) as connected:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(connected, b"hello")
        return server.peers[-1]

    return asyncio.create_task(open_and_close())


@pytest.mark.parametrize(
    ("host", "authority"),
    [("up.example", b"up.example:443"), ("::1", b"[::1]:443")],
)
async def test_a_tunnel_is_asked_for_by_name_and_opened_by_a_200(
    server: RawUpstream, host: str, authority: bytes
) -> None:
    """The proxy resolves the name; the bytes behind its head go to the upstream."""
    dialling = through(server, host, "user:made-up@")
    peer = await server.accept()
    assert await peer.head() == (
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n"
        b"Proxy-Authorization: Basic dXNlcjptYWRlLXVw\r\n\r\n" % (authority, authority)
    )
    await peer.send(ESTABLISHED)
    assert await dialling is peer
    assert await peer.rest() == b"hello"


async def test_a_response_to_connect_may_come_in_parts(server: RawUpstream) -> None:
    """Its head is read to its end."""
    dialling = through(server, "up.example")
    peer = await server.accept()
    for cut in range(0, len(ESTABLISHED), 7):
        await peer.send(ESTABLISHED[cut : cut + 7])
        await asyncio.sleep(0)
    assert await dialling is peer


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "status 403"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502"),
        (b"garbage\r\n\r\n", "status none"),
        (ESTABLISHED + b"x", "status 200"),
        (b"HTTP/1.1 200 OK\r\n", "no response to CONNECT"),
        (b"", "no response to CONNECT"),
        (b"a" * (CONNECT_RESPONSE_LIMIT_BYTES + 1), "no response to CONNECT"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_named(
    server: RawUpstream, response: bytes, message: str
) -> None:
    """With its status, or that there was none; and the connection to it is closed."""
    dialling = through(server, "up.example")
    peer = await server.accept()
    await peer.head()
    await peer.send(response)
    peer.half_close()
    with pytest.raises(UpstreamUnreachable, match=message) as raised:
        await dialling
    assert f"the proxy 127.0.0.1:{server.port}" in raised.value.message
    assert await peer.gone() == b""


async def test_a_cancelled_dial_closes_its_socket(server: RawUpstream) -> None:
    """The limit on connecting passes while the proxy says nothing."""
    dialling = through(server, "up.example")
    peer = await server.accept()
    await peer.head()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert await peer.gone() == b""
