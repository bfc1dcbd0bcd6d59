"""A request body that can be sent again: what is kept, and within which limits."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.relay.body import ReplayBody, ReplayMemory


class ScriptedReader:
    """A reader whose chunks arrive when a test says so."""

    def __init__(self, *chunks: bytes, has_ended: bool = True) -> None:
        self._chunks = list(chunks)
        self._has_ended = has_ended
        self._has_changed = asyncio.Event()

    def arrive(self, chunk: bytes, *, is_last: bool = False) -> None:
        self._chunks.append(chunk)
        self._has_ended = is_last
        self._has_changed.set()

    async def readany(self) -> bytes:
        while not self._chunks and not self._has_ended:
            self._has_changed.clear()
            await self._has_changed.wait()
        return self._chunks.pop(0) if self._chunks else b""

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        content, self._chunks = b"".join(self._chunks), []
        return content

    def is_eof(self) -> bool:
        return self._has_ended


class Bench:
    """A body, its memory, and the reasons why its replay was given up."""

    def __init__(
        self, reader: ScriptedReader, limit: int = 100, total: int = 1000
    ) -> None:
        self.memory = ReplayMemory(total)
        self.reasons: list[str] = []
        self.body = ReplayBody(
            reader,
            limit_bytes=limit,
            memory=self.memory,
            on_abandon=self.reasons.append,
        )

    async def chunks(self) -> list[bytes]:
        return [chunk async for chunk in self.body.chunks()]


async def test_a_body_streams_and_can_be_sent_again() -> None:
    """The same chunks again."""
    bench = Bench(ScriptedReader(b"ab", b"c", b"def"))
    assert await bench.chunks() == [b"ab", b"c", b"def"]
    assert await bench.chunks() == [b"ab", b"c", b"def"]
    assert bench.body.is_replayable
    assert bench.memory.used_bytes == 6


async def test_a_replay_starts_at_the_start_and_goes_on_with_the_rest() -> None:
    """The chunks that have arrived come first, then those that still arrive."""
    reader = ScriptedReader(b"ab", has_ended=False)
    bench = Bench(reader)
    first = bench.body.chunks()
    assert await anext(first) == b"ab"
    again = bench.body.chunks()
    assert await anext(again) == b"ab"
    reader.arrive(b"cd", is_last=True)
    assert [chunk async for chunk in again] == [b"cd"]
    assert await bench.chunks() == [b"ab", b"cd"]


async def test_an_attempt_that_is_cancelled_while_it_reads_loses_nothing() -> None:
    """The next one has every byte."""
    reader = ScriptedReader(b"ab", has_ended=False)
    bench = Bench(reader)
    reading = asyncio.create_task(bench.chunks())
    await asyncio.sleep(0)
    assert bench.memory.used_bytes == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reader.arrive(b"cd", is_last=True)
    assert b"".join(await bench.chunks()) == b"abcd"


@pytest.mark.parametrize(("limit", "is_kept"), [(6, True), (5, False), (0, False)])
async def test_a_body_past_its_limit_streams_on_and_is_not_kept(
    limit: int, is_kept: bool
) -> None:
    """Only the replay is lost; the memory is released at once."""
    bench = Bench(ScriptedReader(b"ab", b"cd", b"ef", b""), limit=limit)
    assert b"".join(await bench.chunks()) == b"abcdef"
    assert bench.body.is_replayable is is_kept
    assert bench.memory.used_bytes == (6 if is_kept else 0)
    assert bench.reasons == ([] if is_kept else ["request_limit"])


async def test_all_bodies_together_have_a_limit() -> None:
    """The body that would pass it is not kept; the others stay."""
    memory = ReplayMemory(5)
    reasons: list[str] = []
    bodies = [
        ReplayBody(
            ScriptedReader(b"abc"),
            limit_bytes=100,
            memory=memory,
            on_abandon=reasons.append,
        )
        for _ in range(2)
    ]
    for body in bodies:
        assert [chunk async for chunk in body.chunks()] == [b"abc"]
    assert [body.is_replayable for body in bodies] == [True, False]
    assert reasons == ["total_limit"]
    assert memory.used_bytes == 3
    bodies[0].release()
    assert memory.used_bytes == 0


async def test_an_abandoned_replay_is_announced_once() -> None:
    """However much follows."""
    bench = Bench(ScriptedReader(*[b"x" * 60] * 10), limit=100)
    await bench.chunks()
    assert bench.reasons == ["request_limit"]


async def test_releasing_returns_the_memory_once() -> None:
    """No replay is possible after it, and nothing is announced."""
    bench = Bench(ScriptedReader(b"abc"))
    await bench.chunks()
    bench.body.release()
    bench.body.release()
    assert bench.memory.used_bytes == 0
    assert not bench.body.is_replayable
    assert bench.reasons == []


def test_a_body_that_has_arrived_is_read_in_one_piece() -> None:
    """The replay gets it in one piece too."""
    bench = Bench(ScriptedReader(b"ab", b"cd"))
    assert bench.body.read_if_complete() == b"abcd"
    assert bench.body.read_if_complete() == b"abcd"
    assert bench.memory.used_bytes == 4


def test_a_body_that_still_arrives_is_not_complete() -> None:
    """It has to be streamed."""
    assert Bench(ScriptedReader(b"ab", has_ended=False)).body.read_if_complete() is None


def test_an_empty_body_is_complete() -> None:
    """It is sent with a length of 0."""
    assert Bench(ScriptedReader()).body.read_if_complete() == b""


def test_a_complete_body_past_the_limit_is_read_once() -> None:
    """It is returned to be sent, and not bench."""
    bench = Bench(ScriptedReader(b"abcdef"), limit=3)
    assert bench.body.read_if_complete() == b"abcdef"
    assert bench.body.read_if_complete() is None
    assert bench.reasons == ["request_limit"]


async def test_a_body_that_was_streamed_is_complete_at_its_end() -> None:
    """A replay after the upload goes out in one piece."""
    bench = Bench(ScriptedReader(b"ab", b"cd"))
    await bench.chunks()
    assert bench.body.read_if_complete() == b"abcd"


async def test_a_body_that_was_read_in_one_piece_can_be_streamed_again() -> None:
    """The next attempt may take either way."""
    bench = Bench(ScriptedReader(b"abcd"))
    assert bench.body.read_if_complete() == b"abcd"
    assert b"".join(await bench.chunks()) == b"abcd"


@pytest.mark.parametrize("count", [3, 4])
def test_memory_is_acquired_up_to_its_limit(count: int) -> None:
    """A refused request acquires nothing."""
    memory = ReplayMemory(3)
    assert memory.acquire(count) is (count <= 3)
    assert memory.used_bytes == (count if count <= 3 else 0)


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(0, 40))
def test_every_attempt_sends_the_same_chunks(chunks: list[bytes], limit: int) -> None:
    """The first sends all of them; a second one is possible only within the limit."""

    async def run() -> None:
        bench = Bench(ScriptedReader(*chunks), limit=limit)
        assert await bench.chunks() == chunks
        if bench.body.is_replayable:
            assert await bench.chunks() == chunks
        else:
            assert sum(map(len, chunks)) > limit
        bench.body.release()
        assert bench.memory.used_bytes == 0

    asyncio.run(run())
