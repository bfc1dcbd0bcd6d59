"""Atomic and durable replacement of a file.

The steps: create a private temporary file in the same folder; fsync; rename; fsync of
the folder. `rename(2)` is atomic, and the two fsyncs keep the order of the steps in a
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
    """Return the stamp of a file, or None if it cannot be examined."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> FileStamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


def real_path(path: Path) -> Path:
    """Return *path* with all symbolic links resolved.

    `Path.resolve` raises RuntimeError for a loop of links; this returns a path.
    """
    return Path(os.path.realpath(path))


def replace(
    path: Path, content: bytes, *, is_durable: bool = True, creates_folder: bool = True
) -> FileStamp:
    """Replace the content of the file at *path*, with mode 0600; return its stamp.

    If *path* is a symbolic link, its target is replaced. *creates_folder*: missing
    folders are created, with mode 0700. Without *is_durable* there is no fsync: the
    replacement is atomic, but a power failure may undo it. A process run by root gives
    the file to the owner of the folder.

    Raises:
        OSError: nothing was replaced, and the temporary file is removed. One reason is
            that the path is a device, a FIFO or a socket.
    """
    target = real_path(path)
    _require_replaceable(target)
    if creates_folder:
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
    """Check that the rename would not replace a device, a FIFO or a socket.

    The rename itself fails for a folder.

    Raises:
        OSError: *target* is not a regular file.
    """
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if any(is_kind(mode) for is_kind in SPECIAL_KINDS):
            raise OSError(errno.EINVAL, "it is not a regular file", str(target))


def write_in_place(path: Path, content: bytes) -> FileStamp:
    """Overwrite the file at *path*, which no rename can replace; return its stamp.

    This is not atomic, so the caller has the content in a journal. The file is truncated
    first. So an interrupted write leaves the beginning of one document, and never a
    mixture of two, which could be valid JSON.

    Raises:
        OSError: the content was not written, or not completely.
    """
    with path.open("r+b") as file:
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return _stamp(os.fstat(file.fileno()))


def stale_temporaries(path: Path) -> list[Path]:
    """Return the temporary files of processes that died during a `replace` of *path*.

    The caller holds the lock under which *path* is replaced, so none of them is in use.
    """
    target = real_path(path)
    # The names that mkstemp creates with the prefix in `replace`.
    name = re.compile(re.escape(f".{target.name}.") + "[a-z0-9_]{8}")
    try:
        return [each for each in target.parent.iterdir() if name.fullmatch(each.name)]
    except OSError:
        return []


def remove_stale_temporaries(path: Path) -> None:
    """Remove the files that `stale_temporaries` returns."""
    for temporary in stale_temporaries(path):
        with suppress(OSError):
            temporary.unlink()


def replace_in_folder(path: Path, content: bytes) -> None:
    """Replace the file as `replace` does; create no folder."""
    replace(path, content, creates_folder=False)


def _sync_folder(folder: Path) -> None:
    # Some file systems do not support fsync of a folder. The rename has succeeded anyway.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
