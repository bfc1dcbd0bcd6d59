"""The way to the authority through a company's proxy: CONNECT, TLS, then the refresh.

The authority's name resolves nowhere, so that only the proxy can lead there.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bearerd.sandbox import Sandbox
from tests.support import Start, read_login, tokens_of

HOST = "authority.invalid"
TOKEN_URL = f"https://{HOST}/oauth/token"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the authority that nobody has signed but itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        f"-days 2 -subj /CN={HOST} -addext subjectAltName=DNS:{HOST}"
    )
    files = ["-keyout", str(key), "-out", str(pem)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return pem, key


class Way:
    """A proxy with an authority behind it. Owns what each of them was asked."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.connects: list[bytes] = []
        self.asked: list[dict[str, Any]] = []
        self.user_agents: list[str] = []
        self.refusal = b""
        self.port = 0
        self.authority_port = 0
        self._sandbox = sandbox

    async def response(self, request: web.BaseRequest) -> web.Response:
        """Give a new credential, as the authority."""
        body = json.loads(await request.read())
        self.asked.append(body)
        self.user_agents.append(request.headers["User-Agent"])
        grant = self._sandbox.tokens.rotate(body["refresh_token"])
        return web.json_response(
            {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
        )

    async def lead(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Lead one connection to the authority, as the proxy."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.connects.append(head.split(b"\r\n")[0])
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection(
            "127.0.0.1", self.authority_port
        )
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until their end, and then the end."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def way(sandbox: Sandbox, certificate: tuple[Path, Path]) -> AsyncIterator[Way]:
    """Give a proxy that listens, and an authority behind it."""
    leading = Way(sandbox)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    runner = web.ServerRunner(web.Server(leading.response))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    leading.authority_port = runner.addresses[0][1]
    proxy = await asyncio.start_server(leading.lead, "127.0.0.1", 0)
    leading.port = proxy.sockets[0].getsockname()[1]
    yield leading
    proxy.close()
    await proxy.wait_closed()
    await runner.cleanup()


async def test_a_refresh_goes_through_the_proxy_that_is_set(
    start: Start, sandbox: Sandbox, certificate: tuple[Path, Path]
) -> None:
    """Codex's scenario 1 in full: by the proxy, in the name of the client that is set,
    with exactly three fields. Better than Codex: the User-Agent is our own.
    """
    async with way(sandbox, certificate) as leading:
        daemon = await start(
            token_url=TOKEN_URL,
            upstream_proxy=f"http://127.0.0.1:{leading.port}",
            ca_file=certificate[0],
            client_id="staging-client",
        )
        before = tokens_of(read_login(daemon.store))
        sandbox.revoke_access_tokens()
        reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert leading.connects == [f"CONNECT {HOST}:443 HTTP/1.1".encode()]
    assert leading.asked == [
        {
            "client_id": "staging-client",
            "grant_type": "refresh_token",
            "refresh_token": before["refresh_token"],
        }
    ]
    (user_agent,) = leading.user_agents
    assert user_agent.startswith("bearerd/")
    after = tokens_of(read_login(daemon.store))
    assert sandbox.tokens.introspect(after["access_token"]).state == "live"
    assert sandbox.authority.calls == 0


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_says_no_costs_no_token(
    start: Start, sandbox: Sandbox, certificate: tuple[Path, Path], status: int
) -> None:
    """Its word is not the authority's, not even a 401's kin: the login is kept."""
    async with way(sandbox, certificate) as leading:
        leading.refusal = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
        daemon = await start(
            token_url=TOKEN_URL,
            upstream_proxy=f"http://127.0.0.1:{leading.port}",
            ca_file=certificate[0],
        )
        before = daemon.store.read_bytes()
        sandbox.revoke_access_tokens()
        reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    assert "was not reached" in reply.message
    assert (leading.asked, daemon.store.read_bytes()) == ([], before)


async def test_an_authority_that_nobody_vouches_for_gets_no_token(
    start: Start, sandbox: Sandbox, certificate: tuple[Path, Path]
) -> None:
    """Without `ca_file` the certificate is nobody's, and nothing is sent to it."""
    async with way(sandbox, certificate) as leading:
        daemon = await start(
            token_url=TOKEN_URL, upstream_proxy=f"http://127.0.0.1:{leading.port}"
        )
        sandbox.revoke_access_tokens()
        reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    assert "was not reached" in reply.message
    assert leading.asked == []
