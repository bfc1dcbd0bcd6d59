"""A tunnel between two real sockets: what passes, and the five ways it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from bearerd.errors import UpstreamTimeout
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.tunnel import Tunnel
from bearerd.relay.upstream.connection_state import ConnectionState
from tests.relay.upstream.ends import Ends
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream

SWITCHING = b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class Client:
    """The client's connection, as a tunnel needs it, on a real transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport: asyncio.Transport | None = transport
        self.flow = FlowControl(self)
        self.is_paused = False
        self.tunnel: Tunnel | None = None

    def start_tunnel(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Stage:
    """A tunnel under way: the peers at both ends, and what lies between."""

    def __init__(self, client: Client, client_peer: Peer, upstream: Ends) -> None:
        self.client = client
        self.client_peer = client_peer
        self.connection = upstream.connection
        self.upstream_peer = upstream.peer
        self.tunnel = Tunnel(client, upstream.connection)
        self.relaying = asyncio.create_task(self.tunnel.relay_until_closed())

    async def finish(self) -> None:
        """Return when the tunnel has ended."""
        await asyncio.wait_for(self.relaying, PATIENCE_SECONDS)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A tunnel that is open; `open` has been sent behind the 101."""
    async with RawUpstream() as front, RawUpstream() as server:
        client_peer = await Peer.connect(front.port)
        transport = (await front.accept()).writer.transport
        upstream = Ends()
        await upstream.connect(server)
        await upstream.start_request(asks_upgrade=True)
        await upstream.peer.send(SWITCHING + b"open")
        await upstream.connection.response.receive_head()
        client = Client(cast("asyncio.Transport", transport))
        stage = Stage(client, client_peer, upstream)
        assert await client_peer.exactly(4) == b"open"
        yield stage
        stage.relaying.cancel()
        await asyncio.wait([stage.relaying])
        await client_peer.leave()


async def test_bytes_pass_both_ways(stage: Stage) -> None:
    """Those that came behind the 101 first."""
    await stage.upstream_peer.send(b"\x00\xff")
    assert await stage.client_peer.exactly(2) == b"\x00\xff"
    assert stage.tunnel.feed_data(b"\x01\xfe") == (False, b"")
    assert await stage.upstream_peer.exactly(2) == b"\x01\xfe"
    assert repr(stage.tunnel) == "<Tunnel OPEN>"
    assert stage.connection.state is ConnectionState.TUNNEL


async def test_a_peer_that_takes_nothing_pauses_the_other(stage: Stage) -> None:
    """Both ways, until the tunnel has ended."""
    shown: list[tuple[bool, bool]] = []
    for change in (
        stage.client.flow.pause_writing,
        stage.connection.flow.pause_writing,
        stage.client.flow.resume_writing,
        stage.connection.flow.resume_writing,
    ):
        change()
        is_upstream_paused = stage.connection.flow.is_reading_paused
        shown.append((is_upstream_paused, stage.client.is_paused))
    assert shown == [(True, False), (True, True), (False, True), (False, False)]


async def test_1_the_client_ends_first_and_the_upstream_goes_on(stage: Stage) -> None:
    """Both halves end, and what was sent before each end arrives."""
    stage.tunnel.feed_data(b"last")
    assert stage.tunnel.client_ended()
    assert repr(stage.tunnel) == "<Tunnel CLIENT_ENDED>"
    assert await stage.upstream_peer.rest() == b"last"
    await stage.upstream_peer.send(b"response")
    stage.upstream_peer.half_close()
    await stage.finish()
    assert await stage.client_peer.rest() == b"response"
    assert repr(stage.tunnel) == "<Tunnel CLOSED>"


async def test_1_the_upstream_ends_first_and_the_client_goes_on(stage: Stage) -> None:
    """The same the other way round."""
    await stage.upstream_peer.send(b"last")
    stage.upstream_peer.half_close()
    assert await stage.client_peer.rest() == b"last"
    assert repr(stage.tunnel) == "<Tunnel UPSTREAM_ENDED>"
    stage.tunnel.feed_data(b"request")
    stage.tunnel.client_ended()
    await stage.finish()
    assert await stage.upstream_peer.rest() == b"request"
    assert repr(stage.tunnel) == "<Tunnel CLOSED>"


async def test_2_a_clean_loss_of_the_upstream_leaves_the_client_its_bytes(
    stage: Stage,
) -> None:
    """As TLS ends: the client's connection is the handler's to close."""
    await stage.upstream_peer.send(b"last")
    assert await stage.client_peer.exactly(4) == b"last"
    stage.tunnel.connection_lost(is_clean=True)
    await stage.finish()
    assert repr(stage.tunnel) == "<Tunnel CLOSED>"
    assert stage.client.transport is not None
    assert not stage.client.transport.is_closing()


async def test_3_a_reset_of_the_upstream_resets_the_client(stage: Stage) -> None:
    """It must not take a part for the whole."""
    stage.upstream_peer.reset()
    await stage.finish()
    assert repr(stage.tunnel) == "<Tunnel BROKEN>"
    assert await stage.client_peer.gone() == b""


async def test_3_a_tunnel_that_the_pool_aborts_is_broken(stage: Stage) -> None:
    """After a long silence."""
    stage.connection.abort(UpstreamTimeout("silent"))
    await stage.finish()
    assert repr(stage.tunnel) == "<Tunnel BROKEN>"
    assert await stage.client_peer.gone() == b""
    assert await stage.upstream_peer.gone() == b""


async def test_4_and_5_a_cancelled_tunnel_aborts_both_sides(stage: Stage) -> None:
    """The client was lost, or the service stops."""
    stage.tunnel.feed_eof()
    stage.relaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.finish()
    assert repr(stage.tunnel) == "<Tunnel BROKEN>"
    assert await stage.client_peer.gone() == b""
    assert await stage.upstream_peer.gone() == b""
    assert stage.connection.state is ConnectionState.CLOSED


async def test_what_comes_after_the_end_changes_nothing(stage: Stage) -> None:
    """The first ending stands: a closed tunnel is not broken by what follows."""
    stage.tunnel.client_ended()
    stage.upstream_peer.half_close()
    await stage.finish()
    stage.tunnel.connection_lost(is_clean=False)
    stage.tunnel.feed_data(b"late")
    stage.tunnel.client_ended()
    assert repr(stage.tunnel) == "<Tunnel CLOSED>"
    assert await stage.upstream_peer.gone() == b""
