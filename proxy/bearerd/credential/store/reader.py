"""Reads of a store: outside the event loop, one at a time, each with a timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bearerd.errors import StoreUnavailable
from bearerd.files.threads import FileThread

T = TypeVar("T")

READ_TIMEOUT_SECONDS = 5.0
"""The timeout of one file call. A local disk needs microseconds and a working network
mount some milliseconds; after this time, the file system counts as dead."""

RETRY_AFTER_SECONDS = 5
"""Retry-After for clients while the store is unavailable. A retry causes no call to the
authority."""


class StoreReader:
    """Owns the thread for the reads of one store. *name* is that store's, for messages."""

    def __init__(
        self, name: str, *, timeout_seconds: float = READ_TIMEOUT_SECONDS
    ) -> None:
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._thread = FileThread()

    async def read(self, call: Callable[[], T]) -> T:
        """Return what *call*, which reads files, returns.

        Raises:
            StoreUnavailable: the file system does not respond, no thread can be
                started, or *call* raises it.
        """
        try:
            return await self._thread.run(call, timeout_seconds=self._timeout_seconds)
        except TimeoutError:
            reason, remedy = "the file system does not respond", "check the mount"
        except OSError as error:
            reason, remedy = str(error), "check the limits of the system"
        raise StoreUnavailable(
            f"{self._name}: {reason}; {remedy}",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        ) from None
