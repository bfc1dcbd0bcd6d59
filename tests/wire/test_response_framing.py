"""Where a response ends: a complete one arrives complete, and no other looks complete."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.peers import first_line, names, status, values

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
OLD_GET = b"GET /v1/models HTTP/1.0\r\n\r\n"


async def assert_502(gateway: Gateway, response: bytes) -> None:
    """Check that *response* becomes a 502 of ours, and that its connection is closed."""
    client, peer = await gateway.answered(response)
    head, body = await client.response()
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_protocol_error"]
    assert b"HTTP/1.1 " not in body
    assert await peer.gone() == b""


@pytest.mark.parametrize(
    "lengths",
    [
        [b"2", b"3"],
        [b"2, 3"],
        [b"2, 2"],
        [b"+2"],
        [b"-2"],
        [b""],
        [b"0x2"],
        [b"18446744073709551618"],
        [b"\xb2"],
    ],
)
async def test_a_response_with_an_invalid_length_is_502(
    gateway: Gateway, lengths: list[bytes]
) -> None:
    """Item 70: RFC 9112 section 6.3."""
    lines = b"".join(b"Content-Length: %b\r\n" % length for length in lengths)
    await assert_502(gateway, b"HTTP/1.1 200 OK\r\n%b\r\nok" % lines)


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 2\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
async def test_a_response_with_ambiguous_framing_is_502(
    gateway: Gateway, lines: bytes
) -> None:
    """Item 71: it is the usual form of response splitting."""
    await assert_502(
        gateway, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n2\r\nok\r\n0\r\n\r\n" % lines
    )


@pytest.mark.parametrize(
    "response",
    [
        b"garbage\r\n\r\n",
        b"HTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
async def test_an_invalid_response_is_502(gateway: Gateway, response: bytes) -> None:
    """Item 74: no part of it is forwarded."""
    await assert_502(gateway, response)


TRUNCATED = [
    ok(b"0123456789")[:-8],
    CHUNKED_HEAD + b"5\r\nab",
    CHUNKED_HEAD + b"2\r\nab\r\n",
    CHUNKED_HEAD + b"2\r\nab\r\n0\r\n",
    CHUNKED_HEAD + b"2\r\nab\r\n0\r\nX-T: 1\r\n",
    CHUNKED_HEAD,
    ok(b"0123456789")[:-10],
]


@pytest.mark.parametrize("response", TRUNCATED)
@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_truncated_response_is_aborted(
    gateway: Gateway, response: bytes, ending: str
) -> None:
    """Items 72, 73: no last chunk, no full length, and no second status line."""
    client, peer = await gateway.answered(response)
    head = await client.head()
    assert status(head) == 200
    peer.reset() if ending == "reset" else peer.close()
    body = await client.gone()
    assert len(body) < 10 or b"transfer-encoding" in names(head)
    assert b"0\r\n\r\n" not in body
    assert b"HTTP/1.1 " not in body


@pytest.mark.parametrize("response", TRUNCATED[1:6])
async def test_an_http_1_0_client_sees_a_truncated_response_as_a_reset(
    gateway: Gateway, response: bytes
) -> None:
    """Item 73: an orderly close would say that the body was complete."""
    client, peer = await gateway.answered(response, OLD_GET)
    assert status(await client.head()) == 200
    peer.close()
    assert await client.is_reset()


async def test_an_invalid_chunk_in_mid_response_aborts_it(gateway: Gateway) -> None:
    """Items 72, 73: the part before it is forwarded, without an end."""
    client, peer = await gateway.answered(CHUNKED_HEAD + b"2\r\nab\r\n")
    await client.head()
    assert await client.exactly(7) == b"2\r\nab\r\n"
    await peer.send(b"zz\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n")
    assert await client.gone() == b""
    assert await peer.gone() == b""


async def test_a_close_delimited_body_is_forwarded_chunked(
    gateway: Gateway,
) -> None:
    """Item 75: so the client's connection stays open."""
    client, peer = await gateway.answered(CLOSED_HEAD + b"abc")
    peer.close()
    assert values(await client.head(), b"transfer-encoding") == [b"chunked"]
    assert await client.until(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"


async def test_a_close_delimited_body_that_is_reset_is_aborted(
    gateway: Gateway,
) -> None:
    """Item 72: a reset is not the end of a body."""
    client, peer = await gateway.answered(CLOSED_HEAD + b"abc")
    await client.head()
    assert await client.exactly(8) == b"3\r\nabc\r\n"
    peer.reset()
    assert await client.gone() == b""


async def test_a_chunked_response_is_close_delimited_for_http_1_0(
    gateway: Gateway,
) -> None:
    """Item 76: HTTP/1.0 has no chunks; the end of the connection is the end of the
    body.
    """
    client, _ = await gateway.answered(
        CHUNKED_HEAD + b"2\r\nab\r\n3\r\ncde\r\n0\r\nX-T: 1\r\n\r\n", OLD_GET
    )
    head = await client.head()
    assert not {b"transfer-encoding", b"content-length"} & names(head)
    assert values(head, b"connection") == [b"close"]
    assert await client.rest() == b"abcde"


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ],
    ids=["plain", "length", "chunked"],
)
async def test_a_204_has_neither_body_nor_framing(
    gateway: Gateway, lines: bytes
) -> None:
    """Item 77: RFC 9110 section 8.6, RFC 9112 section 6.1."""
    client, peer = await gateway.answered(b"HTTP/1.1 204 No Content\r\n%b\r\n" % lines)
    head = await client.head()
    assert first_line(head) == b"HTTP/1.1 204 No Content"
    assert not {b"content-length", b"transfer-encoding"} & names(head)
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


