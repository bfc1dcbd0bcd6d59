"""The authority's response, byte by byte as it comes in: kept before anybody reads it.

The file is opened before the call, so that what arrives needs nothing but a write. A
process that is killed leaves what it has written to the kernel, and whoever takes the
lock next finds the response here, whole or not. It is gone as soon as the journal has it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class ResponseSpool:
    """Owns one open file. *places* are tried in order, as the journal does."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = tuple(places)
        self._descriptor: int | None = None

    def open(self, fingerprint: str) -> None:
        """Begin a receipt for the token of that *fingerprint*.

        Where none can be begun, the call goes on without: the journal still tells that
        the token may be spent.
        """
        self._close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        for place in self._places:
            with suppress(OSError):
                self._descriptor = os.open(place, flags, 0o600)
                os.write(self._descriptor, fingerprint.encode() + b"\n")
                return

    def write(self, part: bytes) -> None:
        """Keep a part of the response's body."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, part)

    def read(self, fingerprint: str) -> bytes | None:
        """Return what came in for that token, if anything did."""
        for place in self._places:
            with suppress(OSError):
                named, _, body = place.read_bytes().partition(b"\n")
                if named == fingerprint.encode() and body:
                    return body
        return None

    def clear(self) -> None:
        """Forget it: the journal has the response, or there is none."""
        self._close()
        for place in self._places:
            with suppress(OSError):
                place.unlink()

    def _close(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
