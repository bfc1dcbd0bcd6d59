"""Many tunnels, and tunnels with one slow side."""

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
"""Loopback takes a megabyte in a millisecond, so a sender that waits this long is paused."""

ALLOWED_BYTES = 48 << 20
"""How much the kernel and the buffers on the way may hold; loopback alone takes 10 MiB."""

GROWTH_BYTES = 24 << 20
"""By how much memory may grow, generously: the buffers of one process are below 2 MiB."""


async def send_until_full(peer: Peer) -> tuple[int, str]:
    """Send until no more is accepted; return the number of bytes and their digest."""
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


async def read_digest(peer: Peer, size: int) -> str:
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
async def test_a_side_that_does_not_read_pauses_the_other(
    gateway: Gateway, sender: str
) -> None:
    """Item 85: in both directions, and no byte is lost once it reads again."""
    client, peer = await tunnelled(gateway)
    sending, reading = (client, peer) if sender == "client" else (peer, client)
    size, digest = await send_until_full(sending)
    assert size < ALLOWED_BYTES
    await reading.send(b"the other way is free")
    assert await sending.exactly(21) == b"the other way is free"
    assert await read_digest(reading, size) == digest


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
        size, digest = await send_until_full(sending)
        assert size < ALLOWED_BYTES
        assert await read_digest(reading, size) == digest
        assert process.highest_resident_bytes() - before < GROWTH_BYTES
        await client.leave()


async def test_bytes_sent_before_a_101_are_limited(gateway: Gateway) -> None:
    """Item 95: a client that does not wait for the response is paused."""
    client, peer, _ = await gateway.asked(ASKING)
    size, digest = await send_until_full(client)
    assert size < ALLOWED_BYTES
    await peer.send(SWITCHED)
    assert status(await client.head()) == 101
    more, _ = await send_until_full(client)
    assert more < ALLOWED_BYTES
    assert await read_digest(peer, size) == digest


async def test_a_tunnel_carries_much_data_in_both_directions_at_once(
    gateway: Gateway,
) -> None:
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
    assert {
        *await asyncio.gather(read_digest(client, size), read_digest(peer, size))
    } == {digest}
    await sent


async def test_five_hundred_concurrent_tunnels(tmp_path: Path, canary: Canary) -> None:
    """Item 99: each with its own bytes, and with nothing leaked."""
    count = 500
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        before = open_descriptors(process.pid)
        clients = [await process.client() for _ in range(count)]
        pairs = [(end, await opened(end, upstream)) for end in clients]
        assert open_descriptors(process.pid) == before + 2 * count
        await asyncio.gather(
            *(exchange_numbers(n, *pair) for n, pair in enumerate(pairs))
        )
        _, page = await process.served.admin("/api/status")
        assert '"requests_in_flight": 500' in page
        for number, (client, peer) in enumerate(pairs):
            endings = (client.close, client.reset, peer.close, peer.reset)
            endings[number % 4]()
        await asyncio.gather(*(wait_for_close(*pair) for pair in pairs))
        await comes_true(lambda: open_descriptors(process.pid) <= before)
        _, page = await process.served.admin("/api/status")
        assert '"requests_in_flight": 0' in page


async def exchange_numbers(number: int, client: Peer, peer: Peer) -> None:
    """Send a number in both directions, and check it."""
    said = b"%d" % number * 100
    await client.send(said)
    assert await peer.exactly(len(said)) == said
    await peer.send(said)
    assert await client.exactly(len(said)) == said


async def wait_for_close(client: Peer, peer: Peer) -> None:
    """Wait until both ends of a tunnel, one of which has been closed, are closed."""
    for end in (client, peer):
        if not end.writer.is_closing():
            await end.gone()
    for end in (client, peer):
        await end.leave()
