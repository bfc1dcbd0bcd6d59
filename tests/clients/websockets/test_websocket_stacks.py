"""WebSocket through the tunnel: two stacks, each as client and as server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.clients.websockets.stacks import Stack, started
from tests.wire.gateway import Gateway, running
from tests.wire.peers import values
from tests.wire.renewals import refuse, renewing
from tests.wire.upgrades import SWITCHED

STACKS = ["websockets", "ws"]
SIDES = ["client", "upstream"]

CLOSE_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
"""The codes that may be sent (RFC 6455 section 7.4, and its registry)."""

NO_CODE, NO_CLOSE = 1005, 1006
"""What an end reports after a close without a code, and without any close."""


class Pair:
    """The two ends of one WebSocket, with bearerd between them."""

    def __init__(self, gateway: Gateway, client: Stack, upstream: Stack) -> None:
        self.gateway = gateway
        self.ends = {"client": client, "upstream": upstream}
        self.extensions: set[str] = set()

    def facing(self, side: str) -> tuple[Stack, Stack]:
        """Return the end on *side*, then the other."""
        (other,) = (end for name, end in self.ends.items() if name != side)
        return self.ends[side], other

    async def open(self) -> None:
        """Open one more WebSocket."""
        url = f"ws://127.0.0.1:{self.gateway.port}/v1/responses"
        await self.ends["client"].do("connect", url=url)
        for end in self.ends.values():
            self.extensions.add((await end.told("open"))["extensions"].split(";")[0])

    async def passes(self, side: str, kind: str, size: int, fragments: int = 1) -> None:
        """Send a message from *side*, and check that the other end gets it."""
        end, other = self.facing(side)
        await end.do("send", kind=kind, size=size, fragments=fragments)
        got, sent = await asyncio.gather(other.told("message"), end.told("sent"))
        assert got == sent


@pytest.fixture(params=[(a, b) for a in STACKS for b in STACKS], ids="-".join)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """An open WebSocket: client stack, bearerd, server stack."""
    async with stacks(*request.param) as (client, upstream):
        await upstream.do("serve")
        port = (await upstream.told("serving"))["port"]
        url = f"http://127.0.0.1:{port}/backend-api"
        async with running(tmp_path, upstream_url=url) as gateway:
            opened = Pair(gateway, client, upstream)
            await opened.open()
            yield opened


@asynccontextmanager
async def stacks(client: str, upstream: str) -> AsyncIterator[tuple[Stack, Stack]]:
    """Start both programs."""
    async with started(client) as one, started(upstream) as other:
        yield one, other


@pytest.mark.parametrize("side", SIDES)
async def test_messages_pass_compressed(pair: Pair, side: str) -> None:
    """Both ends negotiate permessage-deflate, and use it over many messages."""
    assert pair.extensions == {"permessage-deflate"}
    for size in (0, 9, 900, 90_000, 900_000):
        await pair.passes(side, "text", size)
        await pair.passes(side, "binary", size)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_messages_of_16_mib_pass(pair: Pair, side: str, kind: str) -> None:
    """In both directions."""
    await pair.passes(side, kind, (16 << 20) // 9 * 9)


@pytest.mark.parametrize("side", SIDES)
async def test_fragmented_messages_pass(pair: Pair, side: str) -> None:
    """A message in many frames is one message."""
    await pair.passes(side, "text", 9 * 1000, 7)
    await pair.passes(side, "binary", 5, 5)
    await pair.passes(side, "binary", 1 << 20, 100)


@pytest.mark.parametrize("side", SIDES)
async def test_pings_get_a_pong_from_the_other_end(pair: Pair, side: str) -> None:
    """With the same payload."""
    end, _ = pair.facing(side)
    for said in ("", "a", "x" * 125):
        await end.do("ping", data=said)
        assert await end.told("pong") == {"data": said}


@pytest.mark.parametrize("side", SIDES)
async def test_every_close_code_passes(pair: Pair, side: str) -> None:
    """With its reason; one WebSocket after the other through the same service."""
    end, other = pair.facing(side)
    for code in CLOSE_CODES:
        reason = f"reason {code} é"
        await end.do("close", code=code, reason=reason)
        assert await other.told("closed") == {"code": code, "reason": reason}
        assert (await end.told("closed"))["code"] == code
        await pair.open()
    assert len(await pair.gateway.finished(len(CLOSE_CODES))) == len(CLOSE_CODES)


@pytest.mark.parametrize("side", SIDES)
async def test_a_close_without_a_code_passes(pair: Pair, side: str) -> None:
    """None is added."""
    end, other = pair.facing(side)
    await end.do("close", code=None, reason="")
    assert await other.told("closed") == {"code": NO_CODE, "reason": ""}
    assert (await end.told("closed"))["code"] == NO_CODE
    await pair.gateway.finished()


@pytest.mark.parametrize("side", SIDES)
async def test_an_abort_is_not_a_close(pair: Pair, side: str) -> None:
    """The other end sees at once that there was no closing handshake."""
    end, other = pair.facing(side)
    await end.do("abort")
    assert await other.told("closed") == {"code": NO_CLOSE, "reason": ""}
    await end.told("closed")
    await pair.gateway.finished()


@pytest.mark.parametrize("stack", STACKS)
async def test_a_401_at_the_handshake_is_not_visible(
    tmp_path: Path, stack: str
) -> None:
    """The client's stack sees an open WebSocket, and its key is forwarded unchanged."""
    async with (
        Sandbox() as authority,
        started(stack) as client,
        renewing(tmp_path, authority) as gateway,
    ):
        await client.do("connect", url=f"ws://127.0.0.1:{gateway.port}/v1/responses")
        peer = await gateway.upstream.accept()
        keys = values(await peer.head(), b"sec-websocket-key")
        peer, head = await refuse(gateway, peer)
        assert values(head, b"sec-websocket-key") == keys
        accept = b"Sec-WebSocket-Accept: " + accept_value(keys[0])
        await peer.send(SWITCHED.replace(b"Sec-WebSocket-Accept: made-up", accept))
        assert await client.told("open") == {"extensions": ""}
        assert authority.authority.refreshes == 1


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    proof = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")  # noqa: S324
    return base64.b64encode(proof.digest())


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("status", [400, 403, 404, 426, 429, 500, 503])
async def test_an_error_response_reaches_the_stack_unchanged(
    gateway: Gateway, stack: str, status: int
) -> None:
    """Clients then go on without WebSocket."""
    async with started(stack) as client:
        await client.do("connect", url=f"ws://127.0.0.1:{gateway.port}/v1/responses")
        peer = await gateway.upstream.accept()
        await peer.head()
        await peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
        assert await client.told("refused") == {"status": status}
