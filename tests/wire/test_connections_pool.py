"""The pool: which connection a request uses, and how often the request is sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohappyeyeballs import AddrInfoType

from bearerd.relay.upstream.dial import connect_first
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import IDLE_SECONDS, UpstreamPool
from tests.wire.gateway import Gateway, get, ok, post, running
from tests.wire.peers import Peer, RawUpstream, first_line, status, values

POST = post(b"/v1/responses", b"abc")


async def request_once(
    gateway: Gateway, client: Peer, peer: Peer | None = None
) -> Peer:
    """Complete one request, over *peer* or over the connection that the upstream
    accepts.
    """
    await client.send(get(b"/v1/models"))
    peer = peer or await gateway.upstream.accept()
    await peer.head()
    await peer.send(ok())
    assert status((await client.response())[0]) == 200
    return peer


def send_directly(peer: Peer, data: bytes = b"") -> None:
    """Write *data*, or an EOF, to the socket before the event loop runs again."""
    with peer.writer.get_extra_info("socket").dup() as duplicate:
        if data:
            duplicate.send(data)
        else:
            duplicate.shutdown(socket.SHUT_WR)


async def test_an_unread_eof_does_not_fail_a_post(gateway: Gateway) -> None:
    """Item 122: the kernel has received it, and is asked before each reuse.

    The event loop has had no turn between the EOF and the arrival of the request.
    """
    client = await gateway.client()
    peer = await request_once(gateway, client)
    await gateway.finished()
    client.writer.write(POST)
    send_directly(peer)
    second = await gateway.upstream.accept()
    assert first_line(await second.head()).startswith(b"POST ")
    assert await second.exactly(3) == b"abc"
    await second.send(ok())
    assert status((await client.response())[0]) == 200
    assert [told.attempts for told in await gateway.finished(2)] == [1, 1]


async def test_unread_bytes_do_not_fail_a_post(gateway: Gateway) -> None:
    """Item 84: they would be taken for the response to the POST."""
    client = await gateway.client()
    peer = await request_once(gateway, client)
    await gateway.finished()
    client.writer.write(POST)
    send_directly(peer, ok(b"evil"))
    second = await gateway.upstream.accept()
    await second.head()
    await second.send(ok(b"good"))
    assert (await client.response())[1] == b"good"


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_upstream_that_closes_unannounced_after_each_response_works(
    gateway: Gateway, ending: str
) -> None:
    """Item 122: every POST gets its response, each over a connection of its own."""
    client = await gateway.client()
    for count in range(1, 21):
        await client.send(POST)
        peer = await gateway.upstream.accept()
        await peer.head()
        await peer.send(ok())
        assert status((await client.response())[0]) == 200
        getattr(peer, ending)()
        assert await peer.gone() in {b"abc", b""}
        assert gateway.upstream.connections == count
    told = await gateway.finished(20)
    assert {one.attempts for one in told} == {1}


async def test_a_response_followed_at_once_by_eof_is_complete(
    gateway: Gateway,
) -> None:
    """Item 122: the next request uses a new connection."""
    client = await gateway.client()
    for count in range(1, 21):
        await client.send(POST)
        peer = await gateway.upstream.accept()
        await peer.head()
        peer.writer.write(ok())
        peer.close()
        assert status((await client.response())[0]) == 200
        assert gateway.upstream.connections == count


@pytest.mark.parametrize("line", [b"Connection: close", b"connection: x, CLOSE"])
async def test_connection_close_ends_reuse(gateway: Gateway, line: bytes) -> None:
    """RFC 9112 section 9.6: the connection is not reused, though it is still open."""
    client, peer = await gateway.answered(ok(b"ok", line))
    assert (await client.response())[1] == b"ok"
    assert await peer.gone() == b""
    assert await request_once(gateway, client) is not peer


async def test_an_http_1_0_response_without_keep_alive_ends_reuse(
    gateway: Gateway,
) -> None:
    """RFC 9112 section 9.3."""
    client, peer = await gateway.answered(
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    assert (await client.response())[1] == b"ok"
    assert await peer.gone() == b""
    assert await request_once(gateway, client) is not peer


async def test_leftover_bytes_discard_the_connection_and_no_request(
    gateway: Gateway,
) -> None:
    """Item 83: twenty in a row, and each request is sent exactly once."""
    client = await gateway.client()
    for count in range(1, 21):
        await client.send(POST)
        peer = await gateway.upstream.accept()
        await peer.head()
        await peer.send(ok(b"good") + ok(b"evil"))
        assert (await client.response())[1] == b"good"
        assert gateway.upstream.connections == count
    assert {one.attempts for one in await gateway.finished(20)} == {1}


async def test_every_send_is_counted(gateway: Gateway) -> None:
    """Item 135: the attempts in the events are the requests that were sent."""
    client = await gateway.client()
    sends = 0
    peer = await request_once(gateway, client)
    sends += 1
    for _ in range(9):
        await request_once(gateway, client, peer)
        sends += 1
    told = await gateway.finished(10)
    assert sum(one.attempts for one in told) == sends


async def test_concurrent_requests_use_a_connection_each_and_reuse_them(
    gateway: Gateway,
) -> None:
    """Item 123: none waits for another, and none is opened without need."""
    clients = [await gateway.client() for _ in range(10)]
    for client in clients:
        await client.send(get(b"/v1/models"))
    peers = [await gateway.upstream.accept() for _ in clients]
    for peer in peers:
        await peer.head()
        await peer.send(ok())
    for client in clients:
        await client.response()
    await gateway.finished(10)
    for client in clients:
        await client.send(get(b"/v1/models"))
    for peer in peers:
        await peer.head()
        await peer.send(ok())
    for client in clients:
        assert status((await client.response())[0]) == 200
    assert gateway.upstream.connections == 10


@asynccontextmanager
async def pool(server: RawUpstream) -> AsyncIterator[UpstreamPool]:
    """A pool with a raw upstream."""
    upstream = UpstreamPool(
        Origin.from_url(f"http://127.0.0.1:{server.port}/x"),
        connect_timeout_seconds=5,
        idle_timeout_seconds=5,
        tls=None,
    )
    try:
        yield upstream
    finally:
        upstream.close_connections()


async def test_a_connection_idle_for_too_long_is_closed() -> None:
    """Item 122: before the upstream closes it; the test passes the time."""
    async with RawUpstream() as server, pool(server) as upstream:
        wire = await upstream.acquire()
        wire.start_request(
            b"asked",
            is_head_request=False,
            asks_upgrade=False,
            is_complete=True,
            on_interim=lambda _head: None,
        )
        peer = await server.accept()
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await wire.response.receive_head()
        await wire.response.wait_complete()
        wire.release()
        upstream.close_expired(wire.last_activity_at + IDLE_SECONDS - 0.1)
        assert wire.is_available
        upstream.close_expired(wire.last_activity_at + IDLE_SECONDS + 0.1)
        assert upstream.connection_count == 0
        assert await peer.exactly(5) == b"asked"
        assert await peer.gone() == b""


FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.mark.parametrize("listening", FAMILIES)
@pytest.mark.parametrize("first", FAMILIES)
async def test_the_address_that_accepts_is_used(
    listening: socket.AddressFamily, first: socket.AddressFamily
) -> None:
    """RFC 8305: whichever address family comes first."""
    server = await asyncio.start_server(accept_and_close, FAMILIES[listening], 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        addresses = [address(family, port) for family in FAMILIES]
        addresses.sort(key=lambda known: known[0] != first)
        with await connect_first(addresses) as connected:
            assert connected.family == listening


async def test_an_unresponsive_address_delays_the_next_by_a_moment() -> None:
    """RFC 8305 section 5: by a quarter of a second, and not by the whole limit."""
    server = await asyncio.start_server(accept_and_close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    with unresponsive_port() as dead:
        began = loop.time()
        async with server:
            both = [address(socket.AF_INET, dead), address(socket.AF_INET, port)]
            with await connect_first(both) as connected:
                assert connected.getpeername()[1] == port
        assert loop.time() - began < 2.0


async def test_an_unresponsive_upstream_is_504(tmp_path: Path) -> None:
    """Item 127: connecting has a limit of its own."""
    with unresponsive_port() as dead:
        async with running(
            tmp_path,
            upstream_url=f"http://127.0.0.1:{dead}/x",
            upstream_connect_timeout_seconds="0.3",
        ) as gateway:
            client = await gateway.client()
            await client.send(POST)
            head, body = await client.response()
            assert status(head) == 504
            assert values(head, b"x-bearerd-error") == [b"upstream_timeout"]
            assert b"within 0.3 seconds" in body


async def accept_and_close(
    _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Accept a connection and close it."""
    writer.close()


def address(family: socket.AddressFamily, port: int) -> AddrInfoType:
    """Return what a resolver returns for a loopback address."""
    found = socket.getaddrinfo(FAMILIES[family], port, type=socket.SOCK_STREAM)
    return found[0]


@contextmanager
def unresponsive_port() -> Iterator[int]:
    """Yield a port on which the kernel answers nothing, because its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        queue = [socket.socket() for _ in range(4)]
        for waiting in queue:
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for waiting in queue:
            waiting.close()


async def test_an_upstream_that_restarts_is_reached_again(gateway: Gateway) -> None:
    """On the same port: one request in between gets a 502, the next succeeds."""
    client = await gateway.client()
    await request_once(gateway, client)
    server = gateway.upstream._server
    assert server is not None
    for peer in gateway.upstream.peers:
        await peer.leave()
    server.close()
    await server.wait_closed()
    await client.send(POST)
    assert status((await client.response())[0]) == 502
    gateway.upstream._server = await asyncio.start_server(
        gateway.upstream._take, "127.0.0.1", gateway.upstream.port
    )
    await request_once(gateway, client)
