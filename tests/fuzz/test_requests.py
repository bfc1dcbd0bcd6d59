"""Any bytes of a client: one request to every parser, with our credential once, or none.

The listener's connection, the check of Host, the path rules and an attempt run as they
are; only the sockets are replaced.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import BearerdError
from bearerd.relay.access import check_host, listener_rules
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.client.connection import AlreadySent
from bearerd.relay.client.date import DateField
from bearerd.relay.client.request import ClientRequest, read_request
from bearerd.relay.client.server import ClientServer
from bearerd.relay.headers import DROPPED_FROM_REQUESTS, connection_options
from bearerd.relay.message import Fields, ResponseHead
from bearerd.relay.target import resolve, to_origin_form
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.fuzz.readers import Message, request_by_h11, request_by_llhttp
from tests.fuzz.shapes import CORPUS, SPLITS, fuzzed, mutated, requests, split
from tests.fuzz.transport import RecordingTransport
from tests.wire.parsers import IS_PYTHON_PARSER

ANY = mutated(requests()) | st.binary(max_size=80)

AUTH_FIELDS = (
    b"Authorization: Bearer made-up.access.token\r\nChatGPT-Account-ID: made-up\r\n"
)
CREDENTIAL = ((b"authorization", b"Bearer made-up.access.token"),)
REGISTERED_METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"PATCH"}

RULES = listener_rules(
    is_loopback=True,
    is_unix=False,
    require_key=False,
    allowed_hosts=(),
    allowed_origins=(),
)

TURNS = 12
"""Rounds of the event loop that a request needs at most, from its bytes to its end."""


@dataclass
class ForwardedRequest:
    """A request as it came in, and the bytes that went to the upstream."""

    request: ClientRequest
    upstream: RecordingTransport


@dataclass
class Result:
    """What became of a client's bytes: what was forwarded, and the responses."""

    forwarded: list[ForwardedRequest] = field(default_factory=list)
    responses: bytes = b""


class Listener:
    """A client's connection, and an upstream that records what it is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._result = Result()
        self._upstream = UpstreamPool(
            Origin.from_url("http://127.0.0.1:9/backend-api"),
            connect_timeout_seconds=1,
            idle_timeout_seconds=1,
            tls=None,
        )

    async def receive(self, parts: list[bytes]) -> Result:
        """Return what becomes of *parts*; behind them the client closes."""
        server = ClientServer(self._handle, DateField(lambda: 0.0), 10)
        connection, client = server(), RecordingTransport()
        connection.connection_made(client)
        for part in parts:
            if not client.is_closing():
                connection.data_received(part)
            await self._turns()
        connection.connection_lost(None)
        await self._turns()
        self._result.responses = client.written
        return self._result

    async def _turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _handle(self, http_request: web.BaseRequest) -> web.StreamResponse:
        """Do what the relay and an exchange do up to the response, then send a 204."""
        transport = http_request.transport
        assert transport is not None
        try:
            request = read_request(http_request)
            authority, raw = to_origin_form(request.target)
            hosts = [v for name, v in request.fields if name.lower() == b"host"]
            check_host(RULES, authority or (hosts[-1] if hosts else None))
            target = resolve(raw)
        except BearerdError:
            return AlreadySent(keeps_alive=False)
        await self._send(request, target.upstream_target)
        if not transport.is_closing():
            transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return AlreadySent(keeps_alive=request.keeps_alive)

    async def _send(self, request: ClientRequest, below: bytes) -> None:
        near, far = socket.socketpair()
        with near, far:
            connection, transport = (
                UpstreamConnection(self._loop, near, lambda _: None),
                RecordingTransport(),
            )
            connection.connection_made(transport)
            self._result.forwarded.append(ForwardedRequest(request, transport))
            body = _kept(request)
            attempt = Attempt(connection)
            attempt.start(
                self._upstream, _upstream_request(request, below, body), AUTH_FIELDS
            )
            try:
                if attempt._upload is not None:
                    await attempt._upload
            finally:
                attempt.close()


def _kept(request: ClientRequest) -> ReplayBody | None:
    if request.reader is None:
        return None
    return ReplayBody(
        request.reader,
        limit_bytes=1 << 20,
        memory=ReplayMemory(1 << 20),
        on_abandon=lambda _: None,
    )


def _upstream_request(
    request: ClientRequest, below: bytes, body: ReplayBody | None
) -> UpstreamRequest:
    return UpstreamRequest(
        method=request.method,
        target=below,
        fields=request.fields,
        body=body,
        length=request.length,
        asks_upgrade=request.asks_upgrade,
        on_interim=_ignored,
    )


def _ignored(_head: ResponseHead) -> None:
    """No response comes."""


def receive(parts: list[bytes]) -> Result:
    """Return what becomes of a client's bytes, on an event loop of their own."""

    async def run() -> Result:
        return await Listener(asyncio.get_running_loop()).receive(parts)

    return asyncio.run(run())


