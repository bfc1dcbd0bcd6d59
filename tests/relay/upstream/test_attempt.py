"""One send of one request: its bytes, its upload, and when it is sent a second time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from aiohttp.web import RequestPayloadError

from bearerd.errors import (
    BearerdError,
    RequestMalformed,
    UpstreamProtocolError,
    UpstreamUnreachable,
)
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.message import Fields
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest, send_request
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.wire.peers import Peer, RawUpstream, names, values

AUTH_FIELDS = b"Authorization: Bearer made-up\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Reader:
    """A client's body: *parts* are there, and the end comes when a test lets it."""

    def __init__(self, *parts: bytes, is_whole: bool = True) -> None:
        self.parts = list(parts)
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        if is_whole:
            self.may_end.set()

    def is_eof(self) -> bool:
        return self.may_end.is_set()

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        parts, self.parts = self.parts, []
        return b"".join(parts)

    async def readany(self) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return b""


def kept(reader: Reader, limit_bytes: int = 1000) -> ReplayBody:
    """Return *reader*'s body, kept up to the limit."""
    return ReplayBody(
        reader,
        limit_bytes=limit_bytes,
        memory=ReplayMemory(1000),
        on_abandon=lambda _reason: None,
    )


def request(
    method: str = "POST",
    *,
    body: ReplayBody | None = None,
    length: int | None = None,
    fields: Fields = (),
    asks_upgrade: bool = False,
) -> UpstreamRequest:
    """Return a request for /x below the base path."""
    return UpstreamRequest(
        method=method,
        target=b"/x",
        fields=fields,
        body=body,
        length=length,
        asks_upgrade=asks_upgrade,
        on_interim=lambda _head: None,
    )


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    """An upstream that does nothing by itself."""
    async with RawUpstream() as running:
        yield running


@pytest.fixture
async def upstream(server: RawUpstream) -> AsyncIterator[UpstreamPool]:
    """A pool of connections to it."""
    pool = UpstreamPool(
        Origin.from_url(f"http://127.0.0.1:{server.port}/base"),
        connect_timeout_seconds=5,
        idle_timeout_seconds=5,
        tls=None,
    )
    yield pool
    pool.close_connections()


@pytest.fixture
async def attempt(upstream: UpstreamPool) -> AsyncIterator[Attempt]:
    """An attempt on a new connection."""
    made = Attempt(await upstream.acquire())
    yield made
    made.close()


class Framing(NamedTuple):
    """A body's parts and its length, and how both go out."""

    parts: tuple[bytes, ...] | None
    length: int | None
    content_length: tuple[bytes, ...] = ()
    transfer_encoding: tuple[bytes, ...] = ()
    sent: bytes = b""


