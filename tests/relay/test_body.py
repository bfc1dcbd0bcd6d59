"""A request body that can be sent again: what is kept, what is lost, what it may take."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.relay.body import ReplayBody, ReplayMemory


class Feed:
    """A reader whose parts a test hands in one by one."""

    def __init__(self, *parts: bytes, is_whole: bool = True) -> None:
        self.parts = list(parts)
        self.is_whole = is_whole
        self._news = asyncio.Event()

    def put(self, part: bytes, *, is_last: bool = False) -> None:
        self.parts.append(part)
        self.is_whole = is_last
        self._news.set()

    async def readany(self) -> bytes:
        while not self.parts and not self.is_whole:
            self._news.clear()
            await self._news.wait()
        return self.parts.pop(0) if self.parts else b""

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        whole, self.parts = b"".join(self.parts), []
        return whole

    def is_eof(self) -> bool:
        return self.is_whole


class Kept:
    """A body, with its memory and the reasons why its replay was given up."""

    def __init__(self, feed: Feed, limit: int = 100, total: int = 1000) -> None:
        self.memory = ReplayMemory(total)
        self.reasons: list[str] = []
        self.body = ReplayBody(
            feed, limit_bytes=limit, memory=self.memory, abandoned=self.reasons.append
        )

    async def chunks(self) -> list[bytes]:
        return [part async for part in self.body.chunks()]


async def test_a_body_streams_and_can_be_sent_again() -> None:
    """Part for part the same."""
    kept = Kept(Feed(b"ab", b"c", b"def"))
    assert await kept.chunks() == [b"ab", b"c", b"def"]
    assert await kept.chunks() == [b"ab", b"c", b"def"]
    assert kept.body.is_replayable
    assert kept.memory.used_bytes == 6


async def test_a_replay_starts_at_the_start_and_goes_on_with_the_rest() -> None:
    """What has come in already first, then what still comes."""
    feed = Feed(b"ab", is_whole=False)
    kept = Kept(feed)
    first = kept.body.chunks()
    assert await anext(first) == b"ab"
    again = kept.body.chunks()
    assert await anext(again) == b"ab"
    feed.put(b"cd", is_last=True)
    assert [part async for part in again] == [b"cd"]
    assert await kept.chunks() == [b"ab", b"cd"]


async def test_an_attempt_that_is_cancelled_while_it_reads_loses_nothing() -> None:
    """The next one has every byte."""
    feed = Feed(b"ab", is_whole=False)
    kept = Kept(feed)
    reading = asyncio.create_task(kept.chunks())
    await asyncio.sleep(0)
    assert kept.memory.used_bytes == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    feed.put(b"cd", is_last=True)
    assert b"".join(await kept.chunks()) == b"abcd"


@pytest.mark.parametrize(("limit", "is_kept"), [(6, True), (5, False), (0, False)])
async def test_a_body_past_its_limit_streams_on_and_is_not_kept(
    limit: int, is_kept: bool
) -> None:
    """Only the replay is lost; its room is given back at once."""
    kept = Kept(Feed(b"ab", b"cd", b"ef", b""), limit=limit)
    assert b"".join(await kept.chunks()) == b"abcdef"
    assert kept.body.is_replayable is is_kept
    assert kept.memory.used_bytes == (6 if is_kept else 0)
    assert kept.reasons == ([] if is_kept else ["request_limit"])


async def test_all_bodies_together_have_a_limit() -> None:
    """The one that comes last is not kept; the first stays."""
    memory = ReplayMemory(5)
    reasons: list[str] = []
    bodies = [
        ReplayBody(
            Feed(b"abc"), limit_bytes=100, memory=memory, abandoned=reasons.append
        )
        for _ in range(2)
    ]
    for body in bodies:
        assert [part async for part in body.chunks()] == [b"abc"]
    assert [body.is_replayable for body in bodies] == [True, False]
    assert reasons == ["total_limit"]
    assert memory.used_bytes == 3
    bodies[0].release()
    assert memory.used_bytes == 0


async def test_giving_up_is_announced_once() -> None:
    """However much follows."""
    kept = Kept(Feed(*[b"x" * 60] * 10), limit=100)
    await kept.chunks()
    assert kept.reasons == ["request_limit"]


async def test_releasing_gives_the_room_back_once() -> None:
    """And there is no replay after it."""
    kept = Kept(Feed(b"abc"))
    await kept.chunks()
    kept.body.release()
    kept.body.release()
    assert kept.memory.used_bytes == 0
    assert not kept.body.is_replayable
    assert kept.reasons == []


def test_a_body_that_is_in_already_is_had_whole() -> None:
    """And again for a replay."""
    kept = Kept(Feed(b"ab", b"cd"))
    assert kept.body.whole() == b"abcd"
    assert kept.body.whole() == b"abcd"
    assert kept.memory.used_bytes == 4


def test_a_body_that_still_comes_in_is_not_had_whole() -> None:
    """It has to be streamed."""
    assert Kept(Feed(b"ab", is_whole=False)).body.whole() is None


def test_an_empty_body_is_whole() -> None:
    """No bytes are all its bytes."""
    assert Kept(Feed()).body.whole() == b""


def test_a_whole_body_past_the_limit_is_had_once() -> None:
    """It is handed out to be sent, and not kept."""
    kept = Kept(Feed(b"abcdef"), limit=3)
    assert kept.body.whole() == b"abcdef"
    assert kept.body.whole() is None
    assert kept.reasons == ["request_limit"]


async def test_a_body_that_has_begun_to_stream_is_whole_at_its_end() -> None:
    """A replay after the upload goes out in one piece."""
    kept = Kept(Feed(b"ab", b"cd"))
    await kept.chunks()
    assert kept.body.whole() == b"abcd"


async def test_a_body_that_was_had_whole_can_be_streamed_again() -> None:
    """Whichever way the next attempt takes."""
    kept = Kept(Feed(b"abcd"))
    assert kept.body.whole() == b"abcd"
    assert b"".join(await kept.chunks()) == b"abcd"


@pytest.mark.parametrize("count", [3, 4])
def test_memory_is_taken_up_to_its_limit_and_no_further(count: int) -> None:
    """A refusal takes nothing."""
    memory = ReplayMemory(3)
    assert memory.acquire(count) is (count <= 3)
    assert memory.used_bytes == (count if count <= 3 else 0)


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(0, 40))
def test_every_attempt_sends_the_same_bytes_or_none_does(
    parts: list[bytes], limit: int
) -> None:
    """The first always sends all; a second one is offered only if it can."""

    async def run() -> None:
        kept = Kept(Feed(*parts), limit=limit)
        assert await kept.chunks() == parts
        if kept.body.is_replayable:
            assert await kept.chunks() == parts
        else:
            assert sum(map(len, parts)) > limit
        kept.body.release()
        assert kept.memory.used_bytes == 0

    asyncio.run(run())
