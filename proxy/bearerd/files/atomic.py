"""A file that is replaced whole and durably, or left as it was.

The steps: a temporary file in the same folder, private from its creation; fsync; rename;
fsync of the folder. `rename(2)` is atomic, and the two syncs keep its order through a
power failure.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from bearerd.files.owner import give_to_folder_owner, make_private_folder

FileStamp: TypeAlias = tuple[int, int, int]
"""Inode, size in bytes, and modification time in nanoseconds."""


SPECIAL_KINDS = (stat.S_ISCHR, stat.S_ISBLK, stat.S_ISFIFO, stat.S_ISSOCK)


def file_stamp(path: Path) -> FileStamp | None:
    """Return what tells two states of a file apart, or None if it cannot be examined."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> FileStamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


def real_path(path: Path) -> Path:
    """Return the file that *path* leads to over all symbolic links.

    A circle of links stays a circle: `Path.resolve` raises RuntimeError for one.
    """
    return Path(os.path.realpath(path))


def replace(
    path: Path, content: bytes, *, is_durable: bool = True, makes_folder: bool = True
) -> FileStamp:
    """Put *content* into the file that *path* leads to, with mode 0600; return its stamp.

    A symbolic link stays: its target is replaced. Missing folders are made, private, if
    *makes_folder*. Without *is_durable* the file is whole too, but a power failure may
    undo the replacement. A process run by root gives the file to the folder's owner.

    Raises:
        OSError: nothing was replaced, and no temporary file is left. One reason is that
            something else than a file is in the place, such as a device.
    """
    target = real_path(path)
    _require_replaceable(target)
    if makes_folder:
        make_private_folder(target.parent)
    # mkstemp creates with O_EXCL and mode 0600.
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", dir=target.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            give_to_folder_owner(file.fileno(), target.parent)
            file.write(content)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
            stamp = _stamp(os.fstat(file.fileno()))
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    if is_durable:
        _sync_folder(target.parent)
    return stamp


def _require_replaceable(target: Path) -> None:
    """Raise if a device, a FIFO or a socket would be lost by the rename.

    The rename itself refuses a folder.

    Raises:
        OSError: see above.
    """
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if any(is_kind(mode) for is_kind in SPECIAL_KINDS):
            raise OSError(errno.EINVAL, "it is not a regular file", str(target))


def write_in_place(path: Path, content: bytes) -> FileStamp:
    """Overwrite the file at *path*, which cannot be replaced; return its stamp.

    This is not atomic: the caller has the content in a journal. The file is emptied
    first, so that half a write is the beginning of one document and never a mixture of
    two, which could be well-formed and belong to no login.

    Raises:
        OSError: it was not, or not wholly, written.
    """
    with path.open("r+b") as file:
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return _stamp(os.fstat(file.fileno()))


def stale_temporaries(path: Path) -> list[Path]:
    """Return the temporary files of processes that died while they replaced *path*.

    The caller holds the lock under which *path* is replaced, so none is in use.
    """
    target = real_path(path)
    # The name that mkstemp makes of the prefix above.
    name = re.compile(re.escape(f".{target.name}.") + "[a-z0-9_]{8}")
    try:
        return [it for it in target.parent.iterdir() if name.fullmatch(it.name)]
    except OSError:
        return []


def remove_stale_temporaries(path: Path) -> None:
    """Remove what processes left that died while they replaced *path*."""
    for leftover in stale_temporaries(path):
        with suppress(OSError):
            leftover.unlink()


def replace_in_folder(path: Path, content: bytes) -> None:
    """Do what `replace` does in a folder that exists; make none."""
    replace(path, content, makes_folder=False)


def _sync_folder(folder: Path) -> None:
    # Some file systems refuse to sync a folder; the rename has happened all the same.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
