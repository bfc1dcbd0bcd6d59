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

    async def run(self) -> None:
        """Run both loops; return only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_fresh())
            tasks.create_task(self._watch_store())

    async def _keep_fresh(self) -> None:
        refresh, save = Round(self._refresh_if_due), Round(self._source.retry_save)
        ticks = 0
        while True:
            await refresh.run()
            if ticks % RETRY_SAVE_TICKS == 0:
                await save.run()
            ticks += 1
            await self._clock.sleep(TICK_SECONDS)

    async def _watch_store(self) -> None:
        look = Round(self._source.reload_if_changed)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while True:
            await look.run()
            await self._clock.sleep(TICK_SECONDS)
            before = now - monotonic
            now, monotonic = self._clock.now(), self._clock.monotonic()
            jumped = now - monotonic - before
            if abs(jumped) > JUMP_SECONDS:
                self._observe(ClockJumped(jumped))

    async def _refresh_if_due(self) -> None:
        self._source.refresh_if_due()


class Round:
    """One kind of work that is done again and again. Owns how it failed last."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._last_fault: str | None = None

    async def run(self) -> None:
        """Do the work; log what it raises, the same fault once until it went well."""
        try:
            await self._work()
        except Exception as error:
            fault = repr(error)
            if fault != self._last_fault:
                LOG.exception("a round of the background refresh failed; it goes on")
            self._last_fault = fault
        else:
            self._last_fault = None
