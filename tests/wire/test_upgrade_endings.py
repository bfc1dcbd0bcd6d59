"""How a tunnel ends: by a half-close, a close, a reset, silence, or with the service."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import TUNNEL_IDLE_SECONDS, UpstreamPool
from tests.support import Canary
from tests.wire.gateway import Gateway, running
from tests.wire.peers import Peer, RawUpstream, status
from tests.wire.processes import daemon
from tests.wire.upgrades import (
    ASKING,
    SWITCHED,
    nothing_left_behind,
    opened,
    tunnelled,
)

MUCH = b"0123456789abcdef" * (1 << 14)


async def ends(gateway: Gateway, first: str) -> tuple[Peer, Peer]:
    """Return both ends of a tunnel: the one called *first*, then the other."""
    client, peer = await tunnelled(gateway)
    return (client, peer) if first == "client" else (peer, client)


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_half_close_leaves_the_other_direction_open(
    gateway: Gateway, first: str
) -> None:
    """Item 98: it is forwarded after all bytes that were sent before it."""
    ending, going_on = await ends(gateway, first)
    ending.writer.write(MUCH)
    ending.half_close()
    assert await going_on.rest() == MUCH
    await going_on.send(MUCH)
    assert await ending.exactly(len(MUCH)) == MUCH
    going_on.half_close()
    assert await ending.rest() == b""
    assert [told.status for told in await gateway.finished()] == [101]


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_close_ends_the_tunnel_after_the_bytes_before_it(
    gateway: Gateway, first: str
) -> None:
    """Item 98: a closed side reads no more, so the tunnel is over."""
    closing, other = await ends(gateway, first)
    closing.writer.write(MUCH)
    closing.close()
    assert await other.rest() == MUCH
    other.close()
    assert [told.status for told in await gateway.finished()] == [101]


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_writing_to_a_side_that_has_closed_ends_the_tunnel(
    gateway: Gateway, first: str
) -> None:
    """Item 98: the writer learns that its bytes are not read."""
    closing, other = await ends(gateway, first)
    await closing.leave()
    assert await other.rest() == b""
    other.writer.write(MUCH)
    await other.gone()
    await gateway.finished()


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_reset_on_one_side_ends_the_other(gateway: Gateway, first: str) -> None:
    """Item 99: at once; there is nothing left to wait for."""
    breaking, other = await ends(gateway, first)
    await breaking.send(b"half a fra")
    assert await other.exactly(10) == b"half a fra"
    breaking.reset()
    assert await other.gone() == b""
    await gateway.finished()


async def test_a_client_disconnect_before_the_101_ends_the_handshake(
    gateway: Gateway,
) -> None:
    """Item 117: no tunnel is opened without a client."""
    client, peer, _ = await gateway.asked(ASKING)
    client.reset()
    assert await peer.gone() == b""
    assert [told.status for told in await gateway.finished()] == [499]


async def test_an_upstream_disconnect_before_the_101_is_502(gateway: Gateway) -> None:
    """Item 95: early bytes of the client are not taken for a request."""
    client, peer, _ = await gateway.asked(ASKING)
    peer.close()
    assert status(await client.head()) == 502


@pytest.mark.parametrize("cut", range(1, len(SWITCHED), 7))
async def test_a_truncated_101_is_502(gateway: Gateway, cut: int) -> None:
    """Item 95: a part of it opens no tunnel."""
    client, peer, _ = await gateway.asked(ASKING)
    await peer.send(SWITCHED[:cut])
    peer.close()
    assert status(await client.head()) == 502


async def test_the_connections_of_a_tunnel_are_not_reused(gateway: Gateway) -> None:
    """Item 95: on neither side; the upstream connection does not return to the pool."""
    client, peer = await tunnelled(gateway)
    peer.half_close()
    client.half_close()
    await client.gone()
    await gateway.finished()
    other, second, _ = await gateway.asked(ASKING)
    assert second is not peer
    await second.send(SWITCHED)
    assert status(await other.head()) == 101


async def test_a_silent_tunnel_ends_at_its_own_limit() -> None:
    """Item 102: long after a request would have; a busy tunnel has no limit."""
    async with RawUpstream() as server:
        upstream = UpstreamPool(
            Origin.from_url(f"http://127.0.0.1:{server.port}/x"),
            connect_timeout_seconds=5,
            idle_timeout_seconds=1,
            tls=None,
        )
        wire = await upstream.acquire()
        wire.start_request(
            b"asking",
            is_head_request=False,
            asks_upgrade=True,
            is_complete=True,
            on_interim=lambda _head: None,
        )
        await (await server.accept()).send(SWITCHED)
        await wire.response.receive_head()
        far_end = FarEnd()
        wire.switch_protocols(far_end)
        upstream.close_expired(wire.last_activity_at + TUNNEL_IDLE_SECONDS - 1)
        assert upstream.connection_count == 1
        upstream.close_expired(wire.last_activity_at + TUNNEL_IDLE_SECONDS + 1)
        assert upstream.connection_count == 0
        await asyncio.wait_for(far_end.over.wait(), 5)


class FarEnd:
    """The client's side of a tunnel that only notes that it was lost."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take nothing."""

    def eof_received(self) -> bool:
        """Keep the connection."""
        return True

    def connection_lost(self, *, is_clean: bool) -> None:
        """Note it."""
        del is_clean
        self.over.set()