def readings(data: bytes) -> tuple[Message | None, Message | None]:
    """Return what h11 and llhttp make of forwarded bytes; None if they have no end."""
    by_h11 = request_by_h11(data)
    if by_h11 is not None:
        assert by_h11[1] == b"", "bytes are left over"
    message = by_h11[0] if by_h11 is not None else None
    if IS_PYTHON_PARSER and data.partition(b" ")[0] not in REGISTERED_METHODS:
        return message, message  # llhttp knows the registered methods alone
    return message, request_by_llhttp(data)


def check(forwarded: ForwardedRequest) -> None:
    """Check one request: every parser reads the same, and has our credential once."""
    data = forwarded.upstream.written
    by_h11, by_llhttp = readings(data)
    assert by_h11 == by_llhttp
    head = data.partition(b"\r\n\r\n")[0]
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert b"\x00" not in head
    if by_h11 is None:
        return
    credentials = [field for field in by_h11.fields if field[0] == b"authorization"]
    assert tuple(credentials) == CREDENTIAL
    for name in (b"host", b"chatgpt-account-id"):
        assert len([field for field in by_h11.fields if field[0] == name]) == 1
    assert passed_on(forwarded.request.fields) == passed_on(by_h11.fields)


def passed_on(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the field lines of a client that go on, in their order."""
    dropped = DROPPED_FROM_REQUESTS | connection_options(fields)
    return [
        (name.lower(), value.strip(b" \t"))
        for name, value in fields
        if name.lower() not in dropped
    ]


@fuzzed
@given(ANY, SPLITS)
def test_a_forwarded_request_is_one_request_to_every_parser(
    data: bytes, cuts: list[int]
) -> None:
    """h11 and llhttp read the same, or both find no end; the credential is ours alone."""
    check_all(data, cuts)


def check_all(data: bytes, cuts: list[int]) -> None:
    """Check every request that a client's bytes hold."""
    for forwarded in receive(split(data, cuts)).forwarded:
        check(forwarded)


@fuzzed
@given(requests(most=1), SPLITS)
def test_a_valid_request_is_read_the_same_however_it_is_cut(
    data: bytes, cuts: list[int]
) -> None:
    """What is forwarded may have other chunks, and is the same request."""
    whole = [readings(one.upstream.written) for one in receive([data]).forwarded]
    cut = [
        readings(one.upstream.written) for one in receive(split(data, cuts)).forwarded
    ]
    assert [content(one[0]) for one in cut] == [content(one[0]) for one in whole]


def content(message: Message | None) -> tuple[object, ...] | None:
    """Return what a request says, without the framing of its body."""
    if message is None:
        return None
    framing = (b"content-length", b"transfer-encoding")
    kept = [field for field in message.fields if field[0] not in framing]
    return message.start, kept, message.body


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("requests/*")), ids=lambda path: path.name
)
def test_the_properties_hold_for_the_corpus_of_requests(path: Path) -> None:
    """Inputs that once broke one, cut at every byte."""
    data = path.read_bytes()
    for cut in range(len(data)):
        check_all(data, [cut])
