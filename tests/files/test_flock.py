"""The lock between processes: one holder, its name, and free when it dies."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.files.flock import LockHolder, flock, read_holder
from tests.credential.stand_ins import PATIENCE_SECONDS, full_disk, soon, wait_until
from tests.support.clock import ManualClock


async def test_the_file_is_private_and_stays(
    tmp_path: Path, clock: ManualClock
) -> None:
    """One inode for ever: a lock on an unlinked one would exclude no other process."""
    path, inodes = tmp_path / "lock", set()
    for _ in range(5):
        async with flock(path, clock.skipping, 0):
            inodes.add(path.stat().st_ino)
        inodes.add(path.stat().st_ino)
    assert len(inodes) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_holders_in_one_process_exclude_each_other(
    tmp_path: Path, clock: ManualClock
) -> None:
    """As two processes do; a timeout of 0 tries once."""
    path = tmp_path / "lock"
    async with flock(path, clock.skipping, 0):
        with pytest.raises(TimeoutError, match="lock"):
            async with flock(path, clock.skipping, 0):
                raise AssertionError("both hold it")
    async with flock(path, clock.skipping, 0):
        pass


async def test_a_waiter_gets_the_lock_as_soon_as_it_is_free(
    tmp_path: Path, clock: ManualClock
) -> None:
    """At its next attempt."""
    path = tmp_path / "lock"
    acquired = asyncio.Event()

    async def acquire() -> None:
        async with flock(path, clock.clock, 10):
            acquired.set()

    async with flock(path, clock.clock, 0):
        waiting = asyncio.create_task(acquire())
        await clock.wait_for_sleepers(1)
        clock.advance(1.0)
        await clock.wait_for_sleepers(1)
        assert not acquired.is_set()
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


async def test_a_cancelled_waiter_leaves_the_lock_free(
    tmp_path: Path, clock: ManualClock
) -> None:
    """And so does a holder that is cancelled inside."""
    path = tmp_path / "lock"
    held = asyncio.Event()

    async def hold() -> None:
        async with flock(path, clock.clock, 10):
            held.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await soon(held.wait())
    waiter = asyncio.create_task(hold())
    await clock.wait_for_sleepers(1)
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with flock(path, Clock(), 0):
        pass


async def test_a_place_that_takes_no_file_is_an_error(
    tmp_path: Path, clock: ManualClock
) -> None:
    """At once: waiting would not help."""
    (tmp_path / "data").write_bytes(b"no folder")
    with pytest.raises(OSError, match="data") as refused:
        async with flock(tmp_path / "data" / "lock", clock.skipping, 10):
            raise AssertionError("there is no lock to hold")
    assert not isinstance(refused.value, TimeoutError)


# A file system that hangs.


class HangingPath(type(Path())):  # type: ignore[misc]
    """A path on a file system that does not respond until it is released."""

    began = threading.Event()
    release = threading.Event()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Hang, as on a dead mount."""
        self.began.set()
        assert self.release.wait(2 * PATIENCE_SECONDS)
        status: os.stat_result = super().stat(follow_symlinks=follow_symlinks)
        return status


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[HangingPath]:
    """A lock file on a file system that hangs; it is released at the end."""
    HangingPath.began.clear()
    HangingPath.release.clear()
    yield HangingPath(tmp_path / "lock")
    HangingPath.release.set()


