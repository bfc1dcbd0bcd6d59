"""Many tunnels, and tunnels of which one side takes its time."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.support import Canary
from tests.wire.gateway import Gateway
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream, status
from tests.wire.processes import daemon
from tests.wire.upgrades import (
    ASKING,
    SWITCHED,
    comes_true,
    open_descriptors,
    opened,
    tunnelled,
)

BLOCK = bytes(range(256)) * (1 << 12)
FAR_TOO_MUCH = 256 << 20
STUCK_SECONDS = 0.5
"""Loopback takes a megabyte in a millisecond: who waits this long is made to wait."""

ALLOWED_BYTES = 48 << 20
"""What kernels and buffers on the way may hold; loopback's own take some 10 MiB."""

GROWTH_BYTES = 24 << 20
"""What memory may grow by, generously: the buffers in one process are below 2 MiB."""


async def pushed(peer: Peer) -> tuple[int, str]:
    """Send until nobody takes more; return how much, and its digest."""
    sent, digest = 0, hashlib.sha256()
    while sent < FAR_TOO_MUCH:
        peer.writer.write(BLOCK)
        sent += len(BLOCK)
        digest.update(BLOCK)
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await peer.writer.drain()
        except TimeoutError:
            break
    return sent, digest.hexdigest()


async def taken(peer: Peer, size: int) -> str:
    """Return the digest of the next *size* bytes."""
    digest = hashlib.sha256()
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        while size:
            part = await peer.reader.read(min(size, 1 << 20))
            assert part, f"it ended {size} bytes too early"
            digest.update(part)
            size -= len(part)
    return digest.hexdigest()


@pytest.mark.parametrize("sender", ["client", "upstream"])
async def test_a_side_that_does_not_read_stops_the_other(
    gateway: Gateway, sender: str
) -> None:
    """Item 85: in both directions, and nothing is lost once it reads again."""
    client, peer = await tunnelled(gateway)
    sending, reading = (client, peer) if sender == "client" else (peer, client)
    size, digest = await pushed(sending)
    assert size < ALLOWED_BYTES
    await reading.send(b"the other way is free")
    assert await sending.exactly(21) == b"the other way is free"
    assert await taken(reading, size) == digest


@pytest.mark.parametrize("sender", ["client", "upstream"])
async def test_a_side_that_does_not_read_costs_no_memory(
    tmp_path: Path, canary: Canary, sender: str
) -> None:
    """Item 85: measured on a process of its own."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        client = await process.client()
        peer = await opened(client, upstream)
        sending, reading = (client, peer) if sender == "client" else (peer, client)
        before = process.resident_bytes()
        size, digest = await pushed(sending)
        assert size < ALLOWED_BYTES
        assert await taken(reading, size) == digest
        assert process.highest_resident_bytes() - before < GROWTH_BYTES
        await client.leave()


async def test_what_is_sent_ahead_of_a_101_is_bounded(gateway: Gateway) -> None:
    """Item 95: a client that does not wait for its response is made to."""
    client, peer, _ = await gateway.asked(ASKING)
    size, digest = await pushed(client)
    assert size < ALLOWED_BYTES
    await peer.send(SWITCHED)
    assert status(await client.head()) == 101
    more, _ = await pushed(client)
    assert more < ALLOWED_BYTES
    assert await taken(peer, size) == digest


async def test_a_tunnel_carries_much_both_ways_at_once(gateway: Gateway) -> None:
    """Item 95: byte for byte, while each side slows the other down."""
    client, peer = await tunnelled(gateway)
    count = 32
    digest = hashlib.sha256(BLOCK * count).hexdigest()

    async def send(end: Peer) -> None:
        for _ in range(count):
            end.writer.write(BLOCK)
            await end.writer.drain()

    size = count * len(BLOCK)
    sent = asyncio.gather(send(client), send(peer))
    assert {*await asyncio.gather(taken(client, size), taken(peer, size))} == {digest}
    await sent


async def test_five_hundred_tunnels_at_once(tmp_path: Path, canary: Canary) -> None:
    """Item 99: each its own bytes, a process that answers, and nothing left behind."""
    count = 500
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        before = open_descriptors(process.pid)
        clients = [await process.client() for _ in range(count)]
        pairs = [(end, await opened(end, upstream)) for end in clients]
        assert open_descriptors(process.pid) == before + 2 * count
        await asyncio.gather(*(echoed(n, *pair) for n, pair in enumerate(pairs)))
        _, page = await process.served.admin("/api/status")
        assert '"requests_in_flight": 500' in page
        for number, (client, peer) in enumerate(pairs):
            endings = (client.close, client.reset, peer.close, peer.reset)
            endings[number % 4]()
        await asyncio.gather(*(over(*pair) for pair in pairs))
        await comes_true(lambda: open_descriptors(process.pid) <= before)
        _, page = await process.served.admin("/api/status")
        assert '"requests_in_flight": 0' in page


async def echoed(number: int, client: Peer, peer: Peer) -> None:
    """Send a number both ways, and see that it is the same one."""
    said = b"%d" % number * 100
    await client.send(said)
    assert await peer.exactly(len(said)) == said
    await peer.send(said)
    assert await client.exactly(len(said)) == said


async def over(client: Peer, peer: Peer) -> None:
    """See both ends of a tunnel gone, one of which has ended it."""
    for end in (client, peer):
        if not end.writer.is_closing():
            await end.gone()
    for end in (client, peer):
        await end.leave()
