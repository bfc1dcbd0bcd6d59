"""Any bytes of an upstream: a whole response, a part of one, or an error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.client.date import DateField
from bearerd.relay.client.response import Response
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.response_parser import ResponseParser
from tests.fuzz.readers import response_by_h11
from tests.fuzz.shapes import CORPUS, SPLITS, fuzzed, mutated, responses, split
from tests.fuzz.transport import RecordingTransport

ANY = mutated(responses()) | st.binary(max_size=80)


@dataclass
class Parsed:
    """What the parser has made of a response and of its connection's end."""

    head: ResponseHead | None
    interims: list[ResponseHead]
    body: bytes
    trailers: list[Field]
    is_complete: bool
    leaves_connection_reusable: bool
    is_refused: bool


def parse(parts: list[bytes], *, is_head: bool = False, ends: bool = True) -> Parsed:
    """Parse *parts* until one is refused; with *ends* the connection ends then."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=is_head, asks_upgrade=False)
    return feed(parser, parts, ends=ends)


def feed(parser: ResponseParser, parts: list[bytes], *, ends: bool) -> Parsed:
    """Feed *parts* to *parser*, and return what it has made of them."""
    is_refused = False
    try:
        for part in parts:
            parser.feed(part)
    except UpstreamProtocolError:
        is_refused = True
    leaves_connection_reusable = parser.leaves_connection_reusable
    if ends and not is_refused:
        parser.feed_eof()
    return Parsed(
        parser.head,
        parser.take_interims(),
        b"".join(parser.take_chunks()),
        parser.trailers,
        parser.is_complete,
        leaves_connection_reusable,
        is_refused,
    )


def check(data: bytes, cuts: list[int], *, is_head: bool) -> None:
    """Check what holds for any bytes, cut at any place."""
    parsed = parse(split(data, cuts), is_head=is_head)
    assert parsed == parse(split(data, []), is_head=is_head)
    assert not (parsed.is_refused and parsed.is_complete)
    if not parsed.is_complete:
        assert not parsed.leaves_connection_reusable
    if parsed.head is None:
        assert (parsed.body, parsed.is_complete) == (b"", False)
        return
    assert 200 <= parsed.head.status <= 999
    if parsed.head.length is not None and parsed.head.has_body and parsed.is_complete:
        assert len(parsed.body) == parsed.head.length
    if not parsed.head.has_body:
        assert parsed.body == b""


@fuzzed
@given(ANY, SPLITS, st.booleans())
def test_the_result_is_a_response_or_an_error_and_never_both(
    data: bytes, cuts: list[int], is_head: bool
) -> None:
    """It is the same however the bytes are cut; nothing follows an error or a part."""
    check(data, cuts, is_head=is_head)


@fuzzed
@given(ANY, st.booleans())
def test_h11_reads_the_same_response_if_it_reads_one(
    data: bytes, is_head: bool
) -> None:
    """Status, fields and body; only folded lines may be joined in another way."""
    parsed = parse([data] if data else [], is_head=is_head)
    by_h11 = response_by_h11(data, method=b"HEAD" if is_head else b"GET")
    if by_h11 is None or not parsed.is_complete:
        return
    assert parsed.head is not None
    assert by_h11.start == (b"%d" % parsed.head.status,)
    assert by_h11.body == parsed.body
    assert list(map(plain, parsed.head.fields)) == list(map(plain, by_h11.fields))


@fuzzed
@given(
    st.tuples(st.just(False), responses())
    | st.tuples(st.just(True), responses(to_head=True)),
    mutated(responses()),
    st.booleans(),
)
def test_a_response_leaves_nothing_in_the_parser(
    request: tuple[bool, bytes], second: bytes, second_is_head: bool
) -> None:
    """A reusable connection reads the next response as a new one does."""
    first_is_head, first = request
    parser = ResponseParser()
    parser.expect_response(is_head_request=first_is_head, asks_upgrade=False)
    if not feed(parser, [first], ends=False).leaves_connection_reusable:
        return
    parser.expect_response(is_head_request=second_is_head, asks_upgrade=False)
    parsed = feed(parser, split(second, []), ends=True)
    assert parsed == parse(split(second, []), is_head=second_is_head)


def plain(field: Field) -> Field:
    """Return a field line as h11 has it: codings in lower case, folds as one blank."""
    name, value = field[0].lower(), b" ".join(field[1].split())
    return name, value.lower() if name == b"transfer-encoding" else value


def pass_on(
    data: bytes, cuts: list[int], *, is_http_10: bool
) -> tuple[Parsed, RecordingTransport]:
    """Pass a response on as a connection and an exchange do; return what went out."""
    transport = RecordingTransport()
    response = Response(
        transport,
        is_http_10=is_http_10,
        is_head_request=False,
        must_close=False,
        date=DateField(lambda: 0.0),
    )
    parsed = parse(split(data, cuts))
    for interim in parsed.interims:
        response.send_interim(interim)
    if parsed.head is not None:
        response.send_head(parsed.head)
        if parsed.body:
            response.body_chunks([parsed.body])
        if parsed.is_complete:
            response.end(parsed.trailers)
        else:
            response.abort()
    return parsed, transport


@fuzzed
@given(ANY, SPLITS, st.booleans())
def test_a_client_gets_a_complete_response_only_of_a_complete_one(
    data: bytes, cuts: list[int], is_http_10: bool
) -> None:
    """It is the same response then; a broken one is broken to h11 as well."""
    check_onward(data, cuts, is_http_10=is_http_10)


def check_onward(data: bytes, cuts: list[int], *, is_http_10: bool) -> None:
    """Check what a client gets for any bytes of an upstream."""
    parsed, transport = pass_on(data, cuts, is_http_10=is_http_10)
    if parsed.head is None:
        return
    assert transport.written.count(b"\n") == transport.written.count(b"\r\n") or (
        b"\n" in parsed.body
    )
    passed_on = response_by_h11(transport.written)
    if parsed.is_complete:
        assert passed_on is not None
        assert passed_on.start == (b"%d" % parsed.head.status,)
        assert passed_on.body == parsed.body
    elif not transport.was_aborted:
        assert passed_on is None


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("responses/*")), ids=lambda path: path.name
)
def test_the_properties_hold_for_the_corpus_of_responses(path: Path) -> None:
    """Inputs that once broke one, cut at every byte."""
    data = path.read_bytes()
    for cut in range(len(data)):
        check(data, [cut], is_head=False)
        check(data, [cut], is_head=True)
