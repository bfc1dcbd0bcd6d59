"""A connection that carries one call, and sends nothing that is no longer wanted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import CallFailed, CallStage
from bearerd.credential.authority.single_use import (
    LINGER_OFF,
    SendCheck,
    bind_check,
    open_session,
)
from tests.credential.stand_ins import MARK, soon

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Records what each connection sends, segment by segment, and responds `{}`."""

    def __init__(self) -> None:
        self.connections: list[list[bytes]] = []
        self.url = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read until the peer ends or a request with a body is whole."""
        segments: list[bytes] = []
        self.connections.append(segments)
        with suppress(ConnectionError, asyncio.CancelledError):  # SO_LINGER 0: a reset
            while part := await reader.read(65536):
                segments.append(part)
                if b"}" in part:
                    writer.write(RESPONSE)
        writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Run a server on loopback."""
    made = Server()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        yield made


def open_descriptors() -> int:
    """Count the descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def client(session: aiohttp.ClientSession, url: str) -> AuthorityClient:
    """Return a client for *url*."""
    return AuthorityClient(
        session,
        issuer_url=url,
        token_url=url,
        client_id="app_test",
        timeout_seconds=5.0,
    )


async def test_each_call_has_a_connection_of_its_own_and_one_write() -> None:
    """Head and body arrive together, so there is no half a request."""
    async with serving() as server, open_session(tls(), "agent") as session:
        for _ in range(3):
            call = client(session, server.url).request(
                "POST", server.url, json={"refresh_token": MARK}
            )
            assert (await soon(call)).status == 200
    assert [len(segments) for segments in server.connections] == [1, 1, 1]
    for (request,) in server.connections:
        head, _, content = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /token HTTP/1.1")
        assert MARK.encode() in content


async def test_a_request_that_is_no_longer_wanted_is_not_sent() -> None:
    """Nothing of it is sent, it counts as undelivered, and no socket stays open."""
    checks = []

    def refuse() -> bool:
        checks.append(True)
        return False

    async with serving() as server, open_session(tls(), "agent") as session:
        before = open_descriptors()
        for _ in range(20):
            with pytest.raises(CallFailed) as failure:
                await soon(
                    client(session, server.url).request(
                        "POST", server.url, json={"t": MARK}, may_send=refuse
                    )
                )
            assert failure.value.stage is CallStage.CONNECTING
            assert failure.value.reason == "too_late"
        await asyncio.sleep(0)
        assert open_descriptors() <= before + 2
    assert len(checks) == 20
    assert b"".join(part for one in server.connections for part in one) == b""


async def test_the_kernel_keeps_nothing_of_a_socket_that_ends() -> None:
    """SO_LINGER 0 discards what is unsent; TCP_USER_TIMEOUT bounds what is sent."""
    options: list[tuple[bytes, int]] = []

    def record_options() -> bool:
        (one,) = check._sockets
        linger = one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        timeout = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        options.append((linger, timeout))
        return True

    check = SendCheck(record_options)
    async with serving() as server, open_session(tls(), "agent") as session:
        bind_check(check)
        async with session.post(server.url, json={}) as response:
            assert response.status == 200
    assert struct.unpack("ii", LINGER_OFF) == (1, 0)
    assert options == [(LINGER_OFF, 10_000)]


def tls() -> ssl.SSLContext:
    """Return the system's certificates; these calls use none."""
    return ssl.create_default_context()
