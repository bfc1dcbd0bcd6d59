"""Upgrade requests, tunnels between raw connections, and a check for leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.wire.gateway import Gateway, get
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream, status

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
ASKING = get(b"/v1/responses", *UPGRADE, b"Sec-WebSocket-Version: 13")
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: made-up\r\n\r\n"
)


async def tunnelled(gateway: Gateway) -> tuple[Peer, Peer]:
    """Open a tunnel; return both ends, the client first."""
    client, peer, _ = await gateway.asked(ASKING)
    await peer.send(SWITCHED)
    assert status(await client.head()) == 101
    return client, peer


async def opened(client: Peer, upstream: RawUpstream) -> Peer:
    """Open a tunnel over *client*'s connection; return its other end."""
    await client.send(ASKING)
    peer = await upstream.accept()
    await peer.head()
    await peer.send(SWITCHED)
    assert status(await client.head()) == 101
    return peer


async def comes_true(claim: Callable[[], bool]) -> None:
    """Return once *claim* holds; it is checked at each turn of the event loop."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not claim():  # noqa: ASYNC110 - the kernel's counters send no event
            await asyncio.sleep(0)


def open_descriptors(pid: int | None = None) -> int:
    """Return the number of descriptors that a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid or 'self'}/fd").iterdir())


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """Check that no task and no descriptor outlives the body.

    The body closes what it opened, on the test's side too.
    """
    descriptors, tasks = open_descriptors(), len(asyncio.all_tasks())
    yield
    await comes_true(lambda: len(asyncio.all_tasks()) <= tasks)
    await comes_true(lambda: open_descriptors() <= descriptors)
