"""The client's request as values: framing, upgrade, Expect and hops, as aiohttp parses it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from bearerd.errors import BearerdError, RequestMalformed
from bearerd.relay.client.connection import AlreadySent
from bearerd.relay.client.date import DateField
from bearerd.relay.client.request import ClientRequest, read_request
from bearerd.relay.client.server import ClientServer
from tests.fuzz.transport import RecordingTransport

TURNS = 4
"""Rounds of the event loop from a request's bytes to its handler."""


async def parsed(data: bytes) -> ClientRequest:
    """Return the one request in *data*, as the relay reads it.

    Raises:
        RequestMalformed: the relay, or the parser before it, does not accept it.
    """
    results: list[ClientRequest | BearerdError] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            results.append(read_request(request))
        except BearerdError as error:
            results.append(error)
        return AlreadySent(keeps_alive=False)

    connection = ClientServer(handle, DateField(lambda: 0.0), 10)()
    connection.connection_made(RecordingTransport())
    connection.data_received(data)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    if not results:
        raise RequestMalformed("aiohttp's parser has refused it")
    (result,) = results
    if isinstance(result, BearerdError):
        raise result
    return result


def head(*lines: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    """Return the head of a request with these field lines."""
    start = b"%b /v1/x?a=%%zz %b" % (method, version)
    return b"\r\n".join([start, b"Host: localhost", *lines, b"", b""])


async def test_target_and_fields_are_the_client_s_bytes() -> None:
    """Nothing is decoded, joined or reordered."""
    request = await parsed(head(b"X-a: 1", b"x-A: \xe9", b"X-a: 3"))
    assert request.method == "POST"
    assert request.target == b"/v1/x?a=%zz"
    assert request.fields == (
        (b"Host", b"localhost"),
        (b"X-a", b"1"),
        (b"x-A", b"\xe9"),
        (b"X-a", b"3"),
    )


@pytest.mark.parametrize(
    ("lines", "body", "has_body", "length"),
    [
        ([], b"", False, None),
        ([b"Content-Length: 0"], b"", False, 0),
        ([b"Content-Length: 3"], b"abc", True, 3),
        ([b"Transfer-Encoding: chunked"], b"1\r\na\r\n0\r\n\r\n", True, None),
        ([b"Transfer-Encoding: Chunked"], b"1\r\na\r\n0\r\n\r\n", True, None),
    ],
)
async def test_the_framing_is_read_from_the_head(
    lines: list[bytes], body: bytes, has_body: bool, length: int | None
) -> None:
    """A declared length of 0 is kept, so that it can be declared again."""
    request = await parsed(head(*lines) + body)
    assert (request.reader is not None) is has_body
    assert request.length == length


@pytest.mark.parametrize(
    "data",
    [
        head(version=b"HTTP/1.2"),
        head(version=b"HTTP/2.0"),
        head(b"Content-Length: 9223372036854775808"),
        head(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"),
    ],
    ids=["1.2", "2.0", "a length of 2^63", "chunked in 1.0"],
)
async def test_what_one_of_aiohttp_s_parsers_accepts_and_others_do_not_is_malformed(
    data: bytes,
) -> None:
    """Other versions, lengths that overflow elsewhere, codings in HTTP/1.0."""
    with pytest.raises(RequestMalformed):
        await parsed(data)


@pytest.mark.parametrize(
    ("lines", "version", "keeps_alive"),
    [
        ([], b"HTTP/1.1", True),
        ([b"Connection: close"], b"HTTP/1.1", False),
        ([], b"HTTP/1.0", False),
        ([b"Connection: keep-alive"], b"HTTP/1.0", True),
    ],
)
async def test_whether_the_client_keeps_its_connection(
    lines: list[bytes], version: bytes, keeps_alive: bool
) -> None:
    """RFC 9112 section 9.3."""
    request = await parsed(head(*lines, version=version))
    assert request.keeps_alive is keeps_alive
    assert request.is_http_10 is (version == b"HTTP/1.0")


UPGRADE = (b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


@pytest.mark.parametrize(
    ("lines", "version", "asks"),
    [
        (UPGRADE, b"HTTP/1.1", True),
        ((b"connection: upgrade", b"upgrade: WebSocket"), b"HTTP/1.1", True),
        (UPGRADE, b"HTTP/1.0", False),
        (UPGRADE[1:], b"HTTP/1.1", False),
        (UPGRADE[:1], b"HTTP/1.1", False),
        ((UPGRADE[0], b"Upgrade: h2c"), b"HTTP/1.1", False),
        ((*UPGRADE, b"Content-Length: 1"), b"HTTP/1.1", False),
    ],
)
async def test_an_upgrade_is_asked_for_by_both_fields(
    lines: tuple[bytes, ...], version: bytes, asks: bool
) -> None:
    """RFC 9110 section 7.8: to WebSocket, without a body, in HTTP/1.1."""
    body = b"x" if len(lines) == 3 else b""
    request = await parsed(head(*lines, method=b"GET", version=version) + body)
    assert request.asks_upgrade is asks


@pytest.mark.parametrize(
    ("version", "expects"), [(b"HTTP/1.1", True), (b"HTTP/1.0", False)]
)
async def test_an_expectation_counts_in_http_1_1(version: bytes, expects: bool) -> None:
    """RFC 9110 section 10.1.1."""
    data = head(b"Expect: 100-Continue", b"Content-Length: 1", version=version)
    assert (await parsed(data)).expects_continue is expects


@pytest.mark.parametrize(
    ("method", "hops", "left", "is_last"),
    [
        (b"OPTIONS", b"10", b"9", False),
        (b"OPTIONS", b"010", b"9", False),
        (b"OPTIONS", b"1", b"0", False),
        (b"OPTIONS", b"0", b"0", True),
        (b"OPTIONS", b"x", b"x", False),
        (b"OPTIONS", b"-1", b"-1", False),
        (b"OPTIONS", b"9" * 10, b"9" * 10, False),
        (b"GET", b"3", b"3", False),
    ],
)
async def test_max_forwards_of_an_options_is_decremented(
    method: bytes, hops: bytes, left: bytes, is_last: bool
) -> None:
    """RFC 9110 section 7.6.2: other methods ignore it."""
    request = await parsed(head(b"Max-Forwards: " + hops, method=method))
    assert (b"Max-Forwards", left) in request.fields
    assert request.is_last_hop is is_last
