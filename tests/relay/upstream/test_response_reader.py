"""The response on a connection: waited for, looked at, streamed, and broken off."""

from __future__ import annotations

import asyncio

import pytest

from bearerd.errors import UpstreamProtocolError, UpstreamUnreachable
from bearerd.relay.upstream.response_reader import BUFFER_LIMIT_BYTES, BodyBuffer
from tests.relay.upstream.ends import Ends, Sink

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


def ok(body: bytes) -> bytes:
    """Return a 200 with its length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_chunks_go_to_the_sink_as_they_come(ends: Ends) -> None:
    """Each before the next is sent: nothing waits for the end."""
    await ends.exchange(CHUNKED)
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    for count in range(1, 6):
        await ends.peer.send(b"1\r\nx\r\n")
        await sink.wait_for(count)
    assert sink.trailers is None
    await ends.peer.send(b"0\r\nX-T: 1\r\n\r\n")
    await ends.connection.response.wait_complete()
    assert sink.trailers == [(b"X-T", b"1")]


async def test_interim_responses_come_before_the_final_one(ends: Ends) -> None:
    """Even if one read brings them all."""
    await ends.exchange(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok(b"")
    )
    assert ends.interims == [103, 102]


async def test_a_body_that_was_looked_at_goes_to_the_sink_whole(ends: Ends) -> None:
    """A look at the beginning takes nothing away."""
    await ends.exchange(ok(b"0123456789"))
    response = ends.connection.response
    assert await response.peek_body(4) == b"0123"
    assert await response.peek_body(100) == b"0123456789"
    sink = Sink()
    response.stream_body_to(sink)
    await response.wait_complete()
    assert sink.result == (b"0123456789", [])


async def test_a_look_waits_for_as_much_as_was_asked_for(ends: Ends) -> None:
    """Or for the end, whichever comes first."""
    await ends.exchange(ok(b"0123456789")[:-5])
    response = ends.connection.response
    assert await response.peek_body(5) == b"01234"
    looking = asyncio.create_task(response.peek_body(6))
    await asyncio.sleep(0)
    assert not looking.done()
    await ends.peer.send(b"56789")
    assert await looking == b"012345"


async def test_a_look_at_a_body_that_breaks_off_gets_what_has_come(ends: Ends) -> None:
    """It may still tell what the response is about."""
    await ends.exchange(ok(b"0123456789")[:-5])
    assert await ends.connection.response.peek_body(5) == b"01234"
    ends.peer.reset()
    assert await ends.connection.response.peek_body(100) == b"01234"


async def test_a_body_without_a_sink_stops_reading_at_the_limit(ends: Ends) -> None:
    """Reading goes on once there is a sink."""
    size = 64 << 20
    await ends.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(ends.peer.send(bytes(size)))
    response = ends.connection.response
    assert len(await response.peek_body(BUFFER_LIMIT_BYTES)) == BUFFER_LIMIT_BYTES
    assert ends.connection.flow.is_reading_paused
    assert not sending.done()
    sink = Sink()
    response.stream_body_to(sink)
    await response.wait_complete()
    await sending
    assert sum(map(len, sink.chunks)) == size


async def test_a_paused_connection_passes_nothing_on_until_it_resumes(
    ends: Ends,
) -> None:
    """A slow client slows its upstream down."""
    await ends.exchange(CHUNKED)
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    ends.connection.flow.pause_reading()
    await ends.peer.send(b"1\r\nx\r\n")
    await asyncio.sleep(0)
    assert sink.chunks == []
    ends.connection.flow.resume_reading()
    await sink.wait_for(1)


async def test_a_caller_that_was_cancelled_can_wait_again(ends: Ends) -> None:
    """The head is not lost with it."""
    await ends.start_request()
    waiting = asyncio.create_task(ends.connection.response.receive_head())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ends.peer.send(ok(b""))
    assert (await ends.connection.response.receive_head()).status == 200


@pytest.mark.parametrize(
    ("response", "ending"),
    [
        (ok(b"0123456789")[:-5], "end"),
        (ok(b"0123456789")[:-5], "reset"),
        (CHUNKED + b"5\r\n01234\r\n", "end"),
        (CHUNKED + b"5\r\n01234\r\n", "reset"),
        (UNTIL_CLOSE + b"01234", "reset"),
    ],
)
async def test_a_body_that_breaks_off_has_no_end(
    ends: Ends, response: bytes, ending: str
) -> None:
    """The sink keeps what has come; the call that waits raises."""
    await ends.exchange(response)
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    await sink.wait_for(5)
    ends.peer.reset() if ending == "reset" else ends.peer.close()
    with pytest.raises(UpstreamUnreachable, match="before its response was complete"):
        await ends.connection.response.wait_complete()
    assert sink.result == (b"01234", None)


async def test_a_body_that_ends_with_the_connection_is_complete(ends: Ends) -> None:
    """If the connection ended in order."""
    await ends.exchange(UNTIL_CLOSE + b"01234")
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    ends.peer.close()
    await ends.connection.response.wait_complete()
    assert sink.result == (b"01234", [])
    ends.connection.release()
    assert ends.available_at_release == [False]


async def test_a_fault_in_mid_response_closes_the_connection(ends: Ends) -> None:
    """The sink gets what came before it, and no end."""
    await ends.exchange(CHUNKED)
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    await ends.peer.send(b"2\r\nab\r\nzz\r\n")
    with pytest.raises(UpstreamProtocolError):
        await ends.connection.response.wait_complete()
    assert sink.result == (b"ab", None)
    assert await ends.peer.gone() == b""


async def test_stray_bytes_do_not_end_a_body_a_second_time(ends: Ends) -> None:
    """A second last chunk would be the start of the client's next response."""
    await ends.exchange(CHUNKED)
    sink = Sink()
    ends.connection.response.stream_body_to(sink)
    ends.connection.data_received(b"0\r\n\r\n")
    ends.connection.data_received(b"stray")
    assert sink.result == (b"", [])
    ends.connection.release()
    assert ends.available_at_release == [False]


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