class TimedOutPath(type(Path())):  # type: ignore[misc]
    """A path on a network mount whose server does not respond."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        """Fail as the system call does."""
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


async def test_a_mount_that_times_out_is_no_lock_that_is_held(tmp_path: Path) -> None:
    """Python raises the same type for both; a wait for a holder would be in vain."""
    with pytest.raises(OSError, match="does not respond") as refused:
        async with flock(TimedOutPath(tmp_path / "lock"), Clock(), 10):
            raise AssertionError("there is no lock to hold")
    assert not isinstance(refused.value, TimeoutError)


async def test_a_file_system_that_hangs_does_not_hold_up_the_loop(
    hanging: HangingPath, tmp_path: Path
) -> None:
    """A caller that leaves gets away, and a lock that comes too late is released."""

    async def acquire() -> None:
        async with flock(hanging, Clock(), 0):
            raise AssertionError("its caller has left")

    waiting = asyncio.create_task(acquire())
    await wait_until(hanging.began.is_set)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting)
    hanging.release.set()
    await wait_until((tmp_path / "lock").exists)
    async with flock(tmp_path / "lock", Clock(), PATIENCE_SECONDS):
        pass


async def test_a_caller_that_is_cancelled_as_it_gets_the_lock_does_not_keep_it(
    tmp_path: Path,
) -> None:
    """At each turn of the loop between the try and the body."""
    path = tmp_path / "lock"

    async def acquire() -> None:
        async with flock(path, Clock(), 0):
            await asyncio.sleep(0)

    for turns in range(12):
        acquiring = asyncio.create_task(acquire())
        for _ in range(turns):
            await asyncio.sleep(0)
        acquiring.cancel()
        await soon(asyncio.wait({acquiring}))
        async with flock(path, Clock(), PATIENCE_SECONDS):
            pass


# The holder's name.


async def test_the_holder_is_named_in_the_file(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Process, host and since when; the name stays when the lock is free."""
    path = tmp_path / "lock"
    expected = LockHolder(os.getpid(), socket.gethostname(), clock.now())
    async with flock(path, clock.skipping, 0, writes_holder=True):
        assert read_holder(path) == expected
    assert read_holder(path) == expected


async def test_a_new_holder_replaces_the_name(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Nothing of a longer name remains after it."""
    path = tmp_path / "lock"
    longer = {"pid": 4_194_304, "host": "a-host-with-a-long-name" * 4, "since": 1.5}
    path.write_text(json.dumps(longer))
    clock.advance(7.0)
    async with flock(path, clock.skipping, 0, writes_holder=True):
        assert read_holder(path) == LockHolder(
            os.getpid(), socket.gethostname(), clock.now()
        )
        assert json.loads(path.read_bytes())["pid"] == os.getpid()


async def test_a_waiter_does_not_change_the_holders_name(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Only the process that got the lock writes."""
    path = tmp_path / "lock"
    async with flock(path, clock.skipping, 0, writes_holder=True):
        before = path.read_bytes()
        clock.advance(60.0)
        with pytest.raises(TimeoutError):
            async with flock(path, clock.skipping, 1.0, writes_holder=True):
                raise AssertionError("both hold it")
        assert path.read_bytes() == before


async def test_a_file_that_is_more_than_a_lock_is_not_written_to(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Codex's locks stay empty, and a mounted login that is its own lock stays whole."""
    path = tmp_path / "auth.json"
    path.write_bytes(b"a login")
    async with flock(path, clock.skipping, 0):
        assert path.read_bytes() == b"a login"
    assert path.read_bytes() == b"a login"


async def test_a_name_that_cannot_be_written_costs_no_lock(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The name is for messages only."""
    path = tmp_path / "lock"
    path.touch()
    with full_disk():
        async with flock(path, clock.skipping, 0, writes_holder=True):
            assert read_holder(path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b"{}",
        b'{"pid": 1, "host": "h"}',
        b'{"pid": "x", "host": "h", "since": 1}',
        b'{"pid": 1, "host": "h", "since": null}',
        b"[" * 400,
        b'{"pid": 1, "since": 1, "host": "' + b"h" * 600 + b'"}',
    ],
)
def test_a_file_without_a_whole_name_names_no_holder(
    tmp_path: Path, content: bytes
) -> None:
    """Older versions leave it empty, and a death in the middle leaves a part."""
    (tmp_path / "lock").write_bytes(content)
    assert read_holder(tmp_path / "lock") is None
    assert read_holder(tmp_path / "missing") is None
