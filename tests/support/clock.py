"""A clock that moves when a test says so."""

from __future__ import annotations

import asyncio

from bearerd.clock import Clock
from bearerd.sandbox.gate import Notifier


class HandClock:
    """Owns the time of everything that gets `clock`, and those who sleep by it.

    Wall clock and monotonic clock move together. Hand `now` to the sandbox too, so that
    tokens are minted and judged by the same time.
    """

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.seconds = at
        self.clock = Clock(now=self.now, monotonic=self.now, sleep=self.sleep)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._notifier = Notifier()

    def now(self) -> float:
        """Return the time, in seconds."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        entry = (self.seconds + seconds, woken)
        self._sleepers.append(entry)
        self._notifier.notify()
        try:
            await woken
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever has slept long enough."""
        self.seconds += seconds
        for entry in list(self._sleepers):
            if entry[0] <= self.seconds and not entry[1].done():
                self._sleepers.remove(entry)
                entry[1].set_result(None)

    async def wait_for_sleepers(self, count: int) -> None:
        """Return once at least *count* sleep: what woke them has been dealt with."""
        await self._notifier.wait_for(
            lambda: len(self._sleepers) >= count, description=f"{count} sleepers"
        )
