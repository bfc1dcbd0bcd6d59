"""One upstream connection over a real socket: its states, and how it is left."""

from __future__ import annotations

import asyncio

import pytest

from bearerd.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from bearerd.relay.upstream.connection_state import ConnectionState
from bearerd.relay.upstream.response_reader import BUFFER_LIMIT_BYTES
from tests.relay.upstream.ends import Ends, Sink
from tests.wire.peers import PATIENCE_SECONDS

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def ok(body: bytes) -> bytes:
    """Return a 200 with its length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_connection_goes_through_its_states(ends: Ends) -> None:
    """And its `repr` shows each of them."""
    shown = [repr(ends.connection)]
    await ends.start_request()
    shown.append(repr(ends.connection))
    await ends.peer.send(ok(b"body")[:-1])
    await ends.connection.response.receive_head()
    ends.connection.flow.pause_reading()
    shown.append(repr(ends.connection))
    ends.connection.flow.resume_reading()
    await ends.peer.send(b"y")
    await ends.connection.response.wait_complete()
    ends.connection.release()
    shown.append(repr(ends.connection))
    ends.connection.abort()
    shown.append(repr(ends.connection))
    assert shown == [
        "<UpstreamConnection NEW, requests: 0>",
        "<UpstreamConnection WAITING, requests: 1>",
        "<UpstreamConnection RECEIVING, requests: 1, reading paused>",
        "<UpstreamConnection IDLE, requests: 1>",
        "<UpstreamConnection CLOSED, requests: 1>",
    ]


async def test_a_transition_that_the_table_does_not_have_is_a_defect(
    ends: Ends,
) -> None:
    """A second request on a busy connection would get the first one's response."""
    await ends.start_request()
    with pytest.raises(AssertionError, match="WAITING, requests: 1> to WAITING"):
        await ends.start_request()


async def test_a_connection_takes_one_request_after_another(ends: Ends) -> None:
    """It is released once after each."""
    for count in range(1, 4):
        await ends.exchange(ok(b"body"))
        assert ends.connection.is_reused is (count > 1)
        assert not ends.connection.is_available
        sink = Sink()
        ends.connection.response.stream_body_to(sink)
        await ends.connection.response.wait_complete()
        ends.connection.release()
        ends.connection.release()
        assert sink.result == (b"body", [])
        assert ends.available_at_release == [True] * count


@pytest.mark.parametrize("paused_by", ["a full buffer", "a slow client"])
async def test_a_connection_reads_again_after_a_response_that_ended_paused(
    ends: Ends, paused_by: str
) -> None:
    """Otherwise the next request on it never sees its response."""
    body = bytes(BUFFER_LIMIT_BYTES)
    await ends.exchange(ok(body))
    assert await ends.connection.response.peek_body(len(body)) == body
    if paused_by == "a slow client":
        ends.connection.response.stream_body_to(Sink())
    ends.connection.flow.pause_reading()
    ends.connection.release()
    assert ends.available_at_release == [True]
    head = await asyncio.wait_for(ends.exchange(ok(b"")), PATIENCE_SECONDS)
    assert head.status == 200


@pytest.mark.parametrize(
    "response",
    [ok(b"0123456789")[:-1], CHUNKED, UNTIL_CLOSE + b"x", ok(b"x") + b"stray"],
    ids=["short", "chunked", "until close", "stray"],
)
async def test_a_connection_with_an_unfinished_response_is_closed_on_release(
    ends: Ends, response: bytes
) -> None:
    """The rest of it would be read as the response to the next request."""
    await ends.exchange(response)
    ends.connection.release()
    assert ends.available_at_release == [False]
    assert await ends.peer.gone() == b""


async def test_a_connection_that_got_a_101_is_closed_on_release(ends: Ends) -> None:
    """A request that is cancelled then opens no tunnel, and pools no connection."""
    await ends.start_request(asks_upgrade=True)
    await ends.peer.send(SWITCHING)
    assert (await ends.connection.response.receive_head()).status == 101
    ends.connection.release()
    assert ends.available_at_release == [False]


async def test_a_response_before_the_request_is_whole_closes_the_connection(
    ends: Ends,
) -> None:
    """The rest of the body would be read as the next request."""
    await ends.start_request(is_complete=False)
    await ends.peer.send(ok(b""))
    await ends.connection.response.receive_head()
    ends.connection.release()
    assert ends.available_at_release == [False]


