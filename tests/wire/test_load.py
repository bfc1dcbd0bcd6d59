"""Limits, slow clients and many of them: what is refused, and what goes on beside it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from bearerd.relay.client.connection import (
    FIELD_COUNT_LIMIT,
    FIELD_LIMIT_BYTES,
    HEAD_LIMIT_BYTES,
    AlreadySent,
)
from bearerd.relay.client.date import DateField
from bearerd.relay.client.server import ClientServer
from tests.support import Canary
from tests.wire.gateway import Gateway, get, ok, request, running
from tests.wire.peers import Peer, RawUpstream, status, values
from tests.wire.processes import Daemon, daemon
from tests.wire.upgrades import comes_true, open_descriptors

SLOW_CLIENTS = 300
GROWTH_BYTES = 48 << 20
"""What 300 clients may cost in memory, generously: 160 KiB each."""


async def is_served(gateway: Gateway) -> None:
    """See a request of another client through."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    await peer.send(ok(b"healthy", b"Connection: close"))
    assert (await client.response())[1] == b"healthy"


def told(head: bytes) -> tuple[int, list[bytes]]:
    """Return the status and the code of a response of ours."""
    return status(head), values(head, b"x-bearerd-error")


FILLER = b"X-Filler: %b\r\n" % (b"x" * 1000)
START = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
TOO_LARGE = {
    "one field": START + b"X: %b\r\n" % (b"x" * (FIELD_LIMIT_BYTES + 1)),
    "many fields": START + b"X: 1\r\n" * FIELD_COUNT_LIMIT,
    "all together": START + FILLER * (HEAD_LIMIT_BYTES // len(FILLER)),
    "empty lines": b"\r\n" * (HEAD_LIMIT_BYTES // 2 + 1),
}


@pytest.mark.parametrize("head", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_header_section_too_large_is_refused_while_it_comes(
    gateway: Gateway, head: bytes
) -> None:
    """Item 37: 431 before its end, the connection closed, the process healthy."""
    client = await gateway.client()
    with suppress(ConnectionError):
        await client.send(head)
        await client.send(b"X: 1\r\n")
    response = await client.head()
    assert told(response) in [
        (431, [b"request_malformed"]),
        (400, [b"request_malformed"]),
    ]
    assert values(response, b"connection") == [b"close"]
    await client.gone()
    assert gateway.upstream.connections == 0
    await is_served(gateway)


async def test_a_large_header_section_within_the_limits_passes(
    gateway: Gateway,
) -> None:
    """Item 37: agents send tokens and metadata in fields."""
    large = b"X-Large: %b" % (b"x" * 30_000)
    _, _, head = await gateway.asked(get(b"/v1/models", large, large))
    assert head.count(large) == 2


async def test_a_connection_too_many_is_told_so(tmp_path: Path) -> None:
    """503 with Retry-After, closed; the others go on, and there is room again."""
    async with running(tmp_path, max_connections="2") as gateway:
        first, peer, _ = await gateway.asked(get(b"/v1/models"))
        second = await gateway.client()
        third = await gateway.client()
        head, _ = await third.response()
        assert told(head) == (503, [b"overloaded"])
        assert values(head, b"retry-after") == [b"1"]
        assert values(head, b"connection") == [b"close"]
        assert await third.gone() == b""
        await peer.send(ok(b"first", b"Connection: close"))
        assert (await first.response())[1] == b"first"
        await second.leave()
        await first.leave()
        await gateway.finished()
        await is_served(gateway)


async def test_a_request_too_many_is_told_so(tmp_path: Path) -> None:
    """503 with Retry-After; its connection goes on, and so do the other requests."""
    async with running(tmp_path, max_requests="2") as gateway:
        busy = [await gateway.asked(get(b"/v1/models")) for _ in range(2)]
        third = await gateway.client()
        for _ in range(3):
            await third.send(get(b"/v1/models"))
            head, _ = await third.response()
            assert told(head) == (503, [b"overloaded"])
            assert values(head, b"retry-after") == [b"1"]
        for client, peer, _ in busy:
            await peer.send(ok(b"busy", b"Connection: close"))
            assert (await client.response())[1] == b"busy"
        await gateway.finished(5)
        await third.send(get(b"/v1/models"))
        peer = await gateway.upstream.accept()
        await peer.head()
        await peer.send(ok(b"third"))
        assert (await third.response())[1] == b"third"


async def test_a_stream_counts_as_under_way_until_its_end(tmp_path: Path) -> None:
    """And a tunnel's or a stream's client that leaves makes room at once."""
    async with running(tmp_path, max_requests="1") as gateway:
        client, _ = await gateway.answered(ok(b"0123456789")[:-5])
        await client.head()
        second = await gateway.client()
        await second.send(get(b"/v1/models"))
        assert told((await second.response())[0]) == (503, [b"overloaded"])
        client.reset()
        await gateway.finished(2)
        await is_served(gateway)


@pytest.mark.parametrize(
    "begun", [b"", b"GET /v1/mo", START], ids=["", "line", "field"]
)
async def test_a_head_that_does_not_come_to_its_end_is_given_up(begun: bytes) -> None:
    """Item 126: with the limit that idle connections have; here it is short."""

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return AlreadySent(keeps_alive=True)

    clients = ClientServer(handle, DateField(lambda: 0.0), 10, keep_alive_seconds=0.2)
    server = await asyncio.get_running_loop().create_server(clients, "127.0.0.1", 0)
    async with server:
        client = await Peer.connect(server.sockets[0].getsockname()[1])
        await client.send(begun)
        assert await client.gone() == b""
        await client.leave()
    await clients.shutdown(0.1)


async def test_a_head_that_comes_byte_by_byte_is_a_request(gateway: Gateway) -> None:
    """Item 126: slowness is no fault."""
    client = await gateway.client()
    asked = get(b"/v1/models", b"X-A: 1")
    for at in range(len(asked)):
        await client.send(asked[at : at + 1])
    peer = await gateway.upstream.accept()
    assert values(await peer.head(), b"x-a") == [b"1"]
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


async def asked_through(process: Daemon, upstream: RawUpstream) -> tuple[Peer, Peer]:
    """Return both ends of a request that waits for its response."""
    client = await process.client()
    await client.send(get(b"/v1/models"))
    peer = await upstream.accept()
    await peer.head()
    return client, peer


async def is_swift(process: Daemon, upstream: RawUpstream) -> None:
    """See twenty requests of another client through, each well within a second."""
    client, peer = await asked_through(process, upstream)
    loop = asyncio.get_running_loop()
    for _ in range(20):
        began = loop.time()
        await peer.send(ok())
        assert status((await client.response())[0]) == 200
        assert loop.time() - began < 1.0
        await client.send(get(b"/v1/models"))
        await peer.head()
    await client.leave()


async def test_clients_slow_in_their_heads_cost_others_nothing(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: neither time nor much memory, and no connection to the upstream."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await is_swift(process, upstream)
        before, connections = process.resident_bytes(), upstream.connections
        slow = [await process.client() for _ in range(SLOW_CLIENTS)]
        for at in range(0, len(START), 4):
            for client in slow:
                client.writer.write(START[at : at + 4])
        await is_swift(process, upstream)
        assert process.resident_bytes() - before < GROWTH_BYTES
        assert upstream.connections <= connections + 1
        for client in slow:
            await client.leave()


async def test_clients_slow_in_their_bodies_cost_others_nothing(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: each with 64 KiB that came and much that does not."""
    begun = request(b"POST", b"/v1/responses", b"Content-Length: 10000000")
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await is_swift(process, upstream)
        before = process.resident_bytes()
        slow = [await process.client() for _ in range(SLOW_CLIENTS)]
        for client in slow:
            await client.send(begun + bytes(1 << 16))
            peer = await upstream.accept()
            await peer.head()
            await peer.exactly(1 << 16)
        await is_swift(process, upstream)
        kept = SLOW_CLIENTS << 16  # for a replay: that is what the limit on it is for
        assert process.resident_bytes() - before < GROWTH_BYTES + kept
        for client in slow:
            await client.leave()


async def test_clients_slow_in_reading_cost_others_nothing(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: each has a response of 64 MiB under way, and takes none of it."""
    count, block = 30, bytes(1 << 16)
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await is_swift(process, upstream)
        before = process.resident_bytes()
        slow = [await asked_through(process, upstream) for _ in range(count)]
        pouring = []
        for client, peer in slow:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
            pouring.append(asyncio.create_task(pour(peer, block, 1024)))
        await is_swift(process, upstream)
        assert not any(task.done() for task in pouring)
        assert process.resident_bytes() - before < GROWTH_BYTES
        for task in pouring:
            task.cancel()
        await asyncio.wait(pouring)
        for client, _ in slow:
            await client.leave()


async def pour(peer: Peer, block: bytes, count: int) -> None:
    """Send as much as is taken."""
    for _ in range(count):
        peer.writer.write(block)
        await peer.writer.drain()


async def test_a_thousand_clients_in_a_row_leave_nothing_behind(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 123: no descriptor, and no memory to speak of."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await is_swift(process, upstream)
        descriptors, before = open_descriptors(process.pid), process.resident_bytes()
        client, peer = await asked_through(process, upstream)
        for _ in range(1000):
            await peer.send(ok())
            await client.response()
            await client.leave()
            client = await process.client()
            await client.send(get(b"/v1/models"))
            await peer.head()
        await client.leave()
        await peer.leave()
        await comes_true(lambda: open_descriptors(process.pid) <= descriptors)
        assert process.resident_bytes() - before < 8 << 20


async def test_five_hundred_requests_at_once_are_all_answered(
    tmp_path: Path, canary: Canary
) -> None:
    """Each with its own response; then their connections are closed or used again."""
    count = 500
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        clients = [await process.client() for _ in range(count)]
        for number, client in enumerate(clients):
            await client.send(get(b"/v1/models", b"X-Number: %d" % number))
        peers = [await upstream.accept() for _ in clients]
        for peer in peers:
            (number_sent,) = values(await peer.head(), b"x-number")
            await peer.send(ok(number_sent))
        responses = [(await client.response())[1] for client in clients]
        assert responses == [b"%d" % number for number in range(count)]
        for client in clients:
            await client.leave()
