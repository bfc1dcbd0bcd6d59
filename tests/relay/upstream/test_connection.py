"""One upstream connection over a real socket: held, paused, given up, used again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from bearerd.errors import UpstreamError, UpstreamProtocolError, UpstreamUnreachable
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.response_body import BUFFER_LIMIT_BYTES
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED = b"HTTP/1.1 200 OK\r\n\r\n"


def ok(body: bytes) -> bytes:
    """Return a 200 with its length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Basin:
    """A sink that keeps what it gets, and wakes a test at each event."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.trailers: list[Field] | None = None
        self._news = asyncio.Event()

    def body_chunks(self, chunks: list[bytes]) -> None:
        assert chunks
        assert all(chunks)
        self.got += chunks
        self._news.set()

    def end(self, trailers: list[Field]) -> None:
        assert self.trailers is None, "an end comes once"
        self.trailers = trailers

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(map(len, self.got)) < count:
                self._news.clear()
                await self._news.wait()


class Stand:
    """A wire, its upstream's end, and what it has told its owner."""

    def __init__(self) -> None:
        self.released: list[bool] = []
        self.interims: list[int] = []
        self.interim_came = asyncio.Event()
        self.connection: UpstreamConnection
        self.peer: Peer

    async def connect(self, server: RawUpstream) -> None:
        loop = asyncio.get_running_loop()
        connected = socket.create_connection(("127.0.0.1", server.port))
        connected.setblocking(False)
        _, self.connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, connected, self._told), sock=connected
        )
        self.peer = await server.accept()

    async def ask(self, *, is_head: bool = False, is_complete: bool = True) -> None:
        self.connection.start_request(
            b"GET / HTTP/1.1\r\n\r\n",
            is_head_request=is_head,
            asks_upgrade=False,
            is_complete=is_complete,
            on_interim=self._hinted,
        )
        await self.peer.head()

    async def answered(self, response: bytes) -> ResponseHead:
        await self.ask()
        await self.peer.send(response)
        return await self.connection.receive_head()

    def _hinted(self, head: ResponseHead) -> None:
        self.interims.append(head.status)
        self.interim_came.set()

    def _told(self, connection: UpstreamConnection) -> None:
        self.released.append(connection.is_idle)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """A wire that is connected."""
    async with RawUpstream() as server:
        made = Stand()
        await made.connect(server)
        yield made
        made.connection.abort()


async def test_a_wire_takes_one_request_after_another(stand: Stand) -> None:
    """Each time it is told to be idle again, once."""
    for count in range(1, 4):
        await stand.answered(ok(b"body"))
        assert stand.connection.was_used is (count > 1)
        basin = Basin()
        assert not stand.connection.is_idle
        stand.connection.stream_body_to(basin)
        await stand.connection.wait_complete()
        assert (b"".join(basin.got), basin.trailers) == (b"body", [])
        assert stand.released == [True] * count


async def test_pieces_go_to_the_sink_as_they_come(stand: Stand) -> None:
    """Each before the next is sent: nothing waits for the end."""
    await stand.answered(CHUNKED)
    basin = Basin()
    stand.connection.stream_body_to(basin)
    for count in range(1, 6):
        await stand.peer.send(b"1\r\nx\r\n")
        await basin.until(count)
    assert basin.trailers is None
    await stand.peer.send(b"0\r\nX-T: 1\r\n\r\n")
    await stand.connection.wait_complete()
    assert basin.trailers == [(b"X-T", b"1")]


async def test_interim_responses_are_told_before_the_final_one(stand: Stand) -> None:
    """Even if all come in one read."""
    await stand.answered(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok(b"")
    )
    assert stand.interims == [103, 102]


async def test_what_is_held_is_handed_out_and_comes_again(stand: Stand) -> None:
    """A look at the beginning takes nothing away."""
    await stand.answered(ok(b"0123456789"))
    assert await stand.connection.peek_body(4) == b"0123"
    assert await stand.connection.peek_body(100) == b"0123456789"
    basin = Basin()
    stand.connection.stream_body_to(basin)
    await stand.connection.wait_complete()
    assert b"".join(basin.got) == b"0123456789"


