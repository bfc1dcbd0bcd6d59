"""A gateway whose login an authority knows, so that a 401 can be recovered from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bearerd.sandbox import Sandbox
from tests.wire.gateway import Gateway, running
from tests.wire.peers import Peer

REFUSAL = b'{"error": {"code": "token_expired"}}'
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%b" % (
    len(REFUSAL),
    REFUSAL,
)
REFUSED_AND_CLOSED = REFUSED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
"""After this 401 the next attempt always uses a new connection."""


@asynccontextmanager
async def renewing(
    folder: Path, authority: Sandbox, **flags: str
) -> AsyncIterator[Gateway]:
    """Run a gateway with a new login of *authority*."""
    (folder / "auth.json").write_text(json.dumps(authority.auth_document()))
    async with running(folder, issuer_url=authority.issuer_url, **flags) as started:
        yield started


async def refuse(gateway: Gateway, peer: Peer) -> tuple[Peer, bytes]:
    """Send a 401 over *peer*; return the connection and the head of the next attempt."""
    await peer.send(REFUSED_AND_CLOSED)
    peer = await gateway.upstream.accept()
    return peer, await peer.head()
