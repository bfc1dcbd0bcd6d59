"""The pool: which connection a request goes over, and how often it is sent."""

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


async def once(gateway: Gateway, client: Peer, peer: Peer | None = None) -> Peer:
    """Have one request answered, over *peer* or over the connection that comes in."""
    await client.send(get(b"/v1/models"))
    peer = peer or await gateway.upstream.accept()
    await peer.head()
    await peer.send(ok())
    assert status((await client.response())[0]) == 200
    return peer


def at_once(peer: Peer, data: bytes = b"") -> None:
    """Put *data*, or an end, into the other side's kernel before anybody runs again."""
    with peer.writer.get_extra_info("socket").dup() as duplicate:
        if data:
            duplicate.send(data)
        else:
            duplicate.shutdown(socket.SHUT_WR)


async def test_an_end_that_nobody_has_read_yet_costs_no_post(gateway: Gateway) -> None:
    """Item 122: the kernel knows it, and is asked before each reuse.

    The event loop has had no turn between the end and the request's arrival.
    """
    client = await gateway.client()
    peer = await once(gateway, client)
    await gateway.finished()
    client.writer.write(POST)
    at_once(peer)
    second = await gateway.upstream.accept()
    assert first_line(await second.head()).startswith(b"POST ")
    assert await second.exactly(3) == b"abc"
    await second.send(ok())
    assert status((await client.response())[0]) == 200
    assert [told.attempts for told in await gateway.finished(2)] == [1, 1]


async def test_bytes_that_nobody_has_read_yet_cost_no_post(gateway: Gateway) -> None:
    """Item 84: a response to no request would be taken for the POST's."""
    client = await gateway.client()
    peer = await once(gateway, client)
    await gateway.finished()
    client.writer.write(POST)
    at_once(peer, ok(b"evil"))
    second = await gateway.upstream.accept()
    await second.head()
    await second.send(ok(b"good"))
    assert (await client.response())[1] == b"good"


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_upstream_that_closes_after_each_response_without_a_word_is_used(
    gateway: Gateway, ending: str
) -> None:
    """Item 122: every POST is answered, each over a connection of its own."""
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


async def test_a_response_and_its_end_in_one_breath_are_a_response(
    gateway: Gateway,
) -> None:
    """Item 122: what comes after it asks for a new connection."""
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
async def test_an_announced_close_is_taken_at_its_word(
    gateway: Gateway, line: bytes
) -> None:
    """RFC 9112 section 9.6: it is not used again, though it is still open."""
    client, peer = await gateway.answered(ok(b"ok", line))
    assert (await client.response())[1] == b"ok"
    assert await peer.gone() == b""
    assert await once(gateway, client) is not peer


async def test_a_1_0_response_without_keep_alive_is_the_last(gateway: Gateway) -> None:
    """RFC 9112 section 9.3."""
    client, peer = await gateway.answered(
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    assert (await client.response())[1] == b"ok"
    assert await peer.gone() == b""
    assert await once(gateway, client) is not peer


async def test_leftover_bytes_cost_the_connection_and_no_request(
    gateway: Gateway,
) -> None:
    """Item 83: twenty in a row, and every request is sent exactly once."""
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
    """Item 135: what went out and what was told are the same number."""
    client = await gateway.client()
    sends = 0
    peer = await once(gateway, client)
    sends += 1
    for _ in range(9):
        await once(gateway, client, peer)
        sends += 1
    told = await gateway.finished(10)
    assert sum(one.attempts for one in told) == sends


async def test_requests_at_once_have_a_connection_each_and_share_them_later(
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
    """A pool before a raw upstream."""
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
    """Item 122: before the upstream does it; the time is the test's."""
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
async def test_a_name_with_two_addresses_is_reached_over_the_one_that_answers(
    listening: socket.AddressFamily, first: socket.AddressFamily
) -> None:
    """RFC 8305: whichever family is named first."""
    server = await asyncio.start_server(greet, FAMILIES[listening], 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        addresses = [address(family, port) for family in FAMILIES]
        addresses.sort(key=lambda known: known[0] != first)
        with await connect_first(addresses) as connected:
            assert connected.family == listening


async def test_an_address_that_swallows_everything_holds_the_next_up_for_a_moment() -> (
    None
):
    """RFC 8305 section 5: a quarter of a second, and not the whole limit."""
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    with swallowing() as dead:
        began = loop.time()
        async with server:
            both = [address(socket.AF_INET, dead), address(socket.AF_INET, port)]
            with await connect_first(both) as connected:
                assert connected.getpeername()[1] == port
        assert loop.time() - began < 2.0


async def test_an_upstream_that_swallows_everything_is_504(tmp_path: Path) -> None:
    """Item 127: connecting has a limit of its own."""
    with swallowing() as dead:
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


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a connection, and end it."""
    writer.close()


def address(family: socket.AddressFamily, port: int) -> AddrInfoType:
    """Return what a resolver would return for a loopback address."""
    found = socket.getaddrinfo(FAMILIES[family], port, type=socket.SOCK_STREAM)
    return found[0]


@contextmanager
def swallowing() -> Iterator[int]:
    """Give a port at which the kernel answers nothing: its queue is full."""
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


async def test_an_upstream_that_comes_back_is_found(gateway: Gateway) -> None:
    """It restarts on the same port: the next request finds it, the one between is 502."""
    client = await gateway.client()
    await once(gateway, client)
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
    await once(gateway, client)
