"""Any bytes of a client: one request upstream to every reader, signed once, or none.

What runs is the listener's own connection, the gate, the path rules and an attempt on a
wire; only the sockets are stand-ins.
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
from bearerd.relay.client.connection import AlreadySent, ClientServer
from bearerd.relay.client.request import ClientRequest, read_request
from bearerd.relay.client.response import DateField
from bearerd.relay.headers import DROPPED_FROM_REQUESTS, nominations
from bearerd.relay.message import Fields, ResponseHead
from bearerd.relay.target import origin_form, resolve
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.fuzz.readers import Told, request_by_h11, request_by_llhttp
from tests.fuzz.shapes import CORPUS, SPLITS, fuzzed, mutated, requests, split
from tests.fuzz.transport import Kept
from tests.wire.parsers import IS_PYTHON_PARSER

ANY = mutated(requests()) | st.binary(max_size=80)

AUTH_FIELDS = (
    b"Authorization: Bearer made-up.access.token\r\nChatGPT-Account-ID: made-up\r\n"
)
OURS = ((b"authorization", b"Bearer made-up.access.token"),)
KNOWN = {b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"PATCH"}

RULES = listener_rules(
    is_loopback=True,
    is_unix=False,
    require_key=False,
    allowed_hosts=(),
    allowed_origins=(),
)

TURNS = 12
"""Rounds of the event loop that a request takes at most, from its bytes to its end."""


@dataclass
class Passed:
    """One request that went on: as it came in, and the bytes that went up."""

    request: ClientRequest
    connection: Kept


@dataclass
class Through:
    """What became of a client's bytes: what went up, and what was told."""

    passed: list[Passed] = field(default_factory=list)
    told: bytes = b""


class Stage:
    """A listener's connection with an upstream that keeps what it is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._through = Through()
        self._upstream = UpstreamPool(
            Origin.from_url("http://127.0.0.1:9/backend-api"),
            connect_timeout_seconds=1,
            idle_timeout_seconds=1,
            tls=None,
        )

    async def play(self, parts: list[bytes]) -> Through:
        """Return what becomes of *parts*; behind them the client leaves."""
        server = ClientServer(self._handle, DateField(lambda: 0.0), 10)
        connection, client = server(), Kept()
        connection.connection_made(client)
        for part in parts:
            if not client.is_closing():
                connection.data_received(part)
            await self._turns()
        connection.connection_lost(None)
        await self._turns()
        self._through.told = client.written
        return self._through

    async def _turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _handle(self, http_request: web.BaseRequest) -> web.StreamResponse:
        """Do what the relay and an exchange do, up to the response; then answer 204."""
        transport = http_request.transport
        assert transport is not None
        try:
            request = read_request(http_request)
            authority, raw = origin_form(request.target)
            hosts = [v for name, v in request.fields if name.lower() == b"host"]
            check_host(RULES, authority or (hosts[-1] if hosts else None))
            target = resolve(raw)
        except BearerdError:
            return AlreadySent(keeps_alive=False)
        await self._send(request, target.below)
        if not transport.is_closing():
            transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return AlreadySent(keeps_alive=request.keeps_alive)

    async def _send(self, request: ClientRequest, below: bytes) -> None:
        near, far = socket.socketpair()
        with near, far:
            connection, transport = (
                UpstreamConnection(self._loop, near, lambda _: None),
                Kept(),
            )
            connection.connection_made(transport)
            self._through.passed.append(Passed(request, transport))
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
        abandoned=lambda _: None,
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


def through(parts: list[bytes]) -> Through:
    """Return what becomes of a client's bytes, on an event loop of their own."""

    async def play() -> Through:
        return await Stage(asyncio.get_running_loop()).play(parts)

    return asyncio.run(play())


def readings(data: bytes) -> tuple[Told | None, Told | None]:
    """Return what h11 and llhttp make of what went up; None where it has no end."""
    by_h11 = request_by_h11(data)
    if by_h11 is not None:
        assert by_h11[1] == b"", "something is left over"
    theirs = by_h11[0] if by_h11 is not None else None
    if IS_PYTHON_PARSER and data.partition(b" ")[0] not in KNOWN:
        return theirs, theirs  # llhttp knows the registered methods alone
    return theirs, request_by_llhttp(data)


def check(passed: Passed) -> None:
    """Check one request that went up: read by all alike, signed once, nothing added."""
    data = passed.connection.written
    ours, theirs = readings(data)
    assert ours == theirs
    head = data.partition(b"\r\n\r\n")[0]
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert b"\x00" not in head
    if ours is None:
        return
    signed = [field for field in ours.fields if field[0] == b"authorization"]
    assert tuple(signed) == OURS
    for name in (b"host", b"chatgpt-account-id"):
        assert len([field for field in ours.fields if field[0] == name]) == 1
    assert passing(passed.request.fields) == passing(ours.fields)


def passing(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the field lines that are the client's to send on, in their order."""
    dropped = DROPPED_FROM_REQUESTS | nominations(fields)
    return [
        (name.lower(), value.strip(b" \t"))
        for name, value in fields
        if name.lower() not in dropped
    ]


@fuzzed
@given(ANY, SPLITS)
def test_what_goes_up_is_one_request_to_every_reader(
    data: bytes, cuts: list[int]
) -> None:
    """h11 and llhttp read the same, or both find no end; and only ours signs it."""
    check_all(data, cuts)


def check_all(data: bytes, cuts: list[int]) -> None:
    """Check every request that any bytes of a client come to."""
    for passed in through(split(data, cuts)).passed:
        check(passed)


@fuzzed
@given(requests(most=1), SPLITS)
def test_a_good_request_is_read_the_same_however_it_is_cut(
    data: bytes, cuts: list[int]
) -> None:
    """What goes up may be chunked in another way, and says the same."""
    whole = [readings(one.connection.written) for one in through([data]).passed]
    cut = [
        readings(one.connection.written) for one in through(split(data, cuts)).passed
    ]
    assert [body(one[0]) for one in cut] == [body(one[0]) for one in whole]


def body(told: Told | None) -> tuple[object, ...] | None:
    """Return what a request says, without how its body is framed."""
    if told is None:
        return None
    framing = (b"content-length", b"transfer-encoding")
    kept = [field for field in told.fields if field[0] not in framing]
    return told.start, kept, told.body


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("requests/*")), ids=lambda path: path.name
)
def test_the_corpus_of_requests_holds_cut_anywhere(path: Path) -> None:
    """What has broken one of these properties before stays mended."""
    data = path.read_bytes()
    for cut in range(len(data)):
        check_all(data, [cut])
