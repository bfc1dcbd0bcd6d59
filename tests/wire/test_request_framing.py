"""Where a request ends: in one reading only, the same as the upstream's."""

from __future__ import annotations

import pytest

from tests.wire.gateway import CLIENT_KEY, Gateway, get, ok, post, request
from tests.wire.parsers import lax
from tests.wire.peers import first_line, names, status, values

CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


async def rejected(gateway: Gateway, *lines: bytes, body: bytes = CHUNKS) -> bytes:
    """Send a POST with these framing lines; return the head of the error response."""
    head = await gateway.refused(request(b"POST", b"/v1/responses", *lines) + body)
    assert values(head, b"connection") == [b"close"]
    return head


@pytest.mark.parametrize(
    "lines",
    [
        [CHUNKED, b"Content-Length: 3"],
        [b"Content-Length: 3", CHUNKED],
        [b"Content-Length: 13", b"transfer-encoding: Chunked"],
    ],
)
async def test_a_transfer_coding_with_a_length_is_rejected(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Item 51: RFC 9112 section 6.3; it is the usual form of request smuggling."""
    assert status(await rejected(gateway, *lines)) == 400


async def test_a_chunked_body_is_forwarded_without_a_length(gateway: Gateway) -> None:
    """Item 52: it stays chunked."""
    _, peer, head = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED) + CHUNKS
    )
    assert values(head, b"transfer-encoding") == [b"chunked"]
    assert b"content-length" not in names(head)
    assert await peer.until(b"0\r\n\r\n") == CHUNKS


@pytest.mark.parametrize(
    "coding",
    [
        b"xchunked",
        b"identity",
        b"gzip",
        b"chunked, gzip",
        b"chunked, identity",
        b"chunked, chunked",
        b",chunked",
        b"chunked,",
        b"chunked;q=1",
        b"\x0bchunked",
        b"chunked\x0b",
        b'"chunked"',
        b"",
        b"gzip, chunked",
    ],
)
async def test_a_transfer_coding_other_than_chunked_is_rejected(
    gateway: Gateway, coding: bytes
) -> None:
    """Items 53, 54, 56: two parsers could frame it differently."""
    head = await rejected(gateway, b"Transfer-Encoding: " + coding)
    assert status(head) in (400, 501)


async def test_two_transfer_encoding_lines_are_rejected(gateway: Gateway) -> None:
    """Item 55: even if both are valid."""
    assert (
        status(await rejected(gateway, CHUNKED, b"Transfer-Encoding: chunked")) == 400
    )


async def test_a_transfer_coding_in_http_1_0_is_rejected(gateway: Gateway) -> None:
    """Item 57: RFC 9112 section 6.1 calls that framing faulty."""
    head = await gateway.refused(
        b"POST /v1/responses HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS
    )
    assert status(head) == 400


@pytest.mark.parametrize(
    "lengths",
    [
        [b"3", b"4"],
        [b"3", b"3"],
        [b"3, 3"],
        [b"+3"],
        [b"-1"],
        [b""],
        [b"0x3"],
        [b"3_0"],
        [b"3 0"],
        [b"\xb3"],
        [b"18446744073709551619"],
    ],
)
async def test_an_invalid_content_length_is_rejected(
    gateway: Gateway, lengths: list[bytes]
) -> None:
    """Items 58, 59: RFC 9112 section 6.3."""
    lines = [b"Content-Length: " + length for length in lengths]
    assert status(await rejected(gateway, *lines, body=b"abc")) == 400


BAD_CHUNKS = [
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"0_3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"\r\nabc\r\n0\r\n\r\n",
    b"g\r\nabc\r\n0\r\n\r\n",
    pytest.param(
        b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        marks=lax("a chunk size has any number of digits"),
    ),
    b"3\nabc\r\n0\r\n\r\n",
    pytest.param(
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        marks=lax("a chunk extension may hold a bare CR"),
    ),
    b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcX\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
]


@pytest.mark.parametrize("body", BAD_CHUNKS)
async def test_an_invalid_chunk_never_completes_a_request_upstream(
    gateway: Gateway, body: bytes
) -> None:
    """Items 60, 61: the upstream request is aborted, not completed."""
    client = await gateway.client()
    await client.send(request(b"POST", b"/v1/responses", CHUNKED) + body)
    assert status(await client.head()) == 400
    assert b"HTTP/1.1 " not in await client.gone()
    for peer in gateway.upstream.peers:
        assert b"0\r\n\r\n" not in await peer.gone()


@pytest.mark.parametrize("body", BAD_CHUNKS)
async def test_an_invalid_chunk_after_a_valid_one_aborts_the_upload(
    gateway: Gateway, body: bytes
) -> None:
    """Items 60, 61: the upstream must not take a part for the whole."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED) + b"2\r\nxy\r\n"
    )
    assert await peer.exactly(7) == b"2\r\nxy\r\n"
    await client.send(body)
    assert b"0\r\n\r\n" not in await peer.gone()
    assert status(await client.head()) == 400


