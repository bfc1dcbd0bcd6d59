"""The authority's response, written byte by byte as it arrives, before it is parsed.

The file is opened before the call, so an arriving byte needs nothing but a write. A
process that is killed leaves what it has written to the kernel, and the next holder of
the lock finds the response here, whole or not. It is removed as soon as the journal has
the tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bearerd.files.owner import give_to_folder_owner
from bearerd.files.regular import read_regular

SPOOL_LIMIT_BYTES = 2 << 20
"""More than the longest response that is taken."""


class ResponseSpool:
    """Owns one open file. *places* are tried in order, as the journal's are.

    The calls block. `write`, of some kilobytes into the page cache, happens in the event
    loop all the same, so that no byte waits for a thread.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = tuple(places)
        self._descriptor: int | None = None

    def open(self, fingerprint: str) -> None:
        """Begin a file for the response to the token of that *fingerprint*.

        If none can be opened, the call goes on without: the journal still says that the
        token may be spent. A process run by root gives the file to the folder's owner,
        who reads it if this process dies.
        """
        self._close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # Neither over a link, nor into a FIFO, whose open would wait for a reader.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        for place in self._places:
            with suppress(OSError):
                self._descriptor = os.open(place, flags, 0o600)
                with suppress(OSError):
                    give_to_folder_owner(self._descriptor, place.parent)
                os.write(self._descriptor, fingerprint.encode() + b"\n")
                return

    def write(self, part: bytes) -> None:
        """Keep a part of the response's body."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, part)

    def read(self, fingerprint: str) -> bytes | None:
        """Return what arrived for that token, or None."""
        for place in self._places:
            with suppress(OSError):
                content = read_regular(place, SPOOL_LIMIT_BYTES)
                name, _, body = content.partition(b"\n")
                if name == fingerprint.encode() and body:
                    return body
        return None

    def clear(self) -> None:
        """Remove the file: the journal has the tokens, or there are none."""
        self._close()
        for place in self._places:
            with suppress(OSError):
                place.unlink()

    def _close(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
