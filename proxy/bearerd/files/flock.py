"""A lock between processes, by flock on a file that is never unlinked.

The kernel releases it when its holder dies, so no age has to be guessed. A waiter on an
unlinked inode would hold a lock that no other process sees; hence the file stays.

The holder writes its name into the file. The name is for people: whether the lock is
held is the kernel's answer alone.

Two forms of one lock: `flock` for the event loop, `flock_blocking` for short file work
outside of it.
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
"""How soon a waiter notices that the lock is free."""

RESPONSE_SECONDS = 5.0
"""How long one try may take. A local disk needs microseconds; past this the file system
is taken for dead."""

HOLDER_LIMIT_BYTES = 512


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock. *since* is epoch seconds."""

    pid: int
    host: str
    since: float


@asynccontextmanager
async def flock(
    path: Path, clock: Clock, timeout_seconds: float, *, names_holder: bool = False
) -> AsyncIterator[None]:
    """Hold the lock on *path*; the file is created, private, if it does not exist.

    *names_holder* writes this process into the file: only for a file that is a lock and
    nothing else. No call blocks the event loop, even if the file system hangs.

    Raises:
        TimeoutError: another holder did not release it in time.
        OSError: there is no place to lock, such as a folder that does not exist, or the
            file system does not respond.
    """
    deadline = clock.monotonic() + timeout_seconds
    acquire = partial(_acquire, path, clock, names_holder=names_holder)
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
    """Return the lock, or None if it is held; a lock that comes too late is released.

    Raises:
        OSError: the file system does not respond. Not ETIMEDOUT, which Python turns into
            the TimeoutError of a lock that is held.
    """
    try:
        return await thread.run(
            acquire, timeout_seconds=RESPONSE_SECONDS, dispose=_release
        )
    except TimeoutError:
        raise OSError(errno.EIO, "the file system does not respond") from None


def _acquire(
    path: Path, clock: Clock, *, names_holder: bool
) -> filelock.BaseFileLock | None:
    """Try once to take the lock; return None if another holder has it."""
    is_new = _is_new(path)
    lock = _file_lock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    _prepare(path, is_new=is_new, since=clock.now() if names_holder else None)
    return lock


def _is_new(path: Path) -> bool:
    """Return True if the lock file does not exist yet.

    Raises:
        OSError: its folder does not exist, which filelock would create.
    """
    path.parent.stat()
    return not path.exists()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(
        path,
        mode=0o600,
        thread_local=False,
        preserve_lock_file=True,
        fallback_to_soft=False,  # a lock file without flock outlives its holder
    )


def _release(lock: filelock.BaseFileLock | None) -> None:
    if lock is not None:
        lock.release()


@contextmanager
def flock_blocking(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock on *path*, and block the thread while waiting for it.

    Raises:
        TimeoutError: another holder did not release it in time.
        OSError: there is no place for the lock, such as a missing folder.
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
    """Return the last process that wrote its name into the lock file, or None."""
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
    """Give a new file to the folder's owner, and write the holder's name with *since*.

    Neither is worth a lock that cannot be had.
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
