"""The loops that keep a credential fresh without a request.

One loop refreshes before expiry, the other detects changes of the store. Both only call
the source, which emits the events. Both run each second and compare expiry with the wall
clock at that moment: after a suspend, or a change of the time, a timer that was computed
earlier would be wrong.

An exception in one iteration is logged and the loop continues: a failing disk must not
stop the relay.
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
"""A changed store is detected within two ticks. A tick costs two `stat` calls."""

RETRY_SAVE_TICKS = 5
"""The number of ticks between two attempts to save an unsaved credential."""

JUMP_SECONDS = 5.0
"""How far the wall clock and the monotonic clock may differ within a tick before
`ClockJumped` is emitted."""


class BackgroundRefresh:
    """Runs the loops of one source until it is cancelled."""

    def __init__(
        self, source: CredentialSource, *, clock: Clock, observe: Observer
    ) -> None:
        self._source = source
        self._clock = clock
        self._observe = observe

    async def run(self) -> None:
        """Run both loops until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_fresh())
            tasks.create_task(self._watch_store())

    async def _keep_fresh(self) -> None:
        refresh, save = (
            PeriodicTask(self._refresh_if_due),
            PeriodicTask(self._source.retry_save),
        )
        ticks = 0
        while True:
            await refresh.run()
            if ticks % RETRY_SAVE_TICKS == 0:
                await save.run()
            ticks += 1
            await self._clock.sleep(TICK_SECONDS)

    async def _watch_store(self) -> None:
        reload = PeriodicTask(self._source.reload_if_changed)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        while True:
            await reload.run()
            await self._clock.sleep(TICK_SECONDS)
            previous_offset = now - monotonic
            now, monotonic = self._clock.now(), self._clock.monotonic()
            jump_seconds = now - monotonic - previous_offset
            if abs(jump_seconds) > JUMP_SECONDS:
                self._observe(ClockJumped(jump_seconds))

    async def _refresh_if_due(self) -> None:
        self._source.assess()  # a token expires, and a condition lasts, by time alone
        self._source.refresh_if_due()


class PeriodicTask:
    """A call that is repeated. Owns the error of the last run.

    Equal errors in a row are logged once.
    """

    def __init__(self, call: Callable[[], Awaitable[None]]) -> None:
        self._call = call
        self._last_error: str | None = None

    async def run(self) -> None:
        """Run the call once; log an exception instead of raising it."""
        try:
            await self._call()
        except Exception as error:
            error_text = repr(error)
            if error_text != self._last_error:
                LOG.exception(
                    "a background task failed; it runs again in the next tick"
                )
            self._last_error = error_text
        else:
            self._last_error = None
