"""The response spool: the authority's response on disk, written before it is parsed.

The file is opened before the call, so a received part needs one write and nothing else.
If the process is killed, the kernel still has what was written, and the next holder of
the lock finds the response here, complete or not. The file is removed as soon as the
journal contains the tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bearerd.files.owner import give_to_folder_owner
from bearerd.files.regular import read_regular

SPOOL_LIMIT_BYTES = 2 << 20
"""More than the longest response that is accepted."""


class ResponseSpool:
    """Owns one open file. *paths* are tried in order, like those of the journal.

    The calls block. `write` is called in the event loop all the same, so that no byte
    waits for a thread: it copies some kilobytes into the page cache.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._descriptor: int | None = None

    def open(self, fingerprint: str) -> None:
        """Create the file for the response to the token with this *fingerprint*.

        If no file can be created, the call is made without one: the journal still records
        that the token is maybe spent. A process run by root gives the file to the owner of
        the folder, who reads it if this process dies.
        """
        self._close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # Do not follow a link, and do not wait for the reader of a FIFO.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        for path in self._paths:
            with suppress(OSError):
                self._descriptor = os.open(path, flags, 0o600)
                with suppress(OSError):
                    give_to_folder_owner(self._descriptor, path.parent)
                os.write(self._descriptor, fingerprint.encode() + b"\n")
                return

    def write(self, part: bytes) -> None:
        """Append a part of the response body."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, part)

    def read(self, fingerprint: str) -> bytes | None:
        """Return the received part of the response to that token, or None."""
        for path in self._paths:
            with suppress(OSError):
                content = read_regular(path, SPOOL_LIMIT_BYTES)
                name, _, body = content.partition(b"\n")
                if name == fingerprint.encode() and body:
                    return body
        return None

    def clear(self) -> None:
        """Remove the file: the journal contains the tokens, or there are none."""
        self._close()
        for path in self._paths:
            with suppress(OSError):
                path.unlink()

    def _close(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
