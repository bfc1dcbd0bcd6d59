"""Opening connections: TCP and TLS, their limits, and errors that say what failed."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bearerd.errors import UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.connection_state import ConnectionState
from bearerd.relay.upstream.connector import Connector
from bearerd.relay.upstream.origin import Origin
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    """An upstream that does nothing by itself."""
    async with RawUpstream() as running:
        yield running


async def connect(
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "localhost",
    tls_timeout_seconds: float = 5,
) -> UpstreamConnection:
    """Open a connection to a loopback port."""
    scheme = "http" if tls is None else "https"
    connector = Connector(
        Origin.from_url(f"{scheme}://{host}:{port}"),
        tls=tls,
        proxy=None,
        connect_timeout_seconds=5,
        tls_timeout_seconds=tls_timeout_seconds,
    )
    return await connector.connect(lambda _connection: None)


async def test_a_new_connection_takes_a_request(server: RawUpstream) -> None:
    """It is in the first state, and the upstream has it."""
    connection = await connect(server.port)
    await server.accept()
    assert connection.state is ConnectionState.NEW
    assert connection.is_available
    connection.abort()


async def test_a_port_that_refuses_is_unreachable_and_the_error_names_it() -> None:
    """Host, port and reason are what a person can act on."""
    async with RawUpstream() as closed:
        port = closed.port
    with pytest.raises(UpstreamUnreachable, match=f"localhost:{port}: "):
        await connect(port)


async def test_a_handshake_that_does_not_end_is_a_timeout(server: RawUpstream) -> None:
    """TLS has a limit of its own, and the error names it."""
    with pytest.raises(UpstreamTimeout, match=r"no TLS with .* within 0\.1 seconds"):
        await connect(
            server.port, tls=ssl.create_default_context(), tls_timeout_seconds=0.1
        )


async def test_an_upstream_without_tls_is_unreachable(server: RawUpstream) -> None:
    """Its bytes are not taken for a response."""
    connecting = asyncio.create_task(
        connect(server.port, tls=ssl.create_default_context())
    )
    await (await server.accept()).send(OK)
    with pytest.raises(UpstreamUnreachable):
        await connecting


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
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
    """An upstream behind TLS that responds once on each connection."""
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


async def test_an_untrusted_certificate_is_refused(tls_port: int) -> None:
    """The error names the setting that a TLS-inspecting proxy needs."""
    with pytest.raises(UpstreamUnreachable, match=r"certificate.*`ca_file`"):
        await connect(tls_port, tls=ssl.create_default_context())


async def test_a_certificate_for_another_name_is_refused(
    tls_port: int, certificate: tuple[Path, Path]
) -> None:
    """Even if it is trusted."""
    trusting = ssl.create_default_context(cafile=certificate[0])
    with pytest.raises(UpstreamUnreachable, match="certificate"):
        await connect(tls_port, tls=trusting, host="127.0.0.1")


async def test_a_trusted_certificate_is_accepted(
    tls_port: int, certificate: tuple[Path, Path]
) -> None:
    """The connection carries requests, and may be used again."""
    connection = await connect(
        tls_port, tls=ssl.create_default_context(cafile=certificate[0])
    )
    connection.start_request(
        b"GET / HTTP/1.1\r\n\r\n",
        is_head_request=False,
        asks_upgrade=False,
        is_complete=True,
        on_interim=lambda _head: None,
    )
    assert (await connection.response.receive_head()).status == 200
    connection.release()
    assert connection.is_available
    connection.abort()


async def test_bytes_that_come_with_the_handshake_make_no_connection(
    certificate: tuple[Path, Path],
) -> None:
    """In TLS 1.2 a server may send data right behind the end of the handshake."""
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
        trusting = ssl.create_default_context(cafile=certificate[0])
        with pytest.raises(UpstreamUnreachable, match="sent bytes, or closed, before"):
            await connect(port, tls=trusting)
        await asyncio.wait_for(is_served.wait(), PATIENCE_SECONDS)
