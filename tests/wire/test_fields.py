"""Field lines: order, case and bytes are kept; what breaks the grammar is refused."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.gateway import Gateway, get, ok, post
from tests.wire.parsers import IS_PYTHON_PARSER
from tests.wire.peers import fields, first_line, names, status, values


async def response_head(gateway: Gateway, response: bytes) -> bytes:
    """Return the head that a client gets when the upstream sends *answer*."""
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
async def test_a_field_line_that_breaks_the_grammar_is_refused(
    gateway: Gateway, line: bytes
) -> None:
    """Items 25, 26, 28, 29, 35: RFC 9112 sections 5.1, 5.2; RFC 9110 section 5.5."""
    assert status(await gateway.refused(get(b"/v1/models", line))) == 400


async def test_a_head_with_bare_line_feeds_is_refused(gateway: Gateway) -> None:
    """Item 29: two readers could see two requests."""
    head = await gateway.refused(b"GET /v1/a HTTP/1.1\nHost: localhost\n\n")
    assert status(head) == 400


@pytest.mark.parametrize("blank", [b" ", b"\t"])
async def test_blanks_before_the_first_field_are_refused(
    gateway: Gateway, blank: bytes
) -> None:
    """Item 30: RFC 9112 section 2.2."""
    head = await gateway.refused(
        b"GET /v1/a HTTP/1.1\r\n%bX-A: 1\r\nHost: localhost\r\n\r\n" % blank
    )
    assert status(head) == 400


async def test_a_folded_line_of_the_upstream_is_unfolded_or_refused(
    gateway: Gateway,
) -> None:
    """Item 27: never passed on folded."""
    head = await response_head(gateway, ok(b"ok", b"X-A: 1\r\n  2"))
    assert status(head) == 502 or values(head, b"x-a")[0].split() == [b"1", b"2"]


async def test_lines_of_one_name_keep_their_order_upward(gateway: Gateway) -> None:
    """Items 31, 32: in whatever case each is spelled."""
    lines = [b"X-A: 1", b"x-a: 2", b"X-B: 9", b"X-A: 3", b"x-A: 1"]
    _, _, head = await gateway.asked(get(b"/v1/models", *lines))
    assert head.split(b"\r\n")[-7:-2] == lines


async def test_lines_of_one_name_keep_their_order_downward(gateway: Gateway) -> None:
    """Items 31, 32: as above, the other way."""
    lines = [b"X-A: 1", b"x-a: 2", b"X-B: 9", b"X-A: 3", b"x-A: 1"]
    head = await response_head(gateway, ok(b"ok", *lines))
    assert [line for line in head.split(b"\r\n") if line in lines] == lines


async def test_unknown_fields_pass_both_ways_as_spelled(gateway: Gateway) -> None:
    """Item 33: an agent's turn state among them."""
    line = b'x-Codex-TURN-state: a=b; c, "d"'
    client, peer, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")
    await peer.send(ok(b"ok", line))
    assert line in (await client.head()).split(b"\r\n")


async def test_cookies_of_the_upstream_stay_with_us(gateway: Gateway) -> None:
    """Items 34, 132: they would tie one client's session to another's."""
    head = await response_head(
        gateway, ok(b"ok", b"Set-Cookie: a=1", b"set-cookie: b=2")
    )
    assert b"set-cookie" not in names(head)


async def test_cookies_of_a_client_stay_with_us(gateway: Gateway) -> None:
    """Item 132."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Cookie: a=1"))
    assert b"cookie" not in names(head)


async def test_a_name_like_a_known_one_is_not_taken_for_it(gateway: Gateway) -> None:
    """Item 35: an underscore is another letter."""
    _, peer, head = await gateway.asked(
        post(b"/v1/responses", b"abc", b"Content_Length: 5", b"Transfer_Encoding: x")
    )
    assert values(head, b"content_length") == [b"5"]
    assert values(head, b"content-length") == [b"3"]
    assert await peer.exactly(3) == b"abc"


async def test_bytes_above_ascii_in_values_pass_both_ways(gateway: Gateway) -> None:
    """Item 36: RFC 9110 section 5.5, obs-text."""
    line = b"X-A: caf\xe9 \x80\xff " + "ü".encode()
    client, peer, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")
    await peer.send(ok(b"ok", line))
    assert line in (await client.head()).split(b"\r\n")


async def test_an_empty_value_stays_empty_both_ways(gateway: Gateway) -> None:
    """Item 33: a field that is there says something."""
    client, peer, head = await gateway.asked(get(b"/v1/models", b"X-Empty:"))
    assert values(head, b"x-empty") == [b""]
    await peer.send(ok(b"ok", b"X-Empty:"))
    assert values(await client.head(), b"x-empty") == [b""]


@pytest.mark.parametrize(
    "lines",
    [[b"X-%d: 1" % index for index in range(1000)], [b"X-A: " + b"a" * 200_000]],
    ids=["too many", "too long"],
)
async def test_a_header_section_that_is_too_large_is_refused(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Item 37: RFC 6585 section 5; and the next client is served."""
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
    """Item 38."""
    head = await response_head(gateway, ok(b"ok", line))
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_protocol_error"]


async def test_no_field_is_invented_upward(gateway: Gateway) -> None:
    """Item 39: what is there is Host, and what signs the request."""
    _, _, head = await gateway.asked(get(b"/v1/models"))
    assert names(head) == {b"host", b"authorization", b"chatgpt-account-id"}


async def test_no_field_is_invented_downward(gateway: Gateway) -> None:
    """Items 40, 41: only the Date is added."""
    head = await response_head(gateway, ok())
    assert names(head) == {b"content-length", b"date"}


async def test_the_upstream_s_own_date_stays(gateway: Gateway) -> None:
    """Item 41: it says when the response was made."""
    line = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
    head = await response_head(gateway, ok(b"ok", line))
    assert [f for f in fields(head) if f[0].lower() == b"date"] == [
        (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")
    ]


@pytest.mark.parametrize("reason", [b"Fine", b"", b"Not \xe9 here", b"a  b"])
async def test_a_reason_phrase_never_corrupts_the_status_line(
    gateway: Gateway, reason: bytes
) -> None:
    """Item 42."""
    head = await response_head(
        gateway, b"HTTP/1.1 299 %b\r\nContent-Length: 0\r\n\r\n" % reason
    )
    assert first_line(head) == b"HTTP/1.1 299 " + reason


async def test_a_status_line_without_a_reason_is_understood(gateway: Gateway) -> None:
    """Item 42: some servers leave even the blank away."""
    head = await response_head(gateway, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")
    assert first_line(head) == b"HTTP/1.1 200 "


async def test_a_head_in_single_bytes_is_understood_both_ways(
    gateway: Gateway,
) -> None:
    """Item 33: where a segment ends means nothing."""
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
