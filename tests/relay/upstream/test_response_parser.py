"""Responses, however their bytes are cut: heads, both framings, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.response_parser import (
    HEAD_LIMIT_BYTES,
    INTERIM_LIMIT,
    ResponseParser,
    ResponseState,
)

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def ok(body: bytes, *lines: bytes) -> bytes:
    """Return a 200 with its length and these lines."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (
        len(body),
        b"".join(line + b"\r\n" for line in lines),
        body,
    )


@dataclass
class Parsed:
    """What the parser has made of a response."""

    head: ResponseHead | None = None
    interims: list[ResponseHead] = field(default_factory=list)
    body: bytes = b""
    trailers: list[Field] = field(default_factory=list)
    is_complete: bool = False
    leaves_connection_reusable: bool = False
    is_refused: bool = False


def parse(*parts: bytes, is_head_request: bool = False, ends: bool = False) -> Parsed:
    """Parse *parts* as one response; with *ends* the connection ends behind them."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=is_head_request, asks_upgrade=False)
    return feed(parser, *parts, ends=ends)


def feed(parser: ResponseParser, *parts: bytes, ends: bool = False) -> Parsed:
    """Feed *parts* to *parser*, and return what it has made of them."""
    is_refused = False
    try:
        for part in parts:
            parser.feed(part)
    except UpstreamProtocolError:
        is_refused = True
    if ends:
        parser.feed_eof()
    return Parsed(
        parser.head,
        parser.take_interims(),
        b"".join(parser.take_chunks()),
        parser.trailers,
        parser.is_complete,
        parser.leaves_connection_reusable and not is_refused,
        is_refused,
    )


WHOLE = {
    "length": (ok(b"hello", b"X-A: 1", b"x-a: 2"), b"hello"),
    "empty": (ok(b""), b""),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
    "interim": (EARLY_HINTS + EARLY_HINTS + ok(b"hello"), b"hello"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
    "obs-text": (ok(b"\xff", b"X-A: \xe9\x80"), b"\xff"),
}


@pytest.mark.parametrize(("raw", "body"), WHOLE.values(), ids=WHOLE)
def test_a_response_cut_at_any_byte_is_the_same_response(
    raw: bytes, body: bytes
) -> None:
    """The end of a segment means nothing."""
    whole = parse(raw)
    assert (whole.body, whole.is_complete, whole.leaves_connection_reusable) == (
        body,
        True,
        True,
    )
    for cut in range(len(raw) + 1):
        assert parse(raw[:cut], raw[cut:]) == whole
    assert parse(*[bytes([byte]) for byte in raw]) == whole


@pytest.mark.parametrize(("raw", "body"), WHOLE.values(), ids=WHOLE)
def test_a_part_of_a_response_is_never_complete(raw: bytes, body: bytes) -> None:
    """Even if the connection ends there."""
    for cut in range(len(raw)):
        begun = parse(raw[:cut], ends=True)
        assert not begun.is_complete
        assert not begun.leaves_connection_reusable
        assert body.startswith(begun.body)


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 150), max_size=8))
def test_any_split_of_the_same_bytes_gives_the_same_result(
    name: str, cuts: list[int]
) -> None:
    """Several cuts are no different from one."""
    raw, _ = WHOLE[name]
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parts = [raw[a:b] for a, b in pairwise(edges)]
    assert parse(*parts) == parse(raw)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.integers(1, 64))
def test_any_body_comes_out_of_its_chunks(chunks: list[bytes], size: int) -> None:
    """Whatever segments they arrive in."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    raw = CHUNKED + framed + b"0\r\n\r\n"
    parsed = parse(*[raw[at : at + size] for at in range(0, len(raw), size)])
    assert parsed.body == b"".join(chunks)
    assert parsed.leaves_connection_reusable


def test_a_head_is_kept_as_it_came() -> None:
    """Order, case, reason phrase and bytes above ASCII."""
    head = parse(b"HTTP/1.1 299 So \xe9\r\nX-B: \xff\r\nx-a:1\r\nX-A:  2 \r\n\r\n").head
    assert head is not None
    assert (head.status, head.reason) == (299, b"So \xe9")
    assert head.fields == ((b"X-B", b"\xff"), (b"x-a", b"1"), (b"X-A", b"2"))
    assert (head.length, head.is_chunked, head.has_body) == (None, False, True)


