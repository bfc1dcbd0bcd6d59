"""A transport that records what is written to it, in place of a socket's."""

from __future__ import annotations

import asyncio
from typing import Any


class RecordingTransport(asyncio.Transport):
    """Owns what was written, and how it ended. Its buffer is never full."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.was_closed = self.was_aborted = False

    def write(self, data: Any) -> None:
        """Record *data*."""
        assert not self.is_closing()
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.was_closed or self.was_aborted

    def close(self) -> None:
        self.was_closed = True

    def abort(self) -> None:
        self.was_aborted = True

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Nothing is buffered here."""

    def get_write_buffer_size(self) -> int:
        return 0
