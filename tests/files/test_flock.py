"""The lock between processes: one holder, and free when it dies."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.files.flock import flock
from tests.credential.stand_ins import soon, wait_until
from tests.support.clock import ManualClock


async def test_the_file_is_private_and_stays(
    tmp_path: Path, clock: ManualClock
) -> None:
    """One inode for ever: a lock on an unlinked one would exclude nobody."""
    path, inodes = tmp_path / "lock", set()
    for _ in range(5):
        async with flock(path, clock.skipping, 0):
            inodes.add(path.stat().st_ino)
        inodes.add(path.stat().st_ino)
    assert len(inodes) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_in_one_process_exclude_each_other(
    tmp_path: Path, clock: ManualClock
) -> None:
    """As if they were two processes; a timeout of 0 tries once."""
    path = tmp_path / "lock"
    async with flock(path, clock.skipping, 0):
        with pytest.raises(TimeoutError, match="lock"):
            async with flock(path, clock.skipping, 0):
                raise AssertionError("both hold it")
    async with flock(path, clock.skipping, 0):
        pass


async def test_a_waiter_gets_it_as_soon_as_it_is_free(
    tmp_path: Path, clock: ManualClock
) -> None:
    """At its next look."""
    path, clock = tmp_path / "lock", clock.clock
    got = asyncio.Event()

    async def wait_for_it() -> None:
        async with flock(path, clock, 10):
            got.set()

    async with flock(path, clock, 0):
        waiting = asyncio.create_task(wait_for_it())
        await wait_until(lambda: clock.sleepers == 1)
        clock.advance(1.0)
        await wait_until(lambda: clock.sleepers == 1)
        assert not got.is_set()
    clock.advance(0.02)
    await soon(waiting)


async def test_a_waiter_gives_up_when_its_time_is_over(
    tmp_path: Path, clock: ManualClock
) -> None:
    """By the monotonic clock; the wall clock may jump."""
    path, began = tmp_path / "lock", clock.monotonic()
    async with flock(path, clock.skipping, 0):
        clock.advance(0.0, wall_seconds=1e6)
        with pytest.raises(TimeoutError):
            async with flock(path, clock.skipping, 3.0):
                raise AssertionError("both hold it")
    assert 3.0 <= clock.monotonic() - began < 3.1


async def test_a_waiter_that_is_cancelled_leaves_nothing_held(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Nor does a holder that is cancelled inside."""
    path, clock = tmp_path / "lock", clock.clock

    async def hold() -> None:
        async with flock(path, clock, 10):
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiter = asyncio.create_task(hold())
    await wait_until(lambda: clock.sleepers == 1)
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with flock(path, Clock(), 0):
        pass


async def test_a_place_that_takes_no_file_is_an_error(
    tmp_path: Path, clock: ManualClock
) -> None:
    """At once, and not a matter of waiting."""
    (tmp_path / "data").write_bytes(b"no folder")
    with pytest.raises(OSError, match="data") as refused:
        async with flock(tmp_path / "data" / "lock", clock.skipping, 10):
            raise AssertionError("there is no lock to hold")
    assert not isinstance(refused.value, TimeoutError)
