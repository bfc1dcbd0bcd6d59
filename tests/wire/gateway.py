"""A gateway: a running bearerd service, with raw connections on both of its sides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bearerd.admin.status import ServiceStatus
from bearerd.events import Event, RequestFinished
from bearerd.service import Service
from bearerd.settings import load_settings
from tests.support.daemon import CA_FILE
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream

ACCESS_TOKEN = "made-up.access.token"
ACCOUNT = "acct-made-up"
CLIENT_KEY = "c41f7ae09b25d83667e1f0a8"


class Gateway:
    """A running service, with an upstream behind it and clients in front of it."""

    def __init__(self, upstream: RawUpstream) -> None:
        self.upstream = upstream
        self.events: list[Event] = []
        self.port = 0
        self._clients: list[Peer] = []
        self._news = asyncio.Event()

    def observe(self, event: Event) -> None:
        """Keep an event that the service emits."""
        self.events.append(event)
        self._news.set()

    async def client(self) -> Peer:
        """Return a new client connection."""
        peer = await Peer.connect(self.port)
        self._clients.append(peer)
        return peer

    async def asked(
        self, request: bytes, client: Peer | None = None
    ) -> tuple[Peer, Peer, bytes]:
        """Send *request*; return client, upstream connection, and the head that arrived
        there.
        """
        client = client or await self.client()
        await client.send(request)
        peer = await self.upstream.accept()
        return client, peer, await peer.head()

    async def refused(self, request: bytes) -> bytes:
        """Send a request that must not be forwarded; return the head of the response."""
        client = await self.client()
        await client.send(request)
        head = await client.head()
        assert self.upstream.connections == 0
        return head

    async def answered(
        self, response: bytes, request: bytes | None = None
    ) -> tuple[Peer, Peer]:
        """Send a request, have the upstream send *response*, and return both ends."""
        client, peer, _ = await self.asked(request or get(b"/v1/models"))
        await peer.send(response)
        return client, peer

    async def finished(self, count: int = 1) -> list[RequestFinished]:
        """Return the `RequestFinished` events, once there are *count* of them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                told = [e for e in self.events if isinstance(e, RequestFinished)]
                if len(told) >= count:
                    return told
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        """Disconnect the clients."""
        for client in self._clients:
            await client.leave()


@asynccontextmanager
async def running(
    folder: Path,
    *,
    issuer_url: str = "http://127.0.0.1:9",
    ca_file: str | None = str(CA_FILE),
    **flags: str,
) -> AsyncIterator[Gateway]:
    """Run a service with a credential, in front of a raw upstream.

    Nothing listens at the default *issuer_url*. A *ca_file* of None is the system's own
    certificates.
    """
    if ca_file is not None:
        flags["ca_file"] = ca_file
    store = folder / "auth.json"
    if not store.exists():
        store.write_text(json.dumps(login_document()))
    async with RawUpstream() as upstream:
        gateway = Gateway(upstream)
        settings = load_settings(
            {
                "store": str(store),
                "upstream_url": f"http://127.0.0.1:{upstream.port}/backend-api",
                "issuer_url": issuer_url,
                "listen": "127.0.0.1:0",
                "admin_listen": "none",
                "require_key": "false",
                "client_key": CLIENT_KEY,
                "drain_seconds": "0",
                **flags,
            },
            {},
        )
        stop = asyncio.Event()
        started: asyncio.Future[ServiceStatus]
        started = asyncio.get_running_loop().create_future()
        service = Service(settings, observe=gateway.observe)
        task = asyncio.create_task(service.run(stop, started.set_result))
        first: set[asyncio.Future[Any]] = {task, started}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task  # raises what kept it from starting
        gateway.port = int(started.result().relay[0].rsplit(":", 1)[1])
        try:
            yield gateway
        finally:
            await gateway.close()
            stop.set()
            await task


def login_document() -> dict[str, object]:
    """Return a login in the form of Codex's auth.json. Its tokens have no expiry."""
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": "made-up.id.token",
            "access_token": ACCESS_TOKEN,
            "refresh_token": "made-up-refresh-token",
            "account_id": ACCOUNT,
        },
        "last_refresh": None,
    }


def get(target: bytes, *lines: bytes) -> bytes:
    """Return a GET with a Host and these field lines."""
    return request(b"GET", target, *lines)


def post(target: bytes, body: bytes, *lines: bytes) -> bytes:
    """Return a POST with a Content-Length, a Host and these field lines."""
    return request(b"POST", target, b"Content-Length: %d" % len(body), *lines) + body


def request(method: bytes, target: bytes, *lines: bytes) -> bytes:
    """Return a request's head with a Host and these field lines."""
    start = b"%b %b HTTP/1.1\r\nHost: localhost\r\n" % (method, target)
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def ok(body: bytes = b"ok", *lines: bytes) -> bytes:
    """Return an upstream's 200 with a Content-Length and these field lines."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
