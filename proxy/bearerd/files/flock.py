"""A lock between processes, by flock on a file that is never unlinked.

The kernel lets go of it when its holder dies, so no age has to be guessed. A waiter on
an unlinked inode would hold a lock that nobody else sees; hence the file stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import filelock

from bearerd.clock import Clock

POLL_SECONDS = 0.02
"""How soon a waiter notices that the holder let go, or died."""


@asynccontextmanager
async def flock(
    path: Path, clock: Clock, timeout_seconds: float
) -> AsyncIterator[None]:
    """Hold the lock on *path*, creating the file, private, if need be.

    Raises:
        TimeoutError: another holder did not let go in time.
        OSError: there is no place to lock, such as a folder that is not there.
    """
    lock = filelock.FileLock(
        path,
        mode=0o600,
        thread_local=False,
        preserve_lock_file=True,
        fallback_to_soft=False,
    )
    # filelock would make a missing folder; whether to is not decided here.
    path.parent.stat()
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