def test_a_body_without_framing_ends_with_the_connection() -> None:
    """No other response can follow it."""
    begun = parse(UNTIL_CLOSE + b"abc")
    assert (begun.body, begun.is_complete) == (b"abc", False)
    ended = parse(UNTIL_CLOSE + b"abc", ends=True)
    assert (ended.body, ended.is_complete, ended.leaves_connection_reusable) == (
        b"abc",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("raw", "leaves_connection_reusable"),
    [
        (ok(b"x"), True),
        (ok(b"x", b"Connection: close"), False),
        (ok(b"x", b"connection: foo, Close"), False),
        (ok(b"x").replace(b"1.1", b"1.0"), False),
        (ok(b"x", b"Connection: keep-alive").replace(b"1.1", b"1.0"), True),
        (ok(b"x") + b"y", False),
        (ok(b"x") + ok(b"y"), False),
        (ok(b"x") + b"\r\n", True),
    ],
)
def test_a_connection_is_reusable_only_after_a_persistent_response(
    raw: bytes, leaves_connection_reusable: bool
) -> None:
    """RFC 9112 section 9.3; and never after stray bytes."""
    for parts in ((raw,), tuple(bytes([byte]) for byte in raw)):
        parsed = parse(*parts)
        assert (parsed.body, parsed.is_complete) == (b"x", True)
        assert parsed.leaves_connection_reusable is leaves_connection_reusable


