"""Field lines: order, case and bytes are kept; invalid ones are rejected."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.gateway import Gateway, get, ok, post
from tests.wire.parsers import IS_PYTHON_PARSER
from tests.wire.peers import fields, first_line, names, status, values


async def response_head(gateway: Gateway, response: bytes) -> bytes:
    """Return the head that a client gets when the upstream sends *response*."""
    client, _ = await gateway.answered(response)
    return await client.head()


@pytest.mark.parametrize(
    "line",
    [
        b"X-A : 1",
        b"X-A\t: 1",
        b"X-A: 1\r\n folded",
        b"X-A: 1\r\n\tfolded",
        b"X-A: a\x00b",
        b"X-A: a\rb",
        b"X-A: a\nX-B: b",
        b"X(A: 1",
        b"X A: 1",
        b"\xc3\x89: 1",
        b": 1",
        b"no-colon",
    ],
)
async def test_an_invalid_field_line_is_rejected(gateway: Gateway, line: bytes) -> None:
    """Items 25, 26, 28, 29, 35: RFC 9112 sections 5.1, 5.2; RFC 9110 section 5.5."""
    assert status(await gateway.refused(get(b"/v1/models", line))) == 400


async def test_a_head_with_bare_line_feeds_is_rejected(gateway: Gateway) -> None:
    """Item 29: one parser would see one request, another two."""
    head = await gateway.refused(b"GET /v1/a HTTP/1.1\nHost: localhost\n\n")
    assert status(head) == 400


@pytest.mark.parametrize("blank", [b" ", b"\t"])
async def test_whitespace_before_the_first_field_is_rejected(
    gateway: Gateway, blank: bytes
) -> None:
    """Item 30: RFC 9112 section 2.2."""
    head = await gateway.refused(
        b"GET /v1/a HTTP/1.1\r\n%bX-A: 1\r\nHost: localhost\r\n\r\n" % blank
    )
    assert status(head) == 400


async def test_a_folded_line_from_the_upstream_is_unfolded_or_rejected(
    gateway: Gateway,
) -> None:
    """Item 27: it is never forwarded folded."""
    head = await response_head(gateway, ok(b"ok", b"X-A: 1\r\n  2"))
    assert status(head) == 502 or values(head, b"x-a")[0].split() == [b"1", b"2"]


async def test_repeated_fields_keep_their_order_in_a_request(gateway: Gateway) -> None:
    """Items 31, 32: in whatever case each is spelled."""
    lines = [b"X-A: 1", b"x-a: 2", b"X-B: 9", b"X-A: 3", b"x-A: 1"]
    _, _, head = await gateway.asked(get(b"/v1/models", *lines))
    assert head.split(b"\r\n")[-7:-2] == lines


async def test_repeated_fields_keep_their_order_in_a_response(gateway: Gateway) -> None:
    """Items 31, 32: the same for a response."""
    lines = [b"X-A: 1", b"x-a: 2", b"X-B: 9", b"X-A: 3", b"x-A: 1"]
    head = await response_head(gateway, ok(b"ok", *lines))
    assert [line for line in head.split(b"\r\n") if line in lines] == lines


async def test_unknown_fields_are_forwarded_unchanged(gateway: Gateway) -> None:
    """Item 33: an agent's turn state is one of them."""
    line = b'x-Codex-TURN-state: a=b; c, "d"'
    client, peer, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")
    await peer.send(ok(b"ok", line))
    assert line in (await client.head()).split(b"\r\n")


async def test_set_cookie_is_not_forwarded(gateway: Gateway) -> None:
    """Items 34, 132: the cookie would tie one client's session to another's."""
    head = await response_head(
        gateway, ok(b"ok", b"Set-Cookie: a=1", b"set-cookie: b=2")
    )
    assert b"set-cookie" not in names(head)


