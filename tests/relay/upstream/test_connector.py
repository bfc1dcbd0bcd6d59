"""The pool of upstream connections: reuse, sweeping, and errors that say what failed."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bearerd.errors import UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.message import ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.pool import IDLE_SECONDS, Origin, UpstreamPool
from tests.wire.peers import Peer, RawUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://up.example/backend-api",
            Origin(True, "up.example", 443, b"/backend-api", b"up.example"),
        ),
        (
            "https://up.example:8443/a/",
            Origin(True, "up.example", 8443, b"/a", b"up.example:8443"),
        ),
        ("http://[::1]:80", Origin(False, "::1", 80, b"", b"[::1]:80")),
        ("http://127.0.0.1", Origin(False, "127.0.0.1", 80, b"", b"127.0.0.1")),
    ],
)
def test_an_origin_is_what_a_url_names(url: str, expected: Origin) -> None:
    """Scheme, host, port, base without a slash at its end, and the Host to send."""
    assert Origin.from_url(url) == expected


def pool(
    port: int, *, tls: ssl.SSLContext | None = None, connect: float = 5
) -> UpstreamPool:
    """Return a pool for a loopback port."""
    scheme = "http" if tls is None else "https"
    return UpstreamPool(
        Origin.from_url(f"{scheme}://localhost:{port}"),
        connect_timeout_seconds=connect,
        idle_timeout_seconds=300,
        tls=tls,
    )


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    """An upstream that does what a test says."""
    async with RawUpstream() as running:
        yield running


@pytest.fixture
async def upstream(server: RawUpstream) -> AsyncIterator[UpstreamPool]:
    """A pool of connections to it."""
    made = pool(server.port)
    yield made
    made.close_connections()
    assert made.connection_count == 0


def ignore(_head: ResponseHead) -> None:
    """Take an interim response."""


def start(connection: UpstreamConnection) -> None:
    """Send a request that has no body."""
    connection.start_request(
        b"GET / HTTP/1.1\r\n\r\n",
        is_head_request=False,
        asks_upgrade=False,
        is_complete=True,
        on_interim=ignore,
    )


async def used(
    upstream: UpstreamPool, server: RawUpstream, count: int
) -> list[UpstreamConnection]:
    """Return idle wires that have each carried a request, the newest idle one last."""
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


async def test_a_fresh_connection_can_be_asked_for(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """While there are idle ones."""
    (idle,) = await used(upstream, server, 1)
    assert await upstream.acquire(must_be_new=True) is not idle
    assert await upstream.acquire() is idle


async def test_a_connection_that_died_while_idle_is_passed_over(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """Even if the event loop has not told yet."""
    first, second = await used(upstream, server, 2)
    server.peers[1].close()
    await server.peers[1].writer.wait_closed()
    assert await upstream.acquire() is first
    assert not second.is_available


async def test_bytes_that_came_while_idle_end_a_connection(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """They would be taken for the response to what is asked next."""
    (idle,) = await used(upstream, server, 1)
    await server.peers[0].send(OK)
    assert await upstream.acquire() is not idle
    assert await server.peers[0].gone() == b""


async def test_what_has_been_idle_too_long_is_closed(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """And what has not, stays."""
    old, young = await used(upstream, server, 2)
    young.last_activity_at = old.last_activity_at + 5
    upstream.close_expired(old.last_activity_at + IDLE_SECONDS - 1)
    assert upstream.connection_count == 2
    upstream.close_expired(old.last_activity_at + IDLE_SECONDS + 1)
    assert upstream.connection_count == 1
    assert await upstream.acquire() is young
    assert await server.peers[0].gone() == b""


async def test_an_upstream_that_is_silent_too_long_is_given_up(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """Whoever waits is told so."""
    connection = await upstream.acquire()
    start(connection)
    peer = await server.accept()
    await peer.head()
    upstream.close_expired(connection.last_activity_at + 299)
    assert upstream.connection_count == 1
    upstream.close_expired(connection.last_activity_at + 301)
    with pytest.raises(UpstreamTimeout, match="silent for 300 seconds"):
        await connection.response.receive_head()
    assert await peer.gone() == b""


async def test_a_slow_client_is_no_silent_upstream(
    upstream: UpstreamPool, server: RawUpstream
) -> None:
    """While we ourselves do not read, nothing can come."""
    connection = await upstream.acquire()
    start(connection)
    await (await server.accept()).head()
    connection.flow.pause_reading()
    upstream.close_expired(connection.last_activity_at + 10_000)
    assert upstream.connection_count == 1
    assert connection.is_available is False


async def test_sweeping_runs_until_cancelled(upstream: UpstreamPool) -> None:
    """It never ends by itself."""
    sweeping = asyncio.create_task(upstream.run_expiry())
    await asyncio.sleep(0)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping


async def test_a_refused_connection_is_unreachable_and_says_where() -> None:
    """A person can act on host, port and reason."""
    async with RawUpstream() as gone:
        port = gone.port
    with pytest.raises(UpstreamUnreachable, match=f"localhost:{port}"):
        await pool(port).acquire()


async def test_a_handshake_that_does_not_end_is_a_timeout(server: RawUpstream) -> None:
    """It took the connection and then said nothing."""
    upstream = pool(server.port, tls=ssl.create_default_context(), connect=0.1)
    with pytest.raises(UpstreamTimeout, match=r"within 0\.1 seconds"):
        await upstream.acquire()
    assert upstream.connection_count == 0


async def test_an_upstream_that_speaks_no_tls_is_unreachable(
    server: RawUpstream,
) -> None:
    """Its bytes are not taken for a response."""
    upstream = pool(server.port, tls=ssl.create_default_context())
    connecting = asyncio.create_task(upstream.acquire())
    await (await server.accept()).send(OK)
    with pytest.raises(UpstreamUnreachable):
        await connecting


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody has signed but itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(key), "-out", str(pem)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return pem, key


@pytest.fixture
async def tls_port(certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """An upstream behind TLS that answers each connection once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    peers: list[Peer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(Peer(reader, writer))
        await peers[-1].head()
        await peers[-1].send(OK)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for peer in peers:
        await peer.leave()
    await server.wait_closed()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_port: int) -> None:
    """And the message names the setting that a TLS-inspecting proxy needs."""
    upstream = pool(tls_port, tls=ssl.create_default_context())
    with pytest.raises(UpstreamUnreachable, match=r"certificate.*`ca_file`"):
        await upstream.acquire()
    assert upstream.connection_count == 0


