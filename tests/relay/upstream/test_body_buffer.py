"""The buffer before a body's sink: what it shows, what it gives, and when it is full."""

from __future__ import annotations

from bearerd.relay.upstream.body_buffer import BUFFER_LIMIT_BYTES, BodyBuffer


def test_chunks_are_taken_once_and_in_their_order() -> None:
    """The sink gets them as they came, in one call."""
    buffer = BodyBuffer()
    buffer.add([b"a", b"b"])
    buffer.add([b"c"])
    assert buffer.take_chunks() == [b"a", b"b", b"c"]
    assert buffer.take_chunks() == []
    assert buffer.byte_count == 0


def test_peeking_takes_nothing_away() -> None:
    """The sink gets the same bytes again."""
    buffer = BodyBuffer()
    buffer.add([b"abc", b"def"])
    assert [buffer.peek(n) for n in (2, 4, 9)] == [b"ab", b"abcd", b"abcdef"]
    assert buffer.take_chunks() == [b"abc", b"def"]


def test_the_buffer_is_full_at_its_limit_and_empty_when_taken() -> None:
    """However small the chunks are."""
    buffer = BodyBuffer()
    buffer.add([b"x"] * (BUFFER_LIMIT_BYTES - 1))
    fullness = [buffer.is_full]
    buffer.add([b"x"])
    fullness.append(buffer.is_full)
    buffer.take_chunks()
    fullness.append(buffer.is_full)
    assert fullness == [False, True, False]
