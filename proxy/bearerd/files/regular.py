"""Reads of a path that may lead to something else than a file.

A FIFO without a writer blocks whoever opens it, and a device such as /dev/zero has no
end. Both can stand in the place of a file, by accident or on purpose.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """What lies in a file's place is no regular file."""


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file, up to a byte more than *limit_bytes*.

    Raises:
        NotRegularError: it is something else, such as a folder or a FIFO.
        OSError: it cannot be read.
    """
    # O_NONBLOCK: the open of a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(None, "it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