async def test_a_certificate_for_another_name_is_refused(
    tls_port: int, certificate: tuple[Path, Path]
) -> None:
    """Whoever vouches for it."""
    upstream = UpstreamPool(
        Origin.from_url(f"https://127.0.0.1:{tls_port}"),
        connect_timeout_seconds=5,
        idle_timeout_seconds=300,
        tls=ssl.create_default_context(cafile=certificate[0]),
    )
    with pytest.raises(UpstreamUnreachable, match="certificate"):
        await upstream.acquire()


async def test_a_certificate_that_is_vouched_for_is_good(
    tls_port: int, certificate: tuple[Path, Path]
) -> None:
    """And the connection carries requests."""
    upstream = pool(tls_port, tls=ssl.create_default_context(cafile=certificate[0]))
    connection = await upstream.acquire()
    start(connection)
    assert (await connection.response.receive_head()).status == 200
    connection.release()
    assert await upstream.acquire() is connection
    upstream.close_connections()


async def test_bytes_right_behind_the_handshake_are_no_connection(
    certificate: tuple[Path, Path],
) -> None:
    """TLS 1.2 lets a server send its first data with the end of the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(4096))
        tls.write(OK)
        writer.write(outgoing.read())
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()
        is_served.set()

    is_served = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        upstream = pool(port, tls=ssl.create_default_context(cafile=certificate[0]))
        with pytest.raises(UpstreamUnreachable, match=f"localhost:{port}"):
            await upstream.acquire()
        assert upstream.connection_count == 0
        await asyncio.wait_for(is_served.wait(), 5)