@pytest.mark.parametrize(
    "line", [b"", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_a_response_to_head_is_whole_with_its_head(line: bytes) -> None:
    """The same parser understands the next one."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=True, asks_upgrade=False)
    parsed = feed(parser, b"HTTP/1.1 200 OK\r\n%b\r\n" % line)
    assert (parsed.body, parsed.is_complete, parsed.leaves_connection_reusable) == (
        b"",
        True,
        line != b"",
    )
    parser.expect_response(is_head_request=False, asks_upgrade=False)
    assert feed(parser, ok(b"next")).body == b"next"


def test_a_body_behind_a_response_to_head_is_stray() -> None:
    """It would be taken for the next response."""
    parsed = parse(ok(b"evil"), is_head_request=True)
    assert (parsed.body, parsed.is_complete, parsed.leaves_connection_reusable) == (
        b"",
        True,
        False,
    )


def test_one_parser_reads_one_response_after_another() -> None:
    """Nothing of one is left in the next."""
    parser = ResponseParser()
    for raw, body in [*WHOLE.values(), *WHOLE.values()]:
        parser.expect_response(is_head_request=False, asks_upgrade=False)
        parsed = feed(parser, raw)
        assert (parsed, parsed.body) == (parse(raw), body)


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 \x00OK\r\n\r\n",
        b"HTTP/1.1 200 O\x1b[K\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        ok(b"x", b"Content-Length: 2"),
        ok(b"x", b"Content-Length: 1, 1"),
        ok(b"x", b"Transfer-Encoding: chunked"),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),
        CHUNKED.replace(b"chunked", b"xchunked"),
        CHUNKED.replace(b"chunked", b"gzip, chunked"),
        CHUNKED.replace(b"chunked", b"identity"),
        CHUNKED + b"zz\r\n",
        CHUNKED + b"1\r\nabc\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"fffffffffffffffff\r\n",
        ok(b"").replace(b": 0", b": +0"),
        ok(b"").replace(b": 0", b": "),
        ok(b"", b"X-A : 1"),
        ok(b"", b"X-A: a\x00"),
        EARLY_HINTS * (INTERIM_LIMIT + 1),
        ok(b"", b"X-A: " + b"a" * HEAD_LIMIT_BYTES),
        ok(b"", *[b"X-%d: aaaaaaaaaa" % n for n in range(HEAD_LIMIT_BYTES // 10)]),
        CHUNKED + b"0\r\nX-T: " + b"a" * HEAD_LIMIT_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_breaks_the_rules_is_refused_however_it_is_cut(raw: bytes) -> None:
    """It never becomes a complete response."""
    whole = parse(raw)
    assert whole.is_refused
    assert not whole.is_complete
    for size in (1, 7):
        parts = [raw[at : at + size] for at in range(0, len(raw), size)]
        assert parse(*parts).is_refused


def test_a_refused_head_has_no_body() -> None:
    """What follows it belongs to no response that may be passed on."""
    parsed = parse(CHUNKED.replace(b"chunked", b"hunked") + b"abc")
    assert (parsed.is_refused, parsed.head, parsed.body) == (True, None, b"")


def test_what_came_before_a_fault_can_be_passed_on() -> None:
    """The client gets the beginning, and sees the body break off."""
    parsed = parse(CHUNKED + b"2\r\nab\r\nzz\r\n")
    assert (parsed.is_refused, parsed.body) == (True, b"ab")


def test_a_head_that_never_ends_is_refused_at_its_limit() -> None:
    """Before it takes much memory."""
    endless = [b"HTTP/1.1 200 OK\r\nX-A: ", *[b"a" * 1024] * 64]
    assert not parse(*endless[:-1]).is_refused
    assert parse(*endless).is_refused


def test_interim_responses_are_returned_up_to_their_limit() -> None:
    """Each with its own fields."""
    parsed = parse(EARLY_HINTS * INTERIM_LIMIT + ok(b"x"))
    assert [head.status for head in parsed.interims] == [103] * INTERIM_LIMIT
    assert {head.fields for head in parsed.interims} == {((b"Link", b"</a>"),)}
    assert parsed.leaves_connection_reusable


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_refused_or_waited_for(raw: bytes) -> None:
    """The parser raises no other error."""
    for start in (b"", b"HTTP/1.1 ", UNTIL_CLOSE, CHUNKED, b"HTTP/1.1 200 OK\r\n"):
        parsed = parse(start + raw, ends=True)
        assert parsed.head is not None or not parsed.is_complete


SWITCHING = b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_bytes_behind_a_101_are_kept_for_the_tunnel() -> None:
    """However many reads bring them before it is open."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=False, asks_upgrade=True)
    for part in (SWITCHING + b"a", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00"):
        parser.feed(part)
    assert parser.trailing_data == b"aHTTP/1.1 200 OK\r\n\r\n\x00"


def test_no_response_follows_a_101() -> None:
    """The connection carries another protocol, even if no tunnel was opened."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=False, asks_upgrade=True)
    parser.feed(SWITCHING)
    assert parser.is_complete
    assert not parser.leaves_connection_reusable


@pytest.mark.parametrize(
    "line", [b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"]
)
def test_a_101_without_both_fields_is_refused(line: bytes) -> None:
    """RFC 9110 section 7.8: Upgrade names the protocol, Connection names Upgrade."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=False, asks_upgrade=True)
    with pytest.raises(UpstreamProtocolError):
        parser.feed(SWITCHING.replace(line, b""))


STATES = {
    "a part of a head": ([b"HTTP/1.1 200"], ResponseState.HEAD),
    "an interim response": ([EARLY_HINTS], ResponseState.HEAD),
    "a head": ([CHUNKED], ResponseState.BODY),
    "a part of a body": ([CHUNKED + b"1\r\n"], ResponseState.BODY),
    "a whole response": ([CHUNKED + b"0\r\n\r\n"], ResponseState.COMPLETE),
    "a body and more": ([ok(b"x") + b"y"], ResponseState.STRAY),
    "a second response": ([ok(b"x"), ok(b"y")], ResponseState.STRAY),
    "a 101 behind it": ([ok(b"x") + SWITCHING], ResponseState.STRAY),
    "a 101": ([SWITCHING + b"\x00"], ResponseState.SWITCHED),
}


@pytest.mark.parametrize(("parts", "state"), STATES.values(), ids=STATES)
def test_the_state_is_how_far_the_response_has_come(
    parts: list[bytes], state: ResponseState
) -> None:
    """The cases at the head of the file; each begins again with a new request."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=False, asks_upgrade=True)
    for part in parts:
        parser.feed(part)
    states = [parser.state]
    parser.expect_response(is_head_request=False, asks_upgrade=False)
    states.append(parser.state)
    assert states == [state, ResponseState.HEAD]