async def test_cookies_of_a_client_are_not_forwarded(gateway: Gateway) -> None:
    """Item 132: the upstream gets no Cookie of a client."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Cookie: a=1"))
    assert b"cookie" not in names(head)


async def test_a_name_with_underscores_is_a_different_field(gateway: Gateway) -> None:
    """Item 35: an underscore is not a hyphen."""
    _, peer, head = await gateway.asked(
        post(b"/v1/responses", b"abc", b"Content_Length: 5", b"Transfer_Encoding: x")
    )
    assert values(head, b"content_length") == [b"5"]
    assert values(head, b"content-length") == [b"3"]
    assert await peer.exactly(3) == b"abc"


async def test_bytes_above_ascii_in_values_are_forwarded(gateway: Gateway) -> None:
    """Item 36: RFC 9110 section 5.5, obs-text."""
    line = b"X-A: caf\xe9 \x80\xff " + "ü".encode()
    client, peer, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")
    await peer.send(ok(b"ok", line))
    assert line in (await client.head()).split(b"\r\n")


async def test_an_empty_value_is_forwarded(gateway: Gateway) -> None:
    """Item 33: the field is present, which has a meaning of its own."""
    client, peer, head = await gateway.asked(get(b"/v1/models", b"X-Empty:"))
    assert values(head, b"x-empty") == [b""]
    await peer.send(ok(b"ok", b"X-Empty:"))
    assert values(await client.head(), b"x-empty") == [b""]


@pytest.mark.parametrize(
    "lines",
    [[b"X-%d: 1" % index for index in range(1000)], [b"X-A: " + b"a" * 200_000]],
    ids=["too many", "too long"],
)
async def test_a_header_section_that_is_too_large_is_rejected(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Item 37: RFC 6585 section 5; the next client is served."""
    head = await gateway.refused(get(b"/v1/models", *lines))
    await gateway.asked(get(b"/v1/models"))
    # The Python parser does not say whether it was a field or the request line.
    assert status(head) in (400, 431) or (IS_PYTHON_PARSER and status(head) == 414)
    assert values(head, b"connection") == [b"close"]


@pytest.mark.parametrize(
    "line",
    [b"X-A: " + b"a" * 100_000, b"\r\n".join(b"X-%d: 1" % n for n in range(20_000))],
    ids=["one line", "many"],
)
async def test_an_upstream_header_section_that_is_too_large_is_502(
    gateway: Gateway, line: bytes
) -> None:
    """Item 38: the client gets an error of ours."""
    head = await response_head(gateway, ok(b"ok", line))
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_protocol_error"]


async def test_no_field_is_added_to_a_request(gateway: Gateway) -> None:
    """Item 39: except Host and the fields of the credential."""
    _, _, head = await gateway.asked(get(b"/v1/models"))
    assert names(head) == {b"host", b"authorization", b"chatgpt-account-id"}


async def test_no_field_is_added_to_a_response(gateway: Gateway) -> None:
    """Items 40, 41: except Date."""
    head = await response_head(gateway, ok())
    assert names(head) == {b"content-length", b"date"}


async def test_the_date_of_the_upstream_is_kept(gateway: Gateway) -> None:
    """Item 41: it is the time at which the response was made."""
    line = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
    head = await response_head(gateway, ok(b"ok", line))
    assert [f for f in fields(head) if f[0].lower() == b"date"] == [
        (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")
    ]


@pytest.mark.parametrize("reason", [b"Fine", b"", b"Not \xe9 here", b"a  b"])
async def test_a_reason_phrase_never_corrupts_the_status_line(
    gateway: Gateway, reason: bytes
) -> None:
    """Item 42: whatever bytes it has."""
    head = await response_head(
        gateway, b"HTTP/1.1 299 %b\r\nContent-Length: 0\r\n\r\n" % reason
    )
    assert first_line(head) == b"HTTP/1.1 299 " + reason


async def test_a_status_line_without_a_reason_is_accepted(gateway: Gateway) -> None:
    """Item 42: some servers omit the space too."""
    head = await response_head(gateway, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")
    assert first_line(head) == b"HTTP/1.1 200 "


async def test_a_head_sent_byte_by_byte_is_parsed(
    gateway: Gateway,
) -> None:
    """Item 33: the boundaries of TCP segments have no meaning."""
    client = await gateway.client()
    for byte in get(b"/v1/models", b"X-A: 1"):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    peer = await gateway.upstream.accept()
    assert values(await peer.head(), b"x-a") == [b"1"]
    for byte in ok(b"body", b"X-B: 2"):
        await peer.send(bytes([byte]))
        await asyncio.sleep(0)
    head, body = await client.response()
    assert (values(head, b"x-b"), body) == ([b"2"], b"body")
