"""A full buffer pauses its source, and each pause is undone once."""

from __future__ import annotations

import asyncio

import pytest

from bearerd.relay.flow_control import FlowControl


class Reader:
    """A connection that keeps how its reading was paused and resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.flow = FlowControl(self)

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


@pytest.fixture
def client() -> Reader:
    """A connection that is written to."""
    return Reader()


@pytest.fixture
def upstream() -> Reader:
    """The connection that its bytes come from."""
    return Reader()


def test_a_full_buffer_pauses_its_source_until_it_has_drained(
    client: Reader, upstream: Reader
) -> None:
    """The other direction is not touched."""
    client.flow.set_source(upstream.flow)
    client.flow.pause_writing()
    assert upstream.calls == ["pause"]
    client.flow.resume_writing()
    assert upstream.calls == ["pause", "resume"]
    assert not upstream.flow.is_reading_paused
    assert client.calls == []


def test_a_source_that_comes_while_the_buffer_is_full_is_paused_at_once(
    client: Reader, upstream: Reader
) -> None:
    """`pause_writing` is not called a second time."""
    client.flow.pause_writing()
    client.flow.set_source(upstream.flow)
    assert upstream.calls == ["pause"]


def test_a_source_that_is_taken_away_reads_again(
    client: Reader, upstream: Reader
) -> None:
    """It serves another client next, and this one's buffer pauses it no more."""
    client.flow.set_source(upstream.flow)
    client.flow.pause_writing()
    client.flow.set_source(None)
    assert upstream.calls == ["pause", "resume"]
    client.flow.resume_writing()
    client.flow.pause_writing()
    assert upstream.calls == ["pause", "resume"]


def test_a_new_source_takes_the_place_of_the_last(
    client: Reader, upstream: Reader
) -> None:
    """A request that is sent again comes over another connection."""
    first = Reader()
    client.flow.set_source(first.flow)
    client.flow.pause_writing()
    client.flow.set_source(upstream.flow)
    assert first.calls == ["pause", "resume"]
    assert upstream.calls == ["pause"]


def test_in_a_tunnel_each_side_pauses_the_other(
    client: Reader, upstream: Reader
) -> None:
    """Independently: both may be full at once."""
    client.flow.set_source(upstream.flow)
    upstream.flow.set_source(client.flow)
    client.flow.pause_writing()
    upstream.flow.pause_writing()
    assert (client.calls, upstream.calls) == (["pause"], ["pause"])
    upstream.flow.resume_writing()
    assert (client.calls, upstream.calls) == (["pause", "resume"], ["pause"])


def test_pausing_twice_is_pausing_once(upstream: Reader) -> None:
    """A full body buffer and a slow client may both ask for it."""
    upstream.flow.pause_reading()
    upstream.flow.pause_reading()
    upstream.flow.resume_reading()
    upstream.flow.resume_reading()
    assert upstream.calls == ["pause", "resume"]


async def test_draining_waits_only_while_the_buffer_is_full(upstream: Reader) -> None:
    """An upload goes on once the upstream takes more."""
    await upstream.flow.drain()
    upstream.flow.pause_writing()
    draining = asyncio.create_task(upstream.flow.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    upstream.flow.resume_writing()
    await draining


async def test_a_cancelled_upload_leaves_the_flow_usable(upstream: Reader) -> None:
    """The next one that waits is woken."""
    upstream.flow.pause_writing()
    cancelled = asyncio.create_task(upstream.flow.drain())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    draining = asyncio.create_task(upstream.flow.drain())
    await asyncio.sleep(0)
    upstream.flow.resume_writing()
    await draining
