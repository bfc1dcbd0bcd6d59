"""A file replaced whole and durably, or left as it was.

Temporary file in the same folder, private from its creation, fsync, rename, fsync of
the folder. `rename(2)` is atomic; the two fsyncs make its order hold over a power cut.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

FileStamp: TypeAlias = tuple[int, int, int]
"""Inode, size and modification time in nanoseconds."""


def file_stamp(path: Path) -> FileStamp | None:
    """Return what tells two states of a file apart, or None if it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def real_path(path: Path) -> Path:
    """Return what *path* points to, over all links. A circle of them stays a circle."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for one


def replace(
    path: Path, content: bytes, *, is_durable: bool = True, makes_folder: bool = True
) -> None:
    """Put *content* where *path* points to, with mode 0600.

    A symbolic link stays: its target is replaced, not the link. Missing folders are
    made, private, if *makes_folder*. What is not *is_durable* is whole too, and may be lost at a power cut.

    Raises:
        OSError: nothing was replaced, and no temporary file is left.
    """
    target = real_path(path)
    if makes_folder:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp creates with O_EXCL and mode 0600.
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", dir=target.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    if is_durable:
        _sync_folder(target.parent)


def write_in_place(path: Path, content: bytes) -> None:
    """Overwrite the file at *path*, for one that cannot be replaced.

    Not atomic: whoever calls this has the content in a journal. Emptied first, so that
    half a write is the beginning of a document and never a mixture of two, which could
    be well-formed and belong to nobody.

    Raises:
        OSError: it was not, or not wholly, written.
    """
    with path.open("r+b") as file:
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def stale_temporaries(path: Path) -> list[Path]:
    """Return the temporary files of processes that died while they replaced *path*.

    Whoever asks holds the lock under which it is replaced, so none is still in use.
    """
    target = real_path(path)
    ours = re.compile(
        re.escape(f".{target.name}.") + "[a-z0-9_]{8}"
    )  # as mkstemp has it
    try:
        return [it for it in target.parent.iterdir() if ours.fullmatch(it.name)]
    except OSError:
        return []


def replace_in_folder(path: Path, content: bytes) -> None:
    """Do what `replace` does where there is a folder, and make none."""
    replace(path, content, makes_folder=False)


async def in_thread(
    write: Callable[[Path, bytes], None], path: Path, content: bytes
) -> None:
    """Call *write* in a thread. One that has begun is waited for, even when cancelled:
    the lock must not be let go while it is still at work.
    """
    writing = asyncio.ensure_future(asyncio.to_thread(write, path, content))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        if not writing.cancelled():
            writing.exception()  # seen: nobody is left to hear of it
        raise


def _sync_folder(folder: Path) -> None:
    # Some file systems refuse to sync a folder; the rename has happened all the same.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
