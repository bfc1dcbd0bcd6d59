"""A file replaced whole and durably, or left as it was.

Temporary file in the same folder, private from its creation, fsync, rename, fsync of
the folder. `rename(2)` is atomic; the two fsyncs make its order hold over a power cut.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Signature: TypeAlias = tuple[int, int, int]
"""Inode, size and modification time in nanoseconds."""


def signature(path: Path) -> Signature | None:
    """Return what tells two states of a file apart, or None if it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def replace(path: Path, content: bytes) -> None:
    """Put *content* where *path* points to, with mode 0600.

    A symbolic link stays: its target is replaced, not the link. Missing folders are
    made, private.

    Raises:
        OSError: nothing was replaced, and no temporary file is left.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp creates with O_EXCL and mode 0600.
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", dir=target.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    # Some file systems refuse to sync a folder; the rename has happened all the same.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