async def test_chunk_extensions_are_not_forwarded(gateway: Gateway) -> None:
    """Item 62: RFC 9112 section 7.1.1."""
    _, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED)
        + b"3;name=value;other\r\nabc\r\n0;last\r\n\r\n"
    )
    assert await peer.until(b"0\r\n\r\n") == CHUNKS


async def test_a_content_length_is_forwarded(gateway: Gateway) -> None:
    """Item 63: some upstreams reject chunks."""
    body = b"x" * 100_000
    _, peer, head = await gateway.asked(post(b"/v1/responses", body))
    assert values(head, b"content-length") == [b"100000"]
    assert b"transfer-encoding" not in names(head)
    assert await peer.exactly(len(body)) == body


async def test_bytes_after_a_body_are_the_next_request(gateway: Gateway) -> None:
    """Item 64: the body ends where its framing ends."""
    client, peer, head = await gateway.asked(
        post(b"/v1/responses", b"abc") + get(b"/v1/models")
    )
    assert first_line(head).startswith(b"POST ")
    assert await peer.exactly(3) == b"abc"
    await peer.send(ok(b"one"))
    assert (await client.response())[1] == b"one"
    assert first_line(await peer.head()).startswith(b"GET ")
    await peer.send(ok(b"two"))
    assert (await client.response())[1] == b"two"


async def test_request_trailers_are_never_merged_into_the_fields(
    gateway: Gateway,
) -> None:
    """Item 65: they are dropped."""
    _, peer, head = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED, b"Trailer: X-T, Authorization")
        + b"3\r\nabc\r\n0\r\nX-T: 1\r\nAuthorization: Bearer mine\r\n\r\n"
    )
    assert not {b"x-t", b"trailer"} & names(head)
    assert await peer.until(b"0\r\n\r\n") == CHUNKS


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"HEAD", b"OPTIONS"])
async def test_a_body_keeps_its_framing_with_every_method(
    gateway: Gateway, method: bytes
) -> None:
    """Item 66: also with methods that rarely have a body."""
    _, peer, head = await gateway.asked(
        request(method, b"/v1/models", b"Content-Length: 3") + b"abc"
    )
    assert values(head, b"content-length") == [b"3"]
    assert await peer.exactly(3) == b"abc"


async def test_an_empty_body_keeps_its_content_length(
    gateway: Gateway,
) -> None:
    """Item 67: and no Content-Type is added."""
    _, _, head = await gateway.asked(post(b"/v1/responses", b""))
    assert values(head, b"content-length") == [b"0"]
    assert b"content-type" not in names(head)


async def test_an_empty_chunked_body_is_forwarded(gateway: Gateway) -> None:
    """Item 67: a body of no bytes is still a body."""
    _, _, head = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED) + b"0\r\n\r\n"
    )
    assert values(head, b"content-length") == [b"0"]


async def test_a_post_without_framing_has_no_body(gateway: Gateway) -> None:
    """Item 67: RFC 9110 section 8.6 allows a user agent to omit the length."""
    client, peer, head = await gateway.asked(request(b"POST", b"/v1/responses"))
    assert not {b"transfer-encoding", b"content-type"} & names(head)
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


@pytest.mark.parametrize(
    ("framing", "part"),
    [(b"Content-Length: 10", b"abc"), (CHUNKED, b"3\r\nabc\r\n")],
    ids=["length", "chunked"],
)
async def test_an_aborted_body_is_aborted_upstream(
    gateway: Gateway, framing: bytes, part: bytes
) -> None:
    """Item 68: it is not completed, and not sent again."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", framing) + part
    )
    assert await peer.exactly(len(part)) == part
    client.half_close()
    assert await peer.gone() == b""
    assert [told.status for told in await gateway.finished()] == [499]
    assert gateway.upstream.connections == 1


async def test_an_encoded_body_is_forwarded_unchanged(gateway: Gateway) -> None:
    """Item 69: zstd, gzip, or neither of them in spite of its Content-Encoding."""
    body = b"(\xb5/\xfd\x04\x00Y\x00\x00hello world\xf0\x9f"
    for coding in (b"zstd", b"gzip", b"br", b"x-made-up"):
        _, peer, head = await gateway.asked(
            post(b"/v1/responses", body, b"Content-Encoding: " + coding)
        )
        assert values(head, b"content-encoding") == [coding]
        assert await peer.exactly(len(body)) == body


async def test_no_smuggled_request_gets_our_credential(
    gateway: Gateway,
) -> None:
    """Items 51, 64: what is in a body stays in the body."""
    hidden = get(b"/v1/hidden", b"x-bearerd-key: " + CLIENT_KEY.encode())
    _, peer, head = await gateway.asked(post(b"/v1/responses", hidden))
    assert values(head, b"content-length") == [b"%d" % len(hidden)]
    assert await peer.exactly(len(hidden)) == hidden
    assert gateway.upstream.connections == 1
