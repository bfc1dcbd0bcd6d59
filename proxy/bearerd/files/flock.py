"""A lock between processes: flock(2) on a file that is never unlinked.

The kernel releases the lock when its holder dies, so a stale lock cannot exist. If the
file were unlinked, a process that waits on the old inode would get a lock that no other
process sees.

The holder writes its process id and host into the file, for messages only. The kernel
alone decides whether the lock is held.

There are two forms of the lock: `flock` for the event loop, and `flock_blocking` for
short file operations outside of it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import filelock

from bearerd.clock import Clock
from bearerd.files.owner import give_to_folder_owner
from bearerd.files.regular import read_regular
from bearerd.files.threads import FileThread, run_to_end
from bearerd.json_object import json_object

POLL_SECONDS = 0.02
"""The interval between two attempts to take the lock."""

ATTEMPT_TIMEOUT_SECONDS = 5.0
"""How long one attempt may take. A local disk needs microseconds; after this time, the
file system counts as dead."""

HOLDER_LIMIT_BYTES = 512


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock since *since*, in epoch seconds."""

    pid: int
    host: str
    since: float


@asynccontextmanager
async def flock(
    path: Path, clock: Clock, timeout_seconds: float, *, writes_holder: bool = False
) -> AsyncIterator[None]:
    """Hold the lock on *path*. The file is created with mode 0600 if it does not exist.

    *writes_holder*: this process writes itself into the file, which must have no other
    content. No call blocks the event loop, even if the file system hangs.

    Raises:
        TimeoutError: another process did not release the lock in time.
        OSError: the lock cannot be created, because the folder does not exist for
            example, or the file system does not respond.
    """
    deadline = clock.monotonic() + timeout_seconds
    acquire = partial(_acquire, path, clock, writes_holder=writes_holder)
    thread = FileThread()
    while (lock := await _in_thread(thread, acquire)) is None:
        if clock.monotonic() >= deadline:
            raise TimeoutError(str(path))
        await clock.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        try:
            await run_to_end(lock.release)
        except OSError:  # no thread can be started
            lock.release()


async def _in_thread(
    thread: FileThread, acquire: Callable[[], filelock.BaseFileLock | None]
) -> filelock.BaseFileLock | None:
    """Return the lock, or None if it is held.

    A lock that is acquired after the timeout is released.

    Raises:
        OSError: the file system does not respond. Its errno is not ETIMEDOUT, which
            Python maps to TimeoutError, the error for a lock that is held.
    """
    try:
        return await thread.run(
            acquire, timeout_seconds=ATTEMPT_TIMEOUT_SECONDS, dispose=_release
        )
    except TimeoutError:
        raise OSError(errno.EIO, "the file system does not respond") from None


def _acquire(
    path: Path, clock: Clock, *, writes_holder: bool
) -> filelock.BaseFileLock | None:
    """Try once to take the lock; return None if another process holds it."""
    is_new = _is_new(path)
    lock = _file_lock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    _prepare(path, is_new=is_new, since=clock.now() if writes_holder else None)
    return lock


def _is_new(path: Path) -> bool:
    """Return True if the lock file does not exist yet.

    Raises:
        OSError: its folder does not exist. filelock would create the folder.
    """
    path.parent.stat()
    return not path.exists()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(
        path,
        mode=0o600,
        thread_local=False,
        preserve_lock_file=True,
        fallback_to_soft=False,  # a lock without flock stays when its holder dies
    )


def _release(lock: filelock.BaseFileLock | None) -> None:
    if lock is not None:
        lock.release()


@contextmanager
def flock_blocking(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock on *path*; block the thread while waiting for it.

    Raises:
        TimeoutError: another process did not release the lock in time.
        OSError: the lock cannot be created, because the folder does not exist for
            example.
    """
    is_new = _is_new(path)
    lock = _file_lock(path)
    try:
        lock.acquire(timeout=timeout_seconds, poll_interval=POLL_SECONDS)
    except filelock.Timeout:
        raise TimeoutError(str(path)) from None
    try:
        _prepare(path, is_new=is_new)
        yield
    finally:
        lock.release()


def read_holder(path: Path) -> LockHolder | None:
    """Return the process that last wrote itself into the lock file, or None."""
    try:
        document = json_object(read_regular(path, HOLDER_LIMIT_BYTES)) or {}
        return LockHolder(
            pid=int(document["pid"]),
            host=str(document["host"]),
            since=float(document["since"]),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


def _prepare(path: Path, *, is_new: bool, since: float | None = None) -> None:
    """Give a new file to the owner of the folder, and write the holder if *since* is set.

    A failure of either is ignored: the lock is held.
    """
    if not is_new and since is None:
        return
    with suppress(OSError), path.open("r+b") as file:
        if is_new:
            give_to_folder_owner(file.fileno(), path.parent)
        if since is not None:
            holder = LockHolder(os.getpid(), socket.gethostname(), since)
            file.write(json.dumps(asdict(holder)).encode() + b"\n")
            file.truncate()