FRAMINGS = {
    "no body": Framing(None, None),
    "an empty one, declared": Framing(None, 0, content_length=(b"0",)),
    "a length": Framing((b"ab", b"c"), 3, content_length=(b"3",), sent=b"abc"),
    "chunked": Framing(
        (b"ab", b"c"),
        None,
        transfer_encoding=(b"chunked",),
        sent=b"3\r\nabc\r\n0\r\n\r\n",
    ),
    "chunked and empty": Framing(
        (), None, transfer_encoding=(b"chunked",), sent=b"0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
async def test_a_body_that_has_come_goes_out_with_the_head(
    server: RawUpstream, upstream: UpstreamPool, attempt: Attempt, framing: Framing
) -> None:
    """In the framing that it came in (RFC 9112 section 6), as one chunk at most."""
    body = None if framing.parts is None else kept(Reader(*framing.parts))
    attempt.start(upstream, request(body=body, length=framing.length), AUTH_FIELDS)
    peer = await server.accept()
    head = await peer.head()
    assert head.startswith(b"POST /base/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert values(head, b"authorization") == [b"Bearer made-up"]
    assert tuple(values(head, b"content-length")) == framing.content_length
    codings = tuple(values(head, b"transfer-encoding"))
    assert codings == framing.transfer_encoding
    assert await peer.exactly(len(framing.sent)) == framing.sent
    await peer.send(OK)
    assert (await attempt.receive_head()).status == 200
    attempt.close()
    assert attempt.connection.is_available


@pytest.mark.parametrize(
    ("length", "sent"),
    [(3, b"abc"), (None, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
async def test_a_body_that_still_comes_is_uploaded_beside_the_response(
    server: RawUpstream,
    upstream: UpstreamPool,
    attempt: Attempt,
    length: int | None,
    sent: bytes,
) -> None:
    """Part by part. The connection may be used again once both are whole."""
    reader = Reader(b"ab", b"c", is_whole=False)
    attempt.start(upstream, request(body=kept(reader), length=length), AUTH_FIELDS)
    peer = await server.accept()
    await peer.head()
    reader.may_end.set()
    assert await peer.exactly(len(sent)) == sent
    await peer.send(OK)
    await attempt.receive_head()
    attempt.close()
    assert attempt.connection.is_available


async def test_an_upgrade_names_the_one_protocol(
    server: RawUpstream, upstream: UpstreamPool, attempt: Attempt
) -> None:
    """RFC 9110 section 7.8: Connection names Upgrade, and no body is framed."""
    attempt.start(upstream, request("GET", asks_upgrade=True), AUTH_FIELDS)
    head = await (await server.accept()).head()
    assert values(head, b"connection") == [b"Upgrade"]
    assert values(head, b"upgrade") == [b"websocket"]
    assert not names(head) & {b"content-length", b"transfer-encoding"}


async def test_an_error_status_stops_the_upload(
    server: RawUpstream, upstream: UpstreamPool, attempt: Attempt
) -> None:
    """The rest would be read by nobody; so the connection cannot be used again."""
    reader = Reader(b"ab", is_whole=False)
    attempt.start(upstream, request(body=kept(reader)), AUTH_FIELDS)
    peer = await server.accept()
    await peer.until(b"ab\r\n")
    await peer.send(OK.replace(b"200", b"413"))
    assert (await attempt.receive_head()).status == 413
    reader.may_end.set()
    attempt.close()
    assert await peer.gone() == b""


async def test_a_body_that_breaks_its_framing_is_the_clients_error(
    server: RawUpstream, upstream: UpstreamPool, attempt: Attempt
) -> None:
    """The upstream gets no last chunk, and must not take the part for the whole."""
    reader = Reader(b"ab", is_whole=False)
    attempt.start(upstream, request(body=kept(reader)), AUTH_FIELDS)
    peer = await server.accept()
    await peer.until(b"ab\r\n")
    reader.error = RequestPayloadError("bad chunk")
    reader.may_end.set()
    with pytest.raises(RequestMalformed, match="breaks its own framing"):
        await attempt.receive_head()
    assert await peer.gone() == b""


async def test_an_attempt_that_is_closed_stops_its_upload(
    server: RawUpstream, upstream: UpstreamPool, attempt: Attempt
) -> None:
    """The client has left, or another attempt takes its place."""
    reader = Reader(b"ab", is_whole=False)
    attempt.start(upstream, request(body=kept(reader)), AUTH_FIELDS)
    peer = await server.accept()
    await peer.until(b"ab\r\n")
    attempt.close()
    assert await peer.gone() == b""
    assert upstream.connection_count == 0


class Loss(NamedTuple):
    """A request whose connection is lost, and whether it is sent again."""

    is_sent_again: bool
    method: str = "GET"
    is_reused: bool = True
    begun: bytes = b""
    limit_bytes: int | None = None
    error: type[BearerdError] = UpstreamUnreachable


LOSSES = {
    "all conditions hold": Loss(True),
    "an idempotent method": Loss(True, method="PUT"),
    "a body that is kept": Loss(True, method="PUT", limit_bytes=1000),
    "1: the response breaks the rules": Loss(
        False, begun=b"garbage\r\n\r\n", error=UpstreamProtocolError
    ),
    "2: a new connection": Loss(False, is_reused=False),
    "3: a byte of a response has come": Loss(False, begun=b"HTTP/1.1 200 OK\r\nX"),
    "4: a method that is not idempotent": Loss(False, method="POST"),
    "5: a body that is not kept": Loss(False, method="PUT", limit_bytes=1),
}


async def use(upstream: UpstreamPool, server: RawUpstream) -> Peer:
    """Send a request, so that its connection is idle; return the upstream's end."""
    sending = asyncio.create_task(send_request(upstream, request("GET"), AUTH_FIELDS))
    peer = await server.accept()
    await peer.head()
    await peer.send(OK)
    attempt, _ = await sending
    attempt.close()
    return peer


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_a_request_on_a_lost_connection_is_sent_again_only_if_it_is_safe(
    server: RawUpstream, upstream: UpstreamPool, loss: Loss
) -> None:
    """The number is that of the condition which does not hold."""
    body = None if loss.limit_bytes is None else kept(Reader(b"abc"), loss.limit_bytes)
    peer = await use(upstream, server) if loss.is_reused else None
    sending = asyncio.create_task(
        send_request(
            upstream,
            request(loss.method, body=body, length=3 if body else None),
            AUTH_FIELDS,
        )
    )
    peer = peer or await server.accept()
    await peer.head()
    if loss.begun:
        await peer.send(loss.begun)
    peer.close()
    if not loss.is_sent_again:
        with pytest.raises(loss.error):
            await sending
        assert server.connections == 1
        return
    second = await server.accept()
    assert (await second.head()).startswith(loss.method.encode())
    assert await second.exactly(3 if body else 0) == (b"abc" if body else b"")
    await second.send(OK)
    attempt, head = await sending
    assert head.status == 200
    attempt.close()


async def test_a_request_is_sent_twice_at_most(
    server: RawUpstream, upstream: UpstreamPool
) -> None:
    """The second connection is new, and its loss is an error."""
    first = await use(upstream, server)
    sending = asyncio.create_task(send_request(upstream, request("GET"), AUTH_FIELDS))
    await first.head()
    first.close()
    second = await server.accept()
    await second.head()
    second.close()
    with pytest.raises(UpstreamUnreachable):
        await sending
    assert server.connections == 2
    assert upstream.connection_count == 0


async def test_a_cancelled_send_leaves_no_connection_behind(
    server: RawUpstream, upstream: UpstreamPool
) -> None:
    """The client has left before a head came."""
    sending = asyncio.create_task(send_request(upstream, request("GET"), AUTH_FIELDS))
    peer = await server.accept()
    await peer.head()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await peer.gone() == b""
    assert upstream.connection_count == 0
