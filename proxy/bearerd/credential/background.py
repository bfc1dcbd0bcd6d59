"""The loops that keep a credential fresh without a request.

One refreshes before expiry, the other notices a store that changed. Both only call the
source, which announces what they find. Both run each second, so that expiry is judged by
the wall clock as it is then: after a suspend, or a change of the time, a timer that was
computed earlier would be wrong.

A round that fails, whatever the reason, is logged, and the loop goes on: the relay must
not end because a disk did.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bearerd.clock import Clock
from bearerd.credential.source import CredentialSource
from bearerd.events import ClockJumped, Observer

LOG = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""A changed store is noticed within two of these, for the price of two `stat` calls."""

RETRY_SAVE_TICKS = 5
"""How many ticks lie between two tries to save what lives in memory only."""

JUMP_SECONDS = 5.0
"""How far the two clocks may drift apart within a tick before that is announced."""


class BackgroundRefresh:
    """Looks after one source until cancelled."""

    def __init__(
        self, source: CredentialSource, *, clock: Clock, observe: Observer
    ) -> None:
        self._source = source
        self._clock = clock
        self._observe = observe
        self._last_fault = ""

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
                await self._guarded(self._source.retry_save)
            ticks += 1
            await self._clock.sleep(TICK_SECONDS)

    async def _watch_store(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while True:
            await self._guarded(self._source.reload_if_changed)
            await self._clock.sleep(TICK_SECONDS)
            before = now - monotonic
            now, monotonic = self._clock.now(), self._clock.monotonic()
            jumped = now - monotonic - before
            if abs(jumped) > JUMP_SECONDS:
                self._observe(ClockJumped(jumped))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*; log what it raises, the same fault once."""
        try:
            await work()
        except Exception as error:
            fault = repr(error)
            if fault != self._last_fault:
                LOG.exception("a round of the background refresh failed; it goes on")
            self._last_fault = fault