async def test_a_304_keeps_its_length_and_has_no_body(gateway: Gateway) -> None:
    """Item 78: it is the length that a 200 would have."""
    client, peer = await gateway.answered(
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "a"\r\n\r\n'
    )
    head = await client.head()
    assert values(head, b"content-length") == [b"99"]
    assert values(head, b"etag") == [b'"a"']
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


@pytest.mark.parametrize("line", [b"Content-Length: 99", b"Transfer-Encoding: chunked"])
async def test_a_response_to_head_keeps_its_framing_and_has_no_body(
    gateway: Gateway, line: bytes
) -> None:
    """Item 79: RFC 9110 section 9.3.2."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % line, request(b"HEAD", b"/v1/models")
    )
    assert line in (await client.head()).split(b"\r\n")
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


async def test_an_unframed_response_to_head_is_complete_at_once(
    gateway: Gateway,
) -> None:
    """Item 79: there is no body to wait for."""
    client, _ = await gateway.answered(CLOSED_HEAD, request(b"HEAD", b"/v1/models"))
    assert status(await client.head()) == 200
    _, peer, _ = await gateway.asked(get(b"/v1/models"), client)
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


async def test_a_205_is_forwarded_without_content(gateway: Gateway) -> None:
    """Item 80: RFC 9110 section 15.3.6."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"
    )
    head, body = await client.response()
    assert (status(head), values(head, b"content-length"), body) == (205, [b"0"], b"")


async def test_an_encoded_response_is_not_decoded(gateway: Gateway) -> None:
    """Item 81: it keeps its length and its Content-Encoding."""
    body = b"\x1f\x8b\x08\x00not really gzip\x00\xff"
    client, _ = await gateway.answered(ok(body, b"Content-Encoding: gzip"))
    head, got = await client.response()
    assert values(head, b"content-encoding") == [b"gzip"]
    assert got == body


@pytest.mark.parametrize("line", [b"", b"Trailer: X-T\r\n"])
async def test_response_trailers_are_forwarded(gateway: Gateway, line: bytes) -> None:
    """Item 82: announced or not."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n" % line
    )
    await client.head()
    expected = b"2\r\nab\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n"
    assert await client.exactly(len(expected)) == expected


@pytest.mark.parametrize("name", [b"Set-Cookie", b"x-bearerd-error", b"Connection"])
async def test_a_trailer_is_filtered_like_a_field_of_the_head(
    gateway: Gateway, name: bytes
) -> None:
    """Item 82: RFC 9110 section 6.5.1; a field removed from the head is removed here
    too.
    """
    client, _ = await gateway.answered(
        CHUNKED_HEAD + b"2\r\nab\r\n0\r\n%b: 1\r\n\r\n" % name
    )
    await client.head()
    assert name.lower() not in (await client.until(b"\r\n\r\n")).lower()


async def test_a_content_length_among_the_trailers_aborts_the_response(
    gateway: Gateway,
) -> None:
    """Item 82: it would frame what has been framed already."""
    client, peer = await gateway.answered(
        CHUNKED_HEAD + b"2\r\nab\r\n0\r\nContent-Length: 1\r\n\r\n"
    )
    await client.head()
    assert await client.gone() == b"2\r\nab\r\n"
    assert await peer.gone() == b""


async def test_empty_bodies_are_forwarded_in_every_framing(gateway: Gateway) -> None:
    """Item 85: a body of no bytes is still a body."""
    client, peer = await gateway.answered(ok(b""))
    assert values(await client.head(), b"content-length") == [b"0"]
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(CHUNKED_HEAD + b"0\r\n\r\n")
    await client.head()
    assert await client.exactly(5) == b"0\r\n\r\n"
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(CLOSED_HEAD)
    peer.close()
    await client.head()
    assert await client.exactly(5) == b"0\r\n\r\n"


async def test_a_slow_client_pauses_reading_from_the_upstream(
    gateway: Gateway,
) -> None:
    """Item 85: a response that is not read does not pile up in memory."""
    size = 256 << 20
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    block, sent = bytes(1 << 20), 0
    try:
        while sent < size:
            peer.writer.write(block)
            sent += len(block)
            async with asyncio.timeout(0.5):
                await peer.writer.drain()
    except TimeoutError:
        pass
    assert sent < 64 << 20


async def test_whitespace_around_a_content_length_is_ignored(gateway: Gateway) -> None:
    """Item 70: RFC 9112 section 5.1; such a response is valid."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t \r\nX-A:  a b \t\r\n\r\nok"
    )
    head, body = await client.response()
    assert (values(head, b"x-a"), body) == ([b"a b"], b"ok")