async def test_a_request_that_was_sent_in_parts_leaves_the_connection_usable(
    ends: Ends,
) -> None:
    """Once it is marked as sent."""
    await ends.start_request(is_complete=False)
    await ends.connection.send_body(b"part")
    assert await ends.peer.exactly(4) == b"part"
    ends.connection.mark_request_sent()
    await ends.peer.send(ok(b""))
    await ends.connection.response.receive_head()
    ends.connection.release()
    assert ends.available_at_release == [True]


async def test_sending_waits_while_the_upstream_takes_no_more(ends: Ends) -> None:
    """And goes on when it does."""
    await ends.start_request(is_complete=False)
    ends.peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    size = 64 << 20
    sending = asyncio.create_task(ends.connection.send_body(bytes(size)))
    await asyncio.sleep(0)
    assert not sending.done()
    ends.peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await ends.peer.exactly(size)) == size
    await sending


async def test_a_cancelled_upload_leaves_a_connection_that_can_be_closed(
    ends: Ends,
) -> None:
    """It is released once, as closed."""
    await ends.start_request(is_complete=False)
    ends.peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(ends.connection.send_body(bytes(64 << 20)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    ends.connection.release()
    ends.connection.abort()
    assert ends.available_at_release == [False]


async def test_bytes_on_an_idle_connection_close_it(ends: Ends) -> None:
    """They answer no request."""
    await ends.exchange(ok(b""))
    ends.connection.release()
    assert not ends.connection.has_unread_data
    await ends.peer.send(b"x")
    assert await ends.peer.gone() == b""
    assert not ends.connection.is_available
    assert ends.available_at_release == [True, False]


async def test_an_end_on_an_idle_connection_closes_it(ends: Ends) -> None:
    """Even before the event loop has read it, it is there to be seen."""
    await ends.exchange(ok(b""))
    ends.connection.release()
    ends.peer.close()
    await ends.peer.gone()
    assert ends.connection.has_unread_data or not ends.connection.is_available


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1"])
@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_connection_that_ends_before_the_head_is_unreachable(
    ends: Ends, begun: bytes, ending: str
) -> None:
    """It is known whether a byte of a response had come."""
    await ends.start_request()
    await ends.peer.send(begun)
    waiting = asyncio.create_task(ends.connection.response.receive_head())
    if begun:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ends.interim_has_come.wait()
    ends.peer.reset() if ending == "reset" else ends.peer.close()
    with pytest.raises(UpstreamUnreachable, match="before it sent a response"):
        await waiting
    assert ends.connection.response.has_begun is (begun != b"")
    assert ends.available_at_release == [False]


async def test_an_aborted_connection_takes_nothing_more(ends: Ends) -> None:
    """Every call that waits ends with an error."""
    await ends.start_request(is_complete=False)
    waiting = asyncio.create_task(ends.connection.response.receive_head())
    await asyncio.sleep(0)
    ends.connection.abort()
    ends.connection.abort()
    with pytest.raises(UpstreamError, match="aborted"):
        await waiting
    with pytest.raises(UpstreamError):
        await ends.connection.send_body(b"x")
    with pytest.raises(UpstreamError):
        await ends.connection.response.receive_head()
    assert ends.available_at_release == [False]


async def test_the_first_reason_for_a_close_is_the_one_that_is_raised(
    ends: Ends,
) -> None:
    """What follows from it says less."""
    await ends.start_request()
    ends.connection.abort(UpstreamTimeout("too slow"))
    ends.connection.abort()
    with pytest.raises(UpstreamTimeout, match="too slow"):
        await ends.connection.response.receive_head()
    assert ends.connection.state is ConnectionState.CLOSED


async def test_a_connection_waits_for_the_upstream_only_while_it_reads(
    ends: Ends,
) -> None:
    """The pool counts that time, and no other, as the upstream's silence."""
    waiting = [ends.connection.is_waiting_for_upstream]
    await ends.start_request()
    waiting.append(ends.connection.is_waiting_for_upstream)
    ends.connection.flow.pause_reading()
    waiting.append(ends.connection.is_waiting_for_upstream)
    ends.connection.flow.resume_reading()
    await ends.peer.send(ok(b""))
    await ends.connection.response.receive_head()
    waiting.append(ends.connection.is_waiting_for_upstream)
    ends.connection.release()
    waiting.append(ends.connection.is_waiting_for_upstream)
    assert waiting == [False, True, False, True, False]
