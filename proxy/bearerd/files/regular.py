"""Bounded reads of regular files.

Opening a FIFO without a writer blocks, and reading a device such as /dev/zero never ends.
Both can have the path of a file, by accident or on purpose.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """The path is not a regular file."""


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file, at most one byte more than *limit_bytes*.

    Raises:
        NotRegularError: the path is a folder or a FIFO, for example.
        OSError: it cannot be read.
    """
    # O_NONBLOCK: without it, opening a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(None, "it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
