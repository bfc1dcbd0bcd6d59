"""The wait for the lock of a store.

After a wait has timed out, later callers try the lock once and do not wait, until one of
them gets it. So a stopped holder delays one request, and not every one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from bearerd.clock import Clock
from bearerd.credential.store.store import Store

STEP_SECONDS = 1.0
"""The interval at which a wait checks for `close`."""


class LockWait:
    """Waits for the lock of one store. Owns whether the last wait timed out.

    *on_lock_acquired* is called with the duration of each wait in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        timeout_seconds: float,
        on_lock_acquired: Callable[[float], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._on_lock_acquired = on_lock_acquired
        self._has_timed_out = False
        self._is_closing = False

    def close(self) -> None:
        """End the waits that stop on close. A holder of the lock is not affected."""
        self._is_closing = True

    @asynccontextmanager
    async def hold(self, *, stops_on_close: bool) -> AsyncIterator[None]:
        """Hold the lock. With *stops_on_close*, `close` ends the wait.

        Raises:
            TimeoutError: another process did not release it in time, or `close` was
                called.
        """
        started_at = self._clock.monotonic()
        timeout_seconds = 0.0 if self._has_timed_out else self._timeout_seconds
        remaining_seconds = timeout_seconds
        async with AsyncExitStack() as stack:
            while True:
                step_seconds = max(0.0, min(STEP_SECONDS, remaining_seconds))
                try:
                    await stack.enter_async_context(self._store.lock(step_seconds))
                    break
                except TimeoutError:
                    waited_seconds = self._clock.monotonic() - started_at
                    remaining_seconds = timeout_seconds - waited_seconds
                    if remaining_seconds <= 0:
                        self._has_timed_out = True
                        raise
                    if self._is_closing and stops_on_close:
                        raise
            self._has_timed_out = False
            self._on_lock_acquired(self._clock.monotonic() - started_at)
            yield
