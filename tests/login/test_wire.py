"""How the token is sent: one write on a connection that dies with its process."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.login.faults import needs_strace
from tests.login.http1 import Connection
from tests.login.lab import Turn
from tests.login.namespaces import Namespace, needs_namespaces, own_network
from tests.login.processes import end, passed, reached, until
from tests.login.world import World

NAIVE = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"POST /oauth/token HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 90\\r\\n\\r\\n" + b'{"refresh_token": "rt"}'.ljust(90))
time.sleep(60)
"""


@asynccontextmanager
async def partitioned(world: World) -> AsyncIterator[Namespace]:
    """Move the authority into a network of its own, and commands with it."""
    async with own_network() as network:
        await world.authority.server.stop()
        await world.authority.server.start(network.listen())
        world.prefix = network.prefix
        try:
            yield network
        finally:
            world.prefix = ()
            await world.authority.server.stop()


async def lost(network: Namespace) -> None:
    """Return once a packet with data was lost; then cut the network in two."""
    deadline = time.monotonic() + 20
    while not await network.lost_packets():
        assert time.monotonic() < deadline, "nothing was sent"
        await asyncio.sleep(0.02)


@needs_namespaces
async def test_the_lab_sees_what_a_naive_client_leaves_behind(world: World) -> None:
    """A control: a plain socket's data arrives seconds after its process was killed."""
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        process = await asyncio.create_subprocess_exec(
            *network.prefix, sys.executable, "-c", NAIVE, str(port)
        )
        await lost(network)
        await network.cut(port)
        process.kill()
        await process.wait()
        await passed(2)
        await network.mend()
        await until(lambda: bool(world.authority.calls), "delivered late", seconds=10)


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_command_that_dies_in_a_partition_leaves_nothing_behind(
    world: World, number: signal.Signals
) -> None:
    """Nothing arrives after the heal; the login is as it was, and works."""
    family = world.log_in(ttl=-5)
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        process = await world.launcher().start("token", authority_timeout_seconds=2)
        try:
            await lost(network)
            await network.cut(port)
            process.send_signal(number)
            if number is not signal.SIGKILL:
                with suppress(TimeoutError):
                    async with asyncio.timeout(8):
                        await process.wait()
        finally:
            await end(process)
        await passed(2)
        await network.mend()
        await passed(9)
        assert not world.authority.calls, "the token arrived after its process had died"
        finished = await world.run("token", patience=60)
        if finished.code != 0:
            await passed(10)
            finished = await world.run("token", patience=60)
        assert finished.code == 0, finished
        assert family.is_alive
        assert world.authority.reuses == 0


@needs_namespaces
async def test_a_daemon_that_is_killed_in_a_partition_leaves_nothing_behind(
    world: World,
) -> None:
    """The same with `bearerd serve`, which refreshes by itself in the background."""
    family = world.log_in(ttl=40)
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        daemon = await world.serve()
        await lost(network)
        await network.cut(port)
        await daemon.kill()
        await passed(2)
        await network.mend()
        await passed(9)
        assert not world.authority.calls, "the token arrived after its process had died"
        daemon = await world.serve(refresh_interval_seconds=1)
        await until(lambda: bool(world.authority.calls), "refreshed", seconds=60)
        await until(lambda: world.stored_refresh_token() == family.live_token, "stored")
        assert family.is_alive
        assert world.authority.reuses == 0


@needs_namespaces
async def test_a_daemon_lives_through_a_partition(world: World) -> None:
    """The request is lost, the network heals: one presentation, wherever it comes from."""
    family = world.log_in(ttl=60)
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        daemon = await world.serve(
            authority_timeout_seconds=2, refresh_interval_seconds=1
        )
        await lost(network)
        await network.cut(port)
        await passed(8)
        await network.mend()
        await until(lambda: bool(world.authority.calls), "refreshed", seconds=90)
        await until(lambda: world.stored_refresh_token() == family.live_token, "stored")
        await passed(5)
        assert not daemon.has_ended
        world.assert_kept(family, calls=1)


@needs_namespaces
@pytest.mark.parametrize("seconds", [8, 40])
async def test_a_response_that_waits_behind_a_partition_is_taken(
    world: World, seconds: int
) -> None:
    """The request arrived, the grant is under way when the network is cut: it lands."""
    family = world.log_in(ttl=100)
    async with partitioned(world) as network:
        port = world.authority.server.port
        gate = asyncio.Event()

        async def scene(turn: Turn) -> None:
            granted = turn.spend()
            await gate.wait()
            await turn.answer(granted)

        world.authority.scenes.append(scene)
        daemon = await world.serve(
            authority_timeout_seconds=2, refresh_interval_seconds=1
        )
        await until(lambda: bool(world.authority.calls), "the call")
        await asyncio.sleep(0.3)
        await network.cut(port)
        gate.set()
        await passed(seconds)
        await network.mend()
        await until(
            lambda: (
                world.stored_refresh_token() == family.live_token
                or len(world.authority.calls) > 1
            ),
            "stored",
            seconds=90,
        )
        assert not daemon.has_ended
        world.assert_kept(family, calls=1)


@needs_strace
async def test_the_token_is_sent_in_one_write_on_a_guarded_socket(
    world: World, tmp_path: Path
) -> None:
    """One refresh: the options are set before the one write of the request."""
    world.log_in(ttl=-5)
    trace = tmp_path / "trace"
    calls = "connect,setsockopt,sendto,sendmsg,write,writev,close"
    world.prefix = ("strace", "-f", "-yy", "-s", "20", "-o", str(trace), "-e")
    world.prefix = (*world.prefix, f"trace={calls}")
    finished = await world.run("token", patience=60)
    assert finished.code == 0, finished
    port = world.authority.server.port
    lines = [line for line in trace.read_text().splitlines() if f":{port}" in line]
    writes = [
        line
        for line in lines
        if re.search(r"(sendto|sendmsg|write|writev)\(", line) and "= -1" not in line
    ]
    assert len(writes) == 1, writes
    before = "\n".join(lines[: lines.index(writes[0])])
    assert "SO_LINGER" in before, before
    assert "TCP_USER_TIMEOUT" in before, before
    shown = "\n".join(line for line in lines if "setsockopt" in line)
    assert "l_onoff=1, l_linger=0" in shown, shown


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for loopback. Return it, and a server's context with it."""
    pem, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(pem)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return pem, context


async def test_a_tls_handshake_that_ends_after_the_patience(
    world: World, tmp_path: Path
) -> None:
    """TLS is up seconds after the caller's patience: the token is presented once at most."""
    family = world.log_in()
    pem, context = certificate(tmp_path)
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await gate.wait()
            await writer.start_tls(context)
            connection = Connection(reader, writer)
            if (request := await connection.read_request()) is not None:
                await world.authority._handle(request, connection)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(
        slow, sock=socket.create_server(("127.0.0.1", 0))
    )
    port = server.sockets[0].getsockname()[1]
    daemon = await world.serve(
        authority_timeout_seconds=1,
        refresh_interval_seconds=1,
        token_url=f"https://127.0.0.1:{port}/oauth/token",
        ca_file=pem,
    )
    world.authority.revoke_access_tokens()
    began = time.monotonic()
    while time.monotonic() - began < 4:
        reply = await daemon.ask()
        assert reply.status == 503, reply
        await asyncio.sleep(0.1)
    gate.set()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=20)
    await daemon.stop()
    server.close()
    world.assert_kept(family, calls=1)
