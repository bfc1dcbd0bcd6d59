"""A clock that moves when a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bearerd.clock import Clock
from bearerd.sandbox.gate import Notifier

MONOTONIC_START = 1_000.0
"""Far from any wall clock, so that a test notices where the two are confused."""


class ManualClock:
    """Owns the time, and the tasks that sleep by it.

    Wall clock and monotonic clock move together unless `advance` is given another amount
    for the wall. Hand `now` to the sandbox too, so that tokens are issued and judged by
    the same time.

    There are three kinds of sleep. `clock` sleeps until a test has moved the time far
    enough; `skipping` moves the time itself, and goes on at once; `ticking` sleeps as
    `clock` does, except for less than a second, which takes no time.
    """

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self._wall = at
        self._monotonic = MONOTONIC_START
        self.clock = self.with_sleep(self.sleep)
        self.skipping = self.with_sleep(self.skip)
        self.ticking = self.with_sleep(self.sleep_whole_seconds)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._notifier = Notifier()

    @property
    def seconds(self) -> float:
        """The wall clock. Setting it moves both clocks, and wakes nothing."""
        return self._wall

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._monotonic += value - self._wall
        self._wall = value

    def now(self) -> float:
        """Return the wall clock, in epoch seconds."""
        return self._wall

    def monotonic(self) -> float:
        """Return the monotonic clock, in seconds."""
        return self._monotonic

    def with_sleep(self, sleep: Callable[[float], Awaitable[None]]) -> Clock:
        """Return a clock that shows this time and sleeps by *sleep*."""
        return Clock(now=self.now, monotonic=self.monotonic, sleep=sleep)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        entry = (self._monotonic + seconds, woken)
        self._sleepers.append(entry)
        self._notifier.notify()
        try:
            await woken
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    async def skip(self, seconds: float) -> None:
        """Sleep by moving the clock."""
        self.advance(seconds)
        await asyncio.sleep(0)

    async def sleep_whole_seconds(self, seconds: float) -> None:
        """Return once the clock has been moved that far; at once for a short sleep."""
        await self.sleep(seconds if seconds >= 1 else 0)

    def advance(self, seconds: float, *, wall_seconds: float | None = None) -> None:
        """Let *seconds* pass, on the wall *wall_seconds*; wake what is due."""
        self._monotonic += seconds
        self._wall += seconds if wall_seconds is None else wall_seconds
        for entry in list(self._sleepers):
            if entry[0] <= self._monotonic and not entry[1].done():
                self._sleepers.remove(entry)
                entry[1].set_result(None)

    @property
    def sleepers(self) -> int:
        """How many tasks sleep now."""
        return len(self._sleepers)

    async def wait_for_sleepers(self, count: int) -> None:
        """Return once at least *count* tasks sleep: they have done what woke them."""
        await self._notifier.wait_for(
            lambda: len(self._sleepers) >= count, description=f"{count} sleepers"
        )
