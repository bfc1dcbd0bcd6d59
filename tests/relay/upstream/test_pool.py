"""The pool of upstream connections: which one is used again, and which is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bearerd.errors import UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.connection_state import ConnectionState
from bearerd.relay.upstream.cookies import CookieJar
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import IDLE_SECONDS, TUNNEL_IDLE_SECONDS, UpstreamPool
from tests.wire.peers import RawUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

IDLE_TIMEOUT, FIRST_BYTE_TIMEOUT = 300, 60


def pool(port: int) -> UpstreamPool:
    """Return a pool for a loopback port."""
    return UpstreamPool(
        Origin.from_url(f"http://127.0.0.1:{port}"),
        connect_timeout_seconds=5,
        idle_timeout_seconds=IDLE_TIMEOUT,
        first_byte_timeout_seconds=FIRST_BYTE_TIMEOUT,
        tls=None,
    )


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    """An upstream that does nothing by itself."""
    async with RawUpstream() as running:
        yield running


@pytest.fixture
async def upstream(server: RawUpstream) -> AsyncIterator[UpstreamPool]:
    """A pool of connections to it."""
    made = pool(server.port)
    yield made
    made.close_connections()
    assert made.connection_count == 0


def start(connection: UpstreamConnection, *, asks_upgrade: bool = False) -> None:
    """Send a request that has no body."""
    connection.start_request(
        b"GET / HTTP/1.1\r\n\r\n",
        is_head_request=False,
        asks_upgrade=asks_upgrade,
        is_complete=True,
        on_interim=lambda _head: None,
    )


async def used(
    upstream: UpstreamPool, server: RawUpstream, count: int
) -> list[UpstreamConnection]:
    """Return idle connections that have carried a request, the newest idle one last."""
    connections = [await upstream.acquire(must_be_new=True) for _ in range(count)]
    for connection in connections:
        start(connection)
        peer = await server.accept()
        await peer.head()
        await peer.send(OK)
        await connection.response.receive_head()
        connection.release()
    return connections


async def test_the_newest_idle_connection_is_used_first(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """So that the others age and are closed."""
    first, second, third = await used(upstream, server, 3)
    assert await upstream.acquire() is third
    assert await upstream.acquire() is second
    assert await upstream.acquire() is first
    assert await upstream.acquire() not in {first, second, third}
    assert upstream.connection_count == 4


async def test_a_new_connection_can_be_asked_for(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """While there are idle ones."""
    (idle,) = await used(upstream, server, 1)
    assert await upstream.acquire(must_be_new=True) is not idle
    assert await upstream.acquire() is idle


async def test_a_connection_that_the_upstream_has_closed_is_not_used_again(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """Even if the event loop has not read the end yet."""
    first, second = await used(upstream, server, 2)
    server.peers[1].close()
    await server.peers[1].writer.wait_closed()
    assert await upstream.acquire() is first
    assert second.state is ConnectionState.CLOSED


async def test_a_connection_with_unread_bytes_is_not_used_again(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """They would be taken for the response to the next request."""
    (idle,) = await used(upstream, server, 1)
    await server.peers[0].send(OK)
    assert await upstream.acquire() is not idle
    assert await server.peers[0].gone() == b""


async def test_a_connection_that_was_idle_too_long_is_closed(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """One that became idle later stays."""
    old, young = await used(upstream, server, 2)
    gap = young.last_activity_at - old.last_activity_at
    assert gap > 0
    upstream.close_expired(old.last_activity_at + IDLE_SECONDS)
    assert upstream.connection_count == 2
    upstream.close_expired(old.last_activity_at + IDLE_SECONDS + gap / 2)
    assert upstream.connection_count == 1
    assert await upstream.acquire() is young
    assert await server.peers[0].gone() == b""


async def test_an_upstream_that_sends_no_first_byte_is_a_timeout(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """By the limit for the first byte; the call that waits raises."""
    connection = await upstream.acquire()
    start(connection)
    peer = await server.accept()
    await peer.head()
    upstream.close_expired(connection.last_activity_at + FIRST_BYTE_TIMEOUT - 1)
    assert upstream.connection_count == 1
    upstream.close_expired(connection.last_activity_at + FIRST_BYTE_TIMEOUT + 1)
    with pytest.raises(UpstreamTimeout, match="silent for 60 seconds"):
        await connection.response.receive_head()
    assert await peer.gone() == b""


async def test_an_upstream_that_falls_silent_in_mid_response_is_a_timeout(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """By the limit between bytes."""
    connection = await upstream.acquire()
    start(connection)
    await (await server.accept()).send(OK.replace(b": 0", b": 1"))
    await connection.response.receive_head()
    upstream.close_expired(connection.last_activity_at + IDLE_TIMEOUT - 1)
    assert upstream.connection_count == 1
    upstream.close_expired(connection.last_activity_at + IDLE_TIMEOUT + 1)
    with pytest.raises(UpstreamTimeout, match="silent for 300 seconds"):
        await connection.response.wait_complete()


class IgnoringPeer:
    """A tunnel's other end that takes nothing."""

    def data_received(self, data: bytes) -> None:
        raise AssertionError(data)

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, *, is_clean: bool) -> None:
        assert not is_clean


async def test_a_silent_tunnel_is_closed_at_its_own_limit(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """Long after a request would have been."""
    connection = await upstream.acquire()
    start(connection, asks_upgrade=True)
    await (await server.accept()).send(SWITCHING)
    await connection.response.receive_head()
    connection.switch_protocols(IgnoringPeer())
    upstream.close_expired(connection.last_activity_at + TUNNEL_IDLE_SECONDS - 1)
    assert connection.state is ConnectionState.TUNNEL
    upstream.close_expired(connection.last_activity_at + TUNNEL_IDLE_SECONDS + 1)
    assert upstream.connection_count == 0


async def test_a_slow_client_does_not_count_as_a_silent_upstream(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """While reading is paused, nothing can come."""
    connection = await upstream.acquire()
    start(connection)
    await (await server.accept()).head()
    connection.flow.pause_reading()
    upstream.close_expired(connection.last_activity_at + 10_000)
    assert upstream.connection_count == 1
    assert connection.state is ConnectionState.WAITING


async def test_expiry_runs_until_cancelled(upstream: UpstreamPool) -> None:
    """It never ends by itself."""
    expiring = asyncio.create_task(upstream.run_expiry())
    await asyncio.sleep(0)
    expiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await expiring


async def test_a_connection_that_cannot_be_opened_is_not_counted() -> None:
    """The pool holds open connections alone."""
    async with RawUpstream() as closed:
        port = closed.port
    upstream = pool(port)
    with pytest.raises(UpstreamUnreachable):
        await upstream.acquire()
    assert upstream.connection_count == 0


@pytest.mark.parametrize(
    ("scheme", "expected"), [("https", b"Cookie: __cf_bm=1\r\n"), ("http", b"")]
)
def test_cookies_are_kept_for_https_alone(scheme: str, expected: bytes) -> None:
    """Without TLS anybody on the way could read them."""
    upstream = UpstreamPool(
        Origin.from_url(f"{scheme}://up.example"),
        connect_timeout_seconds=5,
        idle_timeout_seconds=5,
        tls=None,
        cookies=CookieJar(lambda: 0),
    )
    upstream.store_cookies(
        ResponseHead(
            status=200,
            reason=b"OK",
            fields=((b"Set-Cookie", b"__cf_bm=1"),),
            length=0,
            is_chunked=False,
            has_body=True,
        )
    )
    assert upstream.cookie_line() == expected
