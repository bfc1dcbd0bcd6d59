"""A company's network: a CONNECT proxy, and TLS servers that only the proxy can reach.

The servers' names resolve nowhere (RFC 6761 section 6.4), and their certificate is
self-signed. So a call that arrives has used the proxy and has trusted `ca_file`. Behind the
TLS is the sandbox, which speaks plain HTTP.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from bearerd.sandbox import Sandbox

AUTHORITY = "authority.invalid"
UPSTREAM = "upstream.invalid"
ISSUER_URL = f"https://{AUTHORITY}"
TOKEN_URL = f"{ISSUER_URL}/oauth/token"
UPSTREAM_URL = f"https://{UPSTREAM}/backend-api"

CHUNK_BYTES = 65536

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for both names. `pem` is what `ca_file` has to name."""

    pem: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        """Make one in *folder*, by openssl."""
        made = cls(folder / "cert.pem", folder / "key.pem")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
            f"-days 2 -subj /CN={AUTHORITY} "
            f"-addext subjectAltName=DNS:{AUTHORITY},DNS:{UPSTREAM}"
        )
        files = ["-keyout", str(made.key), "-out", str(made.pem)]
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
        return made


class ConnectProxy:
    """The proxy and what is behind it. Owns the list of CONNECTs.

    `ca_file` has the certificate of the servers. `requests` has what the servers received, one item a connection, without the TLS.
    With `refusal_status` set, each CONNECT gets this status and goes no further.
    """

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.port = 0
        self.connects: list[str] = []
        self.authorizations: list[str] = []
        self.requests: list[bytearray] = []
        self.refusal_status: int | None = None
        self._ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Return the value for `upstream_proxy`."""
        return f"http://127.0.0.1:{self.port}"

    def serves(self, host: str, port: int) -> None:
        """Lead a CONNECT to *host* to this local port."""
        self._ports[f"{host}:443"] = port

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        self.connects.append(f"{method} {target}")
        self.authorizations += [
            line.partition(": ")[2]
            for line in head.split("\r\n")
            if line.lower().startswith("proxy-authorization:")
        ]
        if self.refusal_status is not None:
            refusal = f"HTTP/1.1 {self.refusal_status} No\r\nContent-Length: 0\r\n\r\n"
            writer.write(refusal.encode())
            writer.close()
            return
        inner = await asyncio.open_connection("127.0.0.1", self._ports[target])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await tunnel((reader, writer), inner, bytearray())


async def tunnel(client: Streams, server: Streams, sent: bytearray) -> None:
    """Pass bytes on between two connections, until both have ended.

    *sent* gets what the client sends.
    """
    await asyncio.gather(
        pour(client[0], server[1], sent), pour(server[0], client[1], bytearray())
    )


async def pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray
) -> None:
    """Pass bytes on until their end, and then the end."""
    with suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            copy += data
            writer.write(data)
    writer.close()


@asynccontextmanager
async def connect_proxy(
    sandbox: Sandbox, certificate: Certificate
) -> AsyncIterator[ConnectProxy]:
    """Give a proxy that listens, with the sandbox's two servers behind it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.pem, certificate.key)
    proxy = ConnectProxy(certificate.pem)
    servers = []
    for host, url in {
        AUTHORITY: sandbox.issuer_url,
        UPSTREAM: sandbox.upstream_url,
    }.items():
        server = await _tls_server(urlsplit(url).port or 0, tls, proxy.requests)
        proxy.serves(host, server.sockets[0].getsockname()[1])
        servers.append(server)
    listening = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        for server in (listening, *servers):
            server.close()
            await server.wait_closed()


async def _tls_server(
    port: int, tls: ssl.SSLContext, requests: list[bytearray]
) -> asyncio.Server:
    """Return a server that takes TLS off and passes on to a local port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", port)
        requests.append(bytearray())
        await tunnel((reader, writer), inner, requests[-1])

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
