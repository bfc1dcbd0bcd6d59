"""An outgoing proxy: a certificate authority, TLS servers, and a proxy for CONNECT.

All of it is on loopback, under names that do not exist.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

UPSTREAM = "upstream.test"
AUTHORITY = "authority.test"
NAMES = (UPSTREAM, AUTHORITY, "localhost")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n"


class Certificates:
    """A certificate authority of our own, and the certificates that it has signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.ca_file = folder / "ca.pem"
        _openssl(
            *("req", "-x509", "-subj", "/CN=made-up authority", "-days", "2"),
            *_new_key(folder / "ca.key"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign"),
            *("-out", str(self.ca_file)),
        )

    def server(self, *names: str, days: int = 2) -> ssl.SSLContext:
        """Return the server side of TLS, with a certificate for *names*."""
        stem = self._folder / f"{names[0]}{days}"
        request, signed, extra = (
            stem.with_name(f"{stem.name}.{kind}") for kind in ("csr", "pem", "ext")
        )
        key = stem.with_name(f"{stem.name}.key")
        extra.write_text(
            "subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\n"
        )
        _openssl("req", "-subj", "/CN=x", *_new_key(key), "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(signed)),
            *("-CA", str(self.ca_file), "-CAkey", str(self._folder / "ca.key")),
            *("-CAcreateserial", "-days", str(days), "-extfile", str(extra)),
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(signed, key)
        return context


def _new_key(path: Path) -> tuple[str, ...]:
    return (
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-keyout", str(path)),
    )


def _openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True, timeout=20)


class Server:
    """A server on a loopback port. It closes its connections when it ends."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._take, "127.0.0.1", 0, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(OSError, EOFError):
                await self.serve(reader, writer)
        finally:
            writer.transport.abort()


class TlsFront(Server):
    """Ends TLS, and forwards the content to the plain port `behind`."""

    def __init__(self, context: ssl.SSLContext, behind: int = 0) -> None:
        super().__init__(context)
        self.behind = behind
        self.connections = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forward to the plain port."""
        self.connections += 1
        await pipe(reader, writer, self.behind)


class ConnectProxy(Server):
    """A proxy for CONNECT. Owns `requests`, the heads that it received.

    *routes* has the port for each target.
    """

    def __init__(self, routes: dict[str, int], response: bytes = ESTABLISHED) -> None:
        super().__init__()
        self._routes = routes
        self._answer = response
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        """Return the proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Respond to a CONNECT; forward after a 200."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        writer.write(self._answer)
        await writer.drain()
        if self._answer != ESTABLISHED:
            return
        target = head.split(b" ")[1].decode()
        await pipe(reader, writer, self._routes[target])


async def pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> None:
    """Forward bytes to a port and back, until either side ends."""
    onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        ways = [
            asyncio.create_task(_copy(reader, onward_writer)),
            asyncio.create_task(_copy(onward_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    finally:
        onward_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
