"""The Date field of responses (RFC 9110 section 6.6.1)."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate


class DateField:
    """The Date field line, formatted once a second. *now* returns epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """Return the field line for this second, its line end included."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line
