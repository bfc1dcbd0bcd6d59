"""The time limits on a silent upstream, one by one. There is no limit on the whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.wire.gateway import get, running
from tests.wire.peers import status, values

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_the_first_byte_has_a_limit_of_its_own(
    tmp_path: Path,
) -> None:
    """Item 127: the wait for the first byte is shorter than the wait for the next ones."""
    async with running(
        tmp_path,
        upstream_first_byte_timeout_seconds="0.2",
        upstream_idle_timeout_seconds="60",
    ) as gateway:
        client, _, _ = await gateway.asked(get(b"/v1/models"))
        head = await client.head()
        assert status(head) == 504
        assert values(head, b"x-bearerd-error") == [b"upstream_timeout"]


async def test_a_response_that_has_begun_has_the_idle_limit(tmp_path: Path) -> None:
    """Item 127: after the first byte only the idle limit counts."""
    async with running(
        tmp_path,
        upstream_first_byte_timeout_seconds="60",
        upstream_idle_timeout_seconds="0.2",
    ) as gateway:
        client, peer, _ = await gateway.asked(get(b"/v1/models"))
        await peer.send(CHUNKED + b"2\r\nab\r\n")
        assert status(await client.head()) == 200
        assert await client.gone() == b"2\r\nab\r\n"


async def test_a_tls_handshake_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """Item 127: the connection is made, and TLS is not."""
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with running(
        tmp_path,
        upstream_url=f"https://127.0.0.1:{port}/backend-api",
        upstream_tls_timeout_seconds="0.2",
    ) as gateway:
        client = await gateway.client()
        await client.send(get(b"/v1/models"))
        assert status(await client.head()) == 504
        assert b"no TLS with the upstream" in await client.until(b"}")
    silent.close()
    await silent.wait_closed()


async def _say_nothing(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.read()
    writer.close()
