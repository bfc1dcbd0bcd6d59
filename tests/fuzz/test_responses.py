"""Any bytes of an upstream: a whole response, the beginning of one, or an error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.client.response import DateField, Response
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.response_parser import ResponseParser
from tests.fuzz.readers import response_by_h11
from tests.fuzz.shapes import CORPUS, SPLITS, fuzzed, mutated, responses, split
from tests.fuzz.transport import Kept

ANY = mutated(responses()) | st.binary(max_size=80)


@dataclass
class Read:
    """What came of a response and of its connection's end."""

    head: ResponseHead | None
    interims: list[ResponseHead]
    body: bytes
    trailers: list[Field]
    is_complete: bool
    leaves_connection_reusable: bool
    is_refused: bool


def read(parts: list[bytes], *, is_head: bool = False, ends: bool = True) -> Read:
    """Feed *parts* until one is refused; then the connection ends."""
    parser = ResponseParser()
    parser.expect_response(is_head_request=is_head, asks_upgrade=False)
    return take(parser, parts, ends=ends)


def take(parser: ResponseParser, parts: list[bytes], *, ends: bool) -> Read:
    """Feed *parts* to *parser*, and return what it has understood."""
    is_refused = False
    try:
        for part in parts:
            parser.feed(part)
    except UpstreamProtocolError:
        is_refused = True
    leaves_connection_reusable = parser.leaves_connection_reusable
    if ends and not is_refused:
        parser.feed_eof()
    return Read(
        parser.head,
        parser.take_interims(),
        b"".join(parser.take_chunks()),
        parser.trailers,
        parser.is_complete,
        leaves_connection_reusable,
        is_refused,
    )


def check(data: bytes, cuts: list[int], *, is_head: bool) -> None:
    """Check what holds for any bytes, wherever their segments end."""
    got = read(split(data, cuts), is_head=is_head)
    assert got == read(split(data, []), is_head=is_head)
    assert not (got.is_refused and got.is_complete)
    if not got.is_complete:
        assert not got.leaves_connection_reusable
    if got.head is None:
        assert (got.body, got.is_complete) == (b"", False)
        return
    assert 200 <= got.head.status <= 999
    if got.head.length is not None and got.head.has_body and got.is_complete:
        assert len(got.body) == got.head.length
    if not got.head.has_body:
        assert got.body == b""


@fuzzed
@given(ANY, SPLITS, st.booleans())
def test_an_outcome_is_a_response_or_an_error_and_never_both(
    data: bytes, cuts: list[int], is_head: bool
) -> None:
    """The same in whatever segments; nothing follows what is refused, or has no end."""
    check(data, cuts, is_head=is_head)


@fuzzed
@given(ANY, st.booleans())
def test_h11_reads_the_same_response_where_it_reads_one(
    data: bytes, is_head: bool
) -> None:
    """Status, fields and body; only what is folded may be unfolded in another way."""
    ours = read([data] if data else [], is_head=is_head)
    theirs = response_by_h11(data, method=b"HEAD" if is_head else b"GET")
    if theirs is None or not ours.is_complete:
        return
    assert ours.head is not None
    assert theirs.start == (b"%d" % ours.head.status,)
    assert theirs.body == ours.body
    assert list(map(plain, ours.head.fields)) == list(map(plain, theirs.fields))


@fuzzed
@given(
    st.tuples(st.just(False), responses())
    | st.tuples(st.just(True), responses(to_head=True)),
    mutated(responses()),
    st.booleans(),
)
def test_a_response_leaves_nothing_behind_for_the_next(
    asked: tuple[bool, bytes], second: bytes, second_is_head: bool
) -> None:
    """Where a connection may go on, it goes on as if it were new."""
    first_is_head, first = asked
    parser = ResponseParser()
    parser.expect_response(is_head_request=first_is_head, asks_upgrade=False)
    if not take(parser, [first], ends=False).leaves_connection_reusable:
        return
    parser.expect_response(is_head_request=second_is_head, asks_upgrade=False)
    got = take(parser, split(second, []), ends=True)
    assert got == read(split(second, []), is_head=second_is_head)


def plain(field: Field) -> Field:
    """Return a field line as h11 gives it: codings in lower case, folds in one blank."""
    name, value = field[0].lower(), b" ".join(field[1].split())
    return name, value.lower() if name == b"transfer-encoding" else value


def pass_on(data: bytes, cuts: list[int], *, is_http_10: bool) -> tuple[Read, Kept]:
    """Do with a response what a wire and an exchange do; return what went out."""
    transport = Kept()
    response = Response(
        transport,
        is_http_10=is_http_10,
        is_head_request=False,
        must_close=False,
        date=DateField(lambda: 0.0),
    )
    got = read(split(data, cuts))
    for interim in got.interims:
        response.interim(interim)
    if got.head is not None:
        response.begin(got.head)
        if got.body:
            response.body_chunks([got.body])
        if got.is_complete:
            response.end(got.trailers)
        else:
            response.abort()
    return got, transport


@fuzzed
@given(ANY, SPLITS, st.booleans())
def test_what_a_client_gets_is_whole_only_if_it_was(
    data: bytes, cuts: list[int], is_http_10: bool
) -> None:
    """And it is the same response then; a broken one looks broken to h11 as well."""
    check_onward(data, cuts, is_http_10=is_http_10)


def check_onward(data: bytes, cuts: list[int], *, is_http_10: bool) -> None:
    """Check what a client gets of any bytes of an upstream."""
    got, transport = pass_on(data, cuts, is_http_10=is_http_10)
    if got.head is None:
        return
    assert transport.written.count(b"\n") == transport.written.count(b"\r\n") or (
        b"\n" in got.body
    )
    told = response_by_h11(transport.written)
    if got.is_complete:
        assert told is not None
        assert told.start == (b"%d" % got.head.status,)
        assert told.body == got.body
    elif not transport.was_aborted:
        assert told is None


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("responses/*")), ids=lambda path: path.name
)
def test_the_corpus_of_responses_holds_cut_anywhere(path: Path) -> None:
    """What has broken one of these properties before stays mended."""
    data = path.read_bytes()
    for cut in range(len(data)):
        check(data, [cut], is_head=False)
        check(data, [cut], is_head=True)