async def test_holding_waits_for_as_much_as_was_asked_for(stand: Stand) -> None:
    """Or for the end, whichever comes first."""
    await stand.answered(ok(b"0123456789")[:-5])
    assert await stand.connection.peek_body(5) == b"01234"
    more = asyncio.create_task(stand.connection.peek_body(6))
    await asyncio.sleep(0)
    assert not more.done()
    await stand.peer.send(b"56789")
    assert await more == b"012345"


async def test_a_body_that_breaks_off_is_held_as_far_as_it_came(stand: Stand) -> None:
    """It may still say what the response is about."""
    await stand.answered(ok(b"0123456789")[:-5])
    assert await stand.connection.peek_body(5) == b"01234"
    stand.peer.reset()
    assert await stand.connection.peek_body(100) == b"01234"


async def test_a_body_that_nobody_takes_is_not_piled_up(stand: Stand) -> None:
    """Reading stops, and goes on once there is a sink."""
    size = 64 << 20
    await stand.answered(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(stand.peer.send(bytes(size)))
    held = await stand.connection.peek_body(BUFFER_LIMIT_BYTES)
    assert len(held) == BUFFER_LIMIT_BYTES
    assert not stand.connection.is_waiting_for_upstream
    assert not sending.done()
    basin = Basin()
    stand.connection.stream_body_to(basin)
    await stand.connection.wait_complete()
    await sending
    assert sum(map(len, basin.got)) == size


async def test_a_paused_wire_reads_nothing_until_it_is_resumed(stand: Stand) -> None:
    """A slow client slows its upstream down."""
    await stand.answered(CHUNKED)
    basin = Basin()
    stand.connection.stream_body_to(basin)
    stand.connection.flow.pause_reading()
    stand.connection.flow.pause_reading()
    await stand.peer.send(b"1\r\nx\r\n")
    assert basin.got == []
    stand.connection.flow.resume_reading()
    await basin.until(1)


@pytest.mark.parametrize("paused_by", ["a full buffer", "a slow client"])
async def test_a_connection_reads_again_after_a_response_that_ended_paused(
    stand: Stand, paused_by: str
) -> None:
    """Otherwise the next request on it never sees its response."""
    body = bytes(BUFFER_LIMIT_BYTES)
    await stand.answered(ok(body))
    assert await stand.connection.peek_body(len(body)) == body
    if paused_by == "a slow client":
        stand.connection.stream_body_to(Basin())
        stand.connection.flow.pause_reading()
    stand.connection.release()
    assert stand.released == [True]
    assert (await asyncio.wait_for(stand.answered(ok(b"")), 5)).status == 200


@pytest.mark.parametrize(
    "response",
    [ok(b"0123456789")[:-1], CHUNKED, CLOSED + b"x", ok(b"x") + b"stray"],
    ids=["short", "chunked", "unframed", "stray"],
)
async def test_what_is_not_over_cannot_be_used_again(
    stand: Stand, response: bytes
) -> None:
    """Being done with it closes the connection."""
    await stand.answered(response)
    stand.connection.release()
    assert stand.released == [False]
    assert await stand.peer.gone() == b""


async def test_a_response_before_the_request_is_whole_ends_the_connection(
    stand: Stand,
) -> None:
    """The rest of the body would be read as the next request."""
    await stand.ask(is_complete=False)
    await stand.peer.send(ok(b""))
    await stand.connection.receive_head()
    stand.connection.release()
    assert stand.released == [False]


async def test_a_request_that_was_sent_in_parts_leaves_the_wire_usable(
    stand: Stand,
) -> None:
    """Once it is said to be whole."""
    await stand.ask(is_complete=False)
    await stand.connection.send_body(b"part")
    assert await stand.peer.exactly(4) == b"part"
    stand.connection.mark_request_sent()
    await stand.peer.send(ok(b""))
    await stand.connection.receive_head()
    stand.connection.release()
    assert stand.released == [True]


async def test_sending_waits_while_the_upstream_takes_no_more(stand: Stand) -> None:
    """And goes on when it does."""
    await stand.ask(is_complete=False)
    stand.peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    size = 64 << 20
    sending = asyncio.create_task(stand.connection.send_body(bytes(size)))
    await asyncio.sleep(0)
    assert not sending.done()
    stand.peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await stand.peer.exactly(size)) == size
    await sending


