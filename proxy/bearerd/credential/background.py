"""The loops that keep a credential fresh while nobody asks.

One refreshes before expiry, the other notices a store that changed. Both only call the
source; what they find is announced there. Both wake each second, so that expiry is
judged by the wall clock as it is now: after a suspend, or after somebody set the time,
a timer that had been computed before would be wrong.
"""

from __future__ import annotations

import asyncio

from bearerd.clock import Clock
from bearerd.credential.source import CredentialSource
from bearerd.events import ClockJumped, Observer

TICK_SECONDS = 1.0
"""A changed store is noticed within two of these, at the price of two `stat` calls."""

RETRY_SAVE_TICKS = 5
"""How many ticks lie between two tries to save what lives in memory only."""

JUMP_SECONDS = 5.0


class BackgroundRefresh:
    """Looks after one source until cancelled. Owns nothing but its two loops."""

    def __init__(
        self, source: CredentialSource, *, clock: Clock, observe: Observer
    ) -> None:
        self._source = source
        self._clock = clock
        self._observe = observe

    async def run(self) -> None:
        """Run both loops; return only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_fresh())
            tasks.create_task(self._watch_store())

    async def _keep_fresh(self) -> None:
        ticks = 0
        while True:
            self._source.refresh_if_due()
            if ticks % RETRY_SAVE_TICKS == 0:
                await self._source.retry_save()
            ticks += 1
            await self._clock.sleep(TICK_SECONDS)

    async def _watch_store(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while True:
            await self._source.reload_if_changed()
            await self._clock.sleep(TICK_SECONDS)
            before = now - monotonic
            now, monotonic = self._clock.now(), self._clock.monotonic()
            jumped = now - monotonic - before
            if abs(jumped) > JUMP_SECONDS:
                self._observe(ClockJumped(jumped))
