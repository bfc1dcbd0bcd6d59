"""Where a response ends: what was whole arrives whole, and nothing else looks whole."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.peers import first_line, names, status, values

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
OLD_GET = b"GET /v1/models HTTP/1.0\r\n\r\n"


async def is_502(gateway: Gateway, response: bytes) -> None:
    """Check that *answer* becomes a 502 of ours, and that its connection is closed."""
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
async def test_a_response_with_a_bad_length_is_502(
    gateway: Gateway, lengths: list[bytes]
) -> None:
    """Item 70: RFC 9112 section 6.3."""
    lines = b"".join(b"Content-Length: %b\r\n" % length for length in lengths)
    await is_502(gateway, b"HTTP/1.1 200 OK\r\n%b\r\nok" % lines)


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
async def test_a_response_that_is_framed_in_two_ways_is_502(
    gateway: Gateway, lines: bytes
) -> None:
    """Item 71: this is how responses are split."""
    await is_502(gateway, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n2\r\nok\r\n0\r\n\r\n" % lines)


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
async def test_a_response_that_breaks_the_grammar_is_502(
    gateway: Gateway, response: bytes
) -> None:
    """Item 74: and never passed on in part."""
    await is_502(gateway, response)


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
async def test_a_response_that_breaks_off_is_broken_off(
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
async def test_a_1_0_client_sees_a_truncated_response_as_a_reset(
    gateway: Gateway, response: bytes
) -> None:
    """Item 73: an orderly end would tell it that the body was whole."""
    client, peer = await gateway.answered(response, OLD_GET)
    assert status(await client.head()) == 200
    peer.close()
    assert await client.is_reset()


async def test_a_bad_chunk_in_mid_response_breaks_it_off(gateway: Gateway) -> None:
    """Items 72, 73: what came before the fault is passed on, and no end."""
    client, peer = await gateway.answered(CHUNKED_HEAD + b"2\r\nab\r\n")
    await client.head()
    assert await client.exactly(7) == b"2\r\nab\r\n"
    await peer.send(b"zz\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n")
    assert await client.gone() == b""
    assert await peer.gone() == b""


async def test_a_body_that_ends_with_the_connection_is_chunked_onward(
    gateway: Gateway,
) -> None:
    """Item 75: so that our client's connection lives on."""
    client, peer = await gateway.answered(CLOSED_HEAD + b"abc")
    peer.close()
    assert values(await client.head(), b"transfer-encoding") == [b"chunked"]
    assert await client.until(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"


async def test_a_close_delimited_body_that_is_reset_is_broken_off(
    gateway: Gateway,
) -> None:
    """Item 72: a reset is no end."""
    client, peer = await gateway.answered(CLOSED_HEAD + b"abc")
    await client.head()
    assert await client.exactly(8) == b"3\r\nabc\r\n"
    peer.reset()
    assert await client.gone() == b""


async def test_a_chunked_response_is_unchunked_for_a_1_0_client(
    gateway: Gateway,
) -> None:
    """Item 76: 1.0 knows no chunks; the connection's end is the body's."""
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
    """Item 78: the length is the one that a 200 would have."""
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


async def test_an_unframed_response_to_head_is_over_at_once(gateway: Gateway) -> None:
    """Item 79: there is no body whose end could be waited for."""
    client, _ = await gateway.answered(CLOSED_HEAD, request(b"HEAD", b"/v1/models"))
    assert status(await client.head()) == 200
    _, peer, _ = await gateway.asked(get(b"/v1/models"), client)
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


async def test_a_205_passes_without_content(gateway: Gateway) -> None:
    """Item 80."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"
    )
    head, body = await client.response()
    assert (status(head), values(head, b"content-length"), body) == (205, [b"0"], b"")


async def test_an_encoded_response_passes_undecoded(gateway: Gateway) -> None:
    """Item 81: with its length and its coding."""
    body = b"\x1f\x8b\x08\x00not really gzip\x00\xff"
    client, _ = await gateway.answered(ok(body, b"Content-Encoding: gzip"))
    head, got = await client.response()
    assert values(head, b"content-encoding") == [b"gzip"]
    assert got == body


@pytest.mark.parametrize("line", [b"", b"Trailer: X-T\r\n"])
async def test_response_trailers_are_passed_on(gateway: Gateway, line: bytes) -> None:
    """Item 82: announced or not."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n" % line
    )
    await client.head()
    expected = b"2\r\nab\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n"
    assert await client.exactly(len(expected)) == expected


@pytest.mark.parametrize("name", [b"Set-Cookie", b"x-bearerd-error", b"Connection"])
async def test_a_trailer_says_nothing_that_the_head_may_not(
    gateway: Gateway, name: bytes
) -> None:
    """Item 82: RFC 9110 section 6.5.1; what stays out of the head stays out here."""
    client, _ = await gateway.answered(
        CHUNKED_HEAD + b"2\r\nab\r\n0\r\n%b: 1\r\n\r\n" % name
    )
    await client.head()
    assert name.lower() not in (await client.until(b"\r\n\r\n")).lower()


async def test_a_length_among_the_trailers_breaks_the_response_off(
    gateway: Gateway,
) -> None:
    """Item 82: it would frame what has been framed already."""
    client, peer = await gateway.answered(
        CHUNKED_HEAD + b"2\r\nab\r\n0\r\nContent-Length: 1\r\n\r\n"
    )
    await client.head()
    assert await client.gone() == b"2\r\nab\r\n"
    assert await peer.gone() == b""


async def test_empty_bodies_pass_in_every_framing(gateway: Gateway) -> None:
    """Item 85: 0 bytes are a body too."""
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


async def test_a_slow_client_stops_the_reading_from_the_upstream(
    gateway: Gateway,
) -> None:
    """Item 85: what nobody takes is not piled up."""
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


async def test_blanks_around_a_length_are_no_part_of_it(gateway: Gateway) -> None:
    """Item 70: RFC 9112 section 5.1; such a response is a good one."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t \r\nX-A:  a b \t\r\n\r\nok"
    )
    head, body = await client.response()
    assert (values(head, b"x-a"), body) == ([b"a b"], b"ok")
