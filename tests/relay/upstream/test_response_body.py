"""A response's body: kept until a sink takes it, then passed straight on."""

from __future__ import annotations

from bearerd.relay.message import Field
from bearerd.relay.upstream.response_body import BUFFER_LIMIT_BYTES, ResponseBody


class Calls:
    """A sink that keeps its calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def body_chunks(self, chunks: list[bytes]) -> None:
        self.calls.append(chunks)

    def end(self, trailers: list[Field]) -> None:
        self.calls.append(trailers)


TRAILERS = [(b"X-T", b"1")]


def test_what_comes_before_the_sink_is_handed_over_in_one_call() -> None:
    """With the end, if that has come as well."""
    body, sink = ResponseBody(), Calls()
    body.write([b"a", b"b"])
    body.write([b"c"])
    body.end(TRAILERS)
    assert not body.has_sink
    body.set_sink(sink)
    assert sink.calls == [[b"a", b"b", b"c"], TRAILERS]


def test_what_comes_after_the_sink_goes_straight_to_it() -> None:
    """Call by call; the buffer stays empty."""
    body, sink = ResponseBody(), Calls()
    body.set_sink(sink)
    assert sink.calls == []
    body.write([b"a"])
    body.write([b"b"])
    assert sink.calls == [[b"a"], [b"b"]]
    assert body.buffered_bytes == 0
    body.end([])
    assert sink.calls == [[b"a"], [b"b"], []]


def test_peeking_takes_nothing_away() -> None:
    """The sink gets the same bytes again."""
    body, sink = ResponseBody(), Calls()
    body.write([b"abc", b"def"])
    assert [body.peek(2), body.peek(4), body.peek(9)] == [b"ab", b"abcd", b"abcdef"]
    body.set_sink(sink)
    assert sink.calls == [[b"abc", b"def"]]


def test_only_the_first_end_counts() -> None:
    """Bytes behind a complete response must not end it for the client once more."""
    body, sink = ResponseBody(), Calls()
    body.end(TRAILERS)
    body.end([])
    body.set_sink(sink)
    body.end([])
    assert sink.calls == [TRAILERS]


def test_the_buffer_is_full_at_its_limit_and_empty_once_there_is_a_sink() -> None:
    """However small the chunks are."""
    body = ResponseBody()
    body.write([b"x"] * (BUFFER_LIMIT_BYTES - 1))
    fullness = [body.is_full]
    body.write([b"x"])
    fullness.append(body.is_full)
    body.set_sink(Calls())
    fullness.append(body.is_full)
    assert fullness == [False, True, False]