async def test_the_idle_limit_of_requests_does_not_apply_to_tunnels(
    tmp_path: Path,
) -> None:
    """Item 102: an agent may be silent for longer than an upstream."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.2") as gateway:
        client, peer = await tunnelled(gateway)
        other, silent, _ = await gateway.asked(ASKING)
        assert status(await other.head()) == 504  # so the limit has passed
        assert await silent.gone() == b""
        await peer.send(b"still here")
        assert await client.exactly(10) == b"still here"


ENDINGS = [
    "client ends",
    "upstream ends",
    "client resets",
    "upstream resets",
    "refused",
]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_tunnels_leak_no_task_and_no_descriptor(
    tmp_path: Path, ending: str
) -> None:
    """Item 99: fifty, one after the other, with every kind of ending."""
    async with running(tmp_path) as gateway:
        gc.collect()
        async with nothing_left_behind():
            for count in range(1, 51):
                client, peer, _ = await gateway.asked(ASKING)
                if ending == "refused":
                    await peer.send(b"HTTP/1.1 426 No\r\nConnection: close\r\n\r\n")
                    peer.close()
                else:
                    await peer.send(SWITCHED + b"x")
                await client.head()
                first, other = client, peer
                if ending.startswith("upstream"):
                    first, other = peer, client
                first.reset() if ending.endswith("resets") else first.close()
                await other.gone()
                await other.leave()
                await first.leave()
                await gateway.finished(count)


async def test_open_tunnels_stay_open_while_the_service_drains(
    tmp_path: Path, canary: Canary
) -> None:
    """After SIGTERM: bytes pass in both directions, and the last close ends the
    process.
    """
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port) as process,
    ):
        client = await process.client()
        peer = await opened(client, upstream)
        idle = await process.client()
        process.served.terminate()
        await process.served.wait_for("service.stopping")
        assert await idle.gone() == b""
        await client.send(b"question")
        assert await peer.exactly(8) == b"question"
        await peer.send(b"answer")
        assert await client.exactly(6) == b"answer"
        client.half_close()
        peer.half_close()
        assert await client.gone() == b""
        assert await process.served.ended() == 0
        await client.leave()
        await idle.leave()


async def test_a_tunnel_that_stays_open_is_closed_after_the_drain(
    tmp_path: Path, canary: Canary
) -> None:
    """On both sides; the process ends with its normal exit code."""
    async with (
        RawUpstream() as upstream,
        daemon(tmp_path, canary, upstream.port, drain_seconds=0.2) as process,
    ):
        client = await process.client()
        peer = await opened(client, upstream)
        process.served.terminate()
        assert await client.gone() == b""
        assert await peer.gone() == b""
        assert await process.served.ended() == 0
        stopped = await process.served.wait_for("service.stopped")
        assert stopped["aborted"] == 1
        await client.leave()
