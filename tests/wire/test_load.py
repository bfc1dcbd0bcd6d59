"""Limits and slow clients: what is rejected, and that other requests are not affected."""

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
"""What 300 clients may take in memory: 160 KiB each, which is generous."""


async def request_once(gateway: Gateway) -> None:
    """Complete one request of another client."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    await peer.send(ok(b"healthy", b"Connection: close"))
    assert (await client.response())[1] == b"healthy"


def status_and_code(head: bytes) -> tuple[int, list[bytes]]:
    """Return the status and the error code of a response of ours."""
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
async def test_a_header_section_too_large_is_rejected_before_its_end(
    gateway: Gateway, head: bytes
) -> None:
    """Item 37: 431 before it is complete, the connection is closed, the process stays
    healthy.
    """
    client = await gateway.client()
    with suppress(ConnectionError):
        await client.send(head)
        await client.send(b"X: 1\r\n")
    response = await client.head()
    assert status_and_code(response) in [
        (431, [b"request_malformed"]),
        (400, [b"request_malformed"]),
    ]
    assert values(response, b"connection") == [b"close"]
    await client.gone()
    assert gateway.upstream.connections == 0
    await request_once(gateway)


async def test_a_large_header_section_within_the_limits_is_forwarded(
    gateway: Gateway,
) -> None:
    """Item 37: agents send tokens and metadata in fields."""
    large = b"X-Large: %b" % (b"x" * 30_000)
    _, _, head = await gateway.asked(get(b"/v1/models", large, large))
    assert head.count(large) == 2


async def test_a_connection_above_the_limit_gets_503(tmp_path: Path) -> None:
    """With Retry-After, and is closed; the others go on, and a closed one makes room."""
    async with running(tmp_path, max_connections="2") as gateway:
        first, peer, _ = await gateway.asked(get(b"/v1/models"))
        second = await gateway.client()
        third = await gateway.client()
        head, _ = await third.response()
        assert status_and_code(head) == (503, [b"overloaded"])
        assert values(head, b"retry-after") == [b"1"]
        assert values(head, b"connection") == [b"close"]
        assert await third.gone() == b""
        await peer.send(ok(b"first", b"Connection: close"))
        assert (await first.response())[1] == b"first"
        await second.leave()
        await first.leave()
        await gateway.finished()
        await request_once(gateway)


async def test_a_request_above_the_limit_gets_503(tmp_path: Path) -> None:
    """With Retry-After; its connection stays open, and the other requests go on."""
    async with running(tmp_path, max_requests="2") as gateway:
        busy = [await gateway.asked(get(b"/v1/models")) for _ in range(2)]
        third = await gateway.client()
        for _ in range(3):
            await third.send(get(b"/v1/models"))
            head, _ = await third.response()
            assert status_and_code(head) == (503, [b"overloaded"])
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


async def test_a_stream_counts_as_a_request_until_its_end(tmp_path: Path) -> None:
    """When its client disconnects, or that of a tunnel, there is room at once."""
    async with running(tmp_path, max_requests="1") as gateway:
        client, _ = await gateway.answered(ok(b"0123456789")[:-5])
        await client.head()
        second = await gateway.client()
        await second.send(get(b"/v1/models"))
        assert status_and_code((await second.response())[0]) == (503, [b"overloaded"])
        client.reset()
        await gateway.finished(2)
        await request_once(gateway)


@pytest.mark.parametrize(
    "begun", [b"", b"GET /v1/mo", START], ids=["", "line", "field"]
)
async def test_an_incomplete_head_is_timed_out(begun: bytes) -> None:
    """Item 126: after the limit for idle connections, which is short in this test."""

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


async def test_a_head_sent_byte_by_byte_is_served(gateway: Gateway) -> None:
    """Item 126: a slow client makes no error."""
    client = await gateway.client()
    asked = get(b"/v1/models", b"X-A: 1")
    for at in range(len(asked)):
        await client.send(asked[at : at + 1])
    peer = await gateway.upstream.accept()
    assert values(await peer.head(), b"x-a") == [b"1"]
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


async def pending_request(process: Daemon, upstream: RawUpstream) -> tuple[Peer, Peer]:
    """Return both ends of a request that waits for its response."""
    client = await process.client()
    await client.send(get(b"/v1/models"))
    peer = await upstream.accept()
    await peer.head()
    return client, peer


async def requests_are_fast(process: Daemon, upstream: RawUpstream) -> None:
    """Complete twenty requests of another client, each well within a second."""
    client, peer = await pending_request(process, upstream)
    loop = asyncio.get_running_loop()
    for _ in range(20):
        began = loop.time()
        await peer.send(ok())
        assert status((await client.response())[0]) == 200
        assert loop.time() - began < 1.0
        await client.send(get(b"/v1/models"))
        await peer.head()
    await client.leave()


async def test_clients_slow_with_their_heads_do_not_delay_others(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: they take little memory, and no connection to the upstream."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await requests_are_fast(process, upstream)
        before, connections = process.resident_bytes(), upstream.connections
        slow = [await process.client() for _ in range(SLOW_CLIENTS)]
        for at in range(0, len(START), 4):
            for client in slow:
                client.writer.write(START[at : at + 4])
        await requests_are_fast(process, upstream)
        assert process.resident_bytes() - before < GROWTH_BYTES
        assert upstream.connections <= connections + 1
        for client in slow:
            await client.leave()


async def test_clients_slow_with_their_bodies_do_not_delay_others(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: each has sent 64 KiB of a much larger body."""
    begun = request(b"POST", b"/v1/responses", b"Content-Length: 10000000")
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await requests_are_fast(process, upstream)
        before = process.resident_bytes()
        slow = [await process.client() for _ in range(SLOW_CLIENTS)]
        for client in slow:
            await client.send(begun + bytes(1 << 16))
            peer = await upstream.accept()
            await peer.head()
            await peer.exactly(1 << 16)
        await requests_are_fast(process, upstream)
        kept = SLOW_CLIENTS << 16  # kept for a replay, within the limit on that
        assert process.resident_bytes() - before < GROWTH_BYTES + kept
        for client in slow:
            await client.leave()


async def test_clients_slow_in_reading_do_not_delay_others(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 126: each has a response of 64 MiB under way, and reads none of it."""
    count, block = 30, bytes(1 << 16)
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await requests_are_fast(process, upstream)
        before = process.resident_bytes()
        slow = [await pending_request(process, upstream) for _ in range(count)]
        pouring = []
        for client, peer in slow:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
            pouring.append(asyncio.create_task(send_until_full(peer, block, 1024)))
        await requests_are_fast(process, upstream)
        assert not any(task.done() for task in pouring)
        assert process.resident_bytes() - before < GROWTH_BYTES
        for task in pouring:
            task.cancel()
        await asyncio.wait(pouring)
        for client, _ in slow:
            await client.leave()


async def send_until_full(peer: Peer, block: bytes, count: int) -> None:
    """Send as much as is accepted."""
    for _ in range(count):
        peer.writer.write(block)
        await peer.writer.drain()


async def test_a_thousand_consecutive_clients_leak_nothing(
    tmp_path: Path, canary: Canary
) -> None:
    """Item 123: no descriptor, and hardly any memory."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        await requests_are_fast(process, upstream)
        descriptors, before = open_descriptors(process.pid), process.resident_bytes()
        client, peer = await pending_request(process, upstream)
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


async def test_five_hundred_concurrent_requests_get_their_responses(
    tmp_path: Path, canary: Canary
) -> None:
    """Each gets its own; then the connections are closed or reused."""
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
