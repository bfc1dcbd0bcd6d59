"""A lock between processes: flock(2) on a file that is never unlinked.

The kernel releases the lock when its holder dies, so no age has to be guessed. The file
stays, because a waiter on an unlinked inode would hold a lock that no other process sees.

Two forms of one lock: `flock` for the event loop, `flock_blocking` for short file work
outside of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import filelock

from bearerd.clock import Clock

POLL_SECONDS = 0.02
"""How soon a waiter notices that the holder released the lock, or died."""

MODE = 0o600


@asynccontextmanager
async def flock(
    path: Path, clock: Clock, timeout_seconds: float
) -> AsyncIterator[None]:
    """Hold the lock on *path*. The file is created if need be, its folder is not.

    Raises:
        TimeoutError: another holder did not release it in time.
        OSError: there is no place for the lock, such as a missing folder.
    """
    lock = _file_lock(path)
    path.parent.stat()  # filelock would create a missing folder
    deadline = clock.monotonic() + timeout_seconds
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except filelock.Timeout:
            if clock.monotonic() >= deadline:
                raise TimeoutError(str(path)) from None
        await clock.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def flock_blocking(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock on *path*, and block the thread while waiting for it.

    Raises:
        TimeoutError: another holder did not release it in time.
        OSError: there is no place for the lock, such as a missing folder.
    """
    lock = _file_lock(path)
    path.parent.stat()
    try:
        lock.acquire(timeout=timeout_seconds, poll_interval=POLL_SECONDS)
    except filelock.Timeout:
        raise TimeoutError(str(path)) from None
    try:
        yield
    finally:
        lock.release()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(
        path,
        mode=MODE,
        thread_local=False,
        preserve_lock_file=True,
        fallback_to_soft=False,  # a lock file without flock outlives its holder
    )
