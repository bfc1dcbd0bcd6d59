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
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.login.clocks import needs_compiler
from tests.login.faults import needs_strace
from tests.login.http1 import Connection
from tests.login.lab import grants_after
from tests.login.namespaces import Namespace, needs_namespaces, own_network
from tests.login.processes import Reply, end, passed, reached, until
from tests.login.world import World

NAIVE = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"POST /oauth/token HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 90\\r\\n\\r\\n" + b'{"refresh_token": "naive"}'.ljust(90))
print("sent", flush=True)
time.sleep(60)
"""


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


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
    """Return once a packet with data was lost."""
    deadline = time.monotonic() + 20
    while not await network.lost_packets():
        assert time.monotonic() < deadline, "nothing was sent"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def naive_client(world: World, network: Namespace) -> AsyncIterator[None]:
    """Have a request sent by a plain socket, and kill its process at the end.

    It is the control: what its kernel still delivers, a careful client must not.
    """
    port = world.authority.server.port
    process = await asyncio.create_subprocess_exec(
        *network.prefix,
        *(sys.executable, "-c", NAIVE, str(port)),
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"sent\n"
        yield
    finally:
        await end(process)


def naive_calls(world: World) -> int:
    """Return how many requests of a naive client have arrived."""
    return sum(call.token == "naive" for call in world.authority.calls)


async def delivered_late(world: World) -> None:
    """Return once the naive client's data has arrived, and some time after that."""
    await until(lambda: naive_calls(world) == 1, "delivered late", seconds=15)
    await passed(2)


@needs_namespaces
async def test_a_command_that_dies_in_a_partition_leaves_nothing_behind(
    world: World,
) -> None:
    """After the heal the naive client's token arrives, and bearerd's does not."""
    family = world.log_in(ttl=-5)
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        process = await world.launcher().start("token", authority_timeout_seconds=2)
        try:
            await lost(network)
            async with naive_client(world, network):
                await network.cut(port)
        finally:
            await end(process)
        await network.mend()
        await delivered_late(world)
        assert len(world.authority.calls) == 1, "the token arrived after the kill"
        finished = await world.run("token", patience=60)
        assert finished.code == 0, finished
        assert family.is_alive
        assert world.authority.reuses == 0


@needs_namespaces
async def test_a_daemon_lives_through_a_partition(world: World) -> None:
    """The request is lost, the network heals: one presentation, and it is stored."""
    family = world.log_in(ttl=60, age=3500)
    async with partitioned(world) as network:
        port = world.authority.server.port
        await network.lose_data_to(port)
        daemon = await world.serve(
            authority_timeout_seconds=2, refresh_interval_seconds=1
        )
        await lost(network)
        await network.cut(port)
        await passed(3)
        await network.mend()
        await until(lambda: bool(world.authority.calls), "refreshed", seconds=60)
        await until(lambda: world.stored_refresh_token() == family.live_token, "stored")
        await passed(1)
        assert not daemon.has_ended
        world.assert_kept(family, calls=1)


@needs_namespaces
async def test_a_response_that_waits_behind_a_partition_is_taken(world: World) -> None:
    """The request arrived, and the network is cut for longer than data may be unanswered."""
    family, gate = world.log_in(ttl=100, age=3500), asyncio.Event()
    async with partitioned(world) as network:
        port = world.authority.server.port
        world.authority.scenes.append(grants_after(gate))
        daemon = await world.serve(
            authority_timeout_seconds=2, refresh_interval_seconds=1
        )
        await until(lambda: bool(world.authority.calls), "the call")
        await passed(0.3)
        await network.cut(port)
        gate.set()
        await passed(12)
        await network.mend()
        await until(
            lambda: (
                world.stored_refresh_token() == family.live_token
                or len(world.authority.calls) > 1
            ),
            "stored",
            seconds=60,
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
    sent = SentBytes.of(trace.read_text(), world.authority.server.port)
    assert len(sent.writes) == 1, sent.writes
    assert "{l_onoff=1, l_linger=0}" in sent.options, sent.options
    assert "TCP_USER_TIMEOUT" in sent.options, sent.options


@dataclass(frozen=True, slots=True)
class SentBytes:
    """What a trace has of one connection: its writes, and the options before them."""

    writes: list[str]
    options: str

    @classmethod
    def of(cls, trace: str, port: int) -> Self:
        """Read the trace of a process that made one connection to *port*."""
        lines = trace.splitlines()
        pattern = rf"(?:sendto|sendmsg|writev?)\((\d+)<.*->127\.0\.0\.1:{port}\]>"
        found = [
            (number, match[1])
            for number, line in enumerate(lines)
            if (match := re.search(pattern, line)) and "= -1" not in line
        ]
        first, descriptor = found[0]
        options = [
            line for line in lines[:first] if f"setsockopt({descriptor}<" in line
        ]
        return cls([lines[number] for number, _ in found], "\n".join(options))


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


class SlowTls:
    """An `https://` front of the authority, whose handshakes wait for `gate`.

    `requests` has the number of requests on each connection, in their order.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.gate = asyncio.Event()
        self.requests: list[int] = []
        self._world = world
        self.ca_file, self._context = certificate(folder)
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen inside the block."""
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{sock.getsockname()[1]}/oauth/token"
        server = await asyncio.start_server(self._serve, sock=sock)
        try:
            yield self
        finally:
            server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        number = len(self.requests)
        self.requests.append(0)
        try:
            await self.gate.wait()
            await writer.start_tls(self._context)
            connection = Connection(reader, writer)
            if (request := await connection.read_request()) is not None:
                self.requests[number] += 1
                await self._world.authority._handle(request, connection)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def test_a_tls_handshake_that_ends_after_the_patience(
    world: World, tmp_path: Path
) -> None:
    """TLS is up seconds after the caller's patience: the token is presented once at most."""
    family = world.log_in()
    async with SlowTls(world, tmp_path).listening() as front:
        daemon = await world.serve(
            authority_timeout_seconds=1,
            refresh_interval_seconds=1,
            token_url=front.url,
            ca_file=front.ca_file,
        )
        world.authority.revoke_access_tokens()
        for _ in range(3):
            reply = await daemon.ask()
            assert (reply.status, reply.code) == (503, "authority_unavailable"), reply
        front.gate.set()
        await reached(daemon.ask, is_served, "served", seconds=20)
        await daemon.stop()
    world.assert_kept(family, calls=1)


@needs_compiler
async def test_a_process_that_was_stopped_before_it_sent_sends_nothing(
    world: World, tmp_path: Path
) -> None:
    """SIGSTOP between the connect and the send: what it is about is decided anew."""
    clock = world.live_by(20)
    family = world.log_in()
    async with SlowTls(world, tmp_path).listening() as front:
        daemon = await world.serve(
            authority_timeout_seconds=100,
            refresh_interval_seconds=1,
            token_url=front.url,
            ca_file=front.ca_file,
        )
        world.authority.revoke_access_tokens()
        asking = asyncio.create_task(daemon.ask())
        await until(lambda: len(front.requests) == 1, "connected")
        daemon.signal(signal.SIGSTOP)
        front.gate.set()
        end_of_stop = clock.now() + 60
        await until(lambda: clock.now() > end_of_stop, "a minute")
        daemon.signal(signal.SIGCONT)
        await asking
        await reached(daemon.ask, is_served, "served", seconds=20)
        await daemon.stop()
        assert front.requests[0] == 0
    world.assert_kept(family, calls=1)