async def test_a_cancelled_send_leaves_a_wire_that_can_be_given_up(
    stand: Stand,
) -> None:
    """The upload ends; the wire is closed once."""
    await stand.ask(is_complete=False)
    stand.peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(stand.connection.send_body(bytes(64 << 20)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    stand.connection.release()
    stand.connection.abort()
    assert stand.released == [False]


async def test_a_caller_that_stops_waiting_can_wait_again(stand: Stand) -> None:
    """The head is not lost with it."""
    await stand.ask()
    waiting = asyncio.create_task(stand.connection.receive_head())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stand.peer.send(ok(b""))
    assert (await stand.connection.receive_head()).status == 200


async def test_bytes_on_an_idle_wire_kill_it(stand: Stand) -> None:
    """They answer nothing that was asked."""
    await stand.answered(ok(b""))
    stand.connection.release()
    assert stand.connection.has_no_unread_data
    await stand.peer.send(b"x")
    assert await stand.peer.gone() == b""
    assert not stand.connection.is_idle
    assert stand.released == [True, False]


async def test_an_end_on_an_idle_wire_kills_it(stand: Stand) -> None:
    """It takes no request any more."""
    await stand.answered(ok(b""))
    stand.connection.release()
    stand.peer.close()
    await stand.peer.gone()
    assert not (stand.connection.is_idle and stand.connection.has_no_unread_data)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1"])
@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_connection_that_ends_before_the_head_is_unreachable(
    stand: Stand, begun: bytes, ending: str
) -> None:
    """And it is known whether a byte of a response had come."""
    await stand.ask()
    await stand.peer.send(begun)
    waiting = asyncio.create_task(stand.connection.receive_head())
    if begun:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await stand.interim_came.wait()
    stand.peer.reset() if ending == "reset" else stand.peer.close()
    with pytest.raises(UpstreamUnreachable, match="before it answered"):
        await waiting
    assert stand.connection.is_untouched is (begun == b"")
    assert stand.released == [False]


@pytest.mark.parametrize(
    ("response", "ending"),
    [
        (ok(b"0123456789")[:-5], "end"),
        (ok(b"0123456789")[:-5], "reset"),
        (CHUNKED + b"5\r\n01234\r\n", "end"),
        (CHUNKED + b"5\r\n01234\r\n", "reset"),
        (CLOSED + b"01234", "reset"),
    ],
)
async def test_a_body_that_breaks_off_has_no_end(
    stand: Stand, response: bytes, ending: str
) -> None:
    """What came stays handed over; whoever waits is told."""
    await stand.answered(response)
    basin = Basin()
    stand.connection.stream_body_to(basin)
    await basin.until(5)
    stand.peer.reset() if ending == "reset" else stand.peer.close()
    with pytest.raises(UpstreamUnreachable, match="in mid-answer"):
        await stand.connection.wait_complete()
    assert (b"".join(basin.got), basin.trailers) == (b"01234", None)


async def test_a_body_that_ends_with_the_connection_is_whole(stand: Stand) -> None:
    """If the connection ended orderly."""
    await stand.answered(CLOSED + b"01234")
    basin = Basin()
    stand.connection.stream_body_to(basin)
    stand.peer.close()
    await stand.connection.wait_complete()
    assert (b"".join(basin.got), basin.trailers) == (b"01234", [])
    assert stand.released == [False]


async def test_a_fault_in_mid_response_ends_the_wire(stand: Stand) -> None:
    """What stood before it is handed over, and no end."""
    await stand.answered(CHUNKED)
    basin = Basin()
    stand.connection.stream_body_to(basin)
    await stand.peer.send(b"2\r\nab\r\nzz\r\n")
    with pytest.raises(UpstreamProtocolError):
        await stand.connection.wait_complete()
    assert (b"".join(basin.got), basin.trailers) == (b"ab", None)
    assert await stand.peer.gone() == b""


async def test_a_wire_that_was_given_up_takes_nothing_more(stand: Stand) -> None:
    """Every way of waiting ends with an error."""
    await stand.ask(is_complete=False)
    waiting = asyncio.create_task(stand.connection.receive_head())
    await asyncio.sleep(0)
    stand.connection.abort()
    stand.connection.abort()
    with pytest.raises(UpstreamError, match="given up"):
        await waiting
    with pytest.raises(UpstreamError):
        await stand.connection.send_body(b"x")
    with pytest.raises(UpstreamError):
        await stand.connection.receive_head()
    assert stand.released == [False]
