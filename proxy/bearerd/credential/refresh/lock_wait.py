"""How long the lock of a store is waited for, and by whom.

The first wait in vain is a long one. Until the lock was free once, later callers do not
wait at all: a stopped holder costs one wait, not one for each request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from bearerd.clock import Clock
from bearerd.credential.store.store import Store

STEP_SECONDS = 1.0
"""How soon a wait notices `close`."""


class LockWait:
    """Waits for the lock of one store. Owns whether the last wait was in vain.

    *waited* is called with the seconds that each wait took.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        timeout_seconds: float,
        waited: Callable[[float], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._waited = waited
        self._is_blocked = False
        self._is_closing = False

    def close(self) -> None:
        """End the waits that give up on close. Who holds the lock goes on."""
        self._is_closing = True

    @asynccontextmanager
    async def hold(self, *, gives_up_on_close: bool) -> AsyncIterator[None]:
        """Hold the lock. *gives_up_on_close* ends the wait when `close` is called.

        Raises:
            TimeoutError: another holder did not release it in time.
        """
        began = self._clock.monotonic()
        limit = 0.0 if self._is_blocked else self._timeout_seconds
        remaining = limit
        async with AsyncExitStack() as stack:
            while True:
                step = max(0.0, min(STEP_SECONDS, remaining))
                try:
                    await stack.enter_async_context(self._store.lock(step))
                    break
                except TimeoutError:
                    remaining = limit - (self._clock.monotonic() - began)
                    if remaining <= 0:
                        self._is_blocked = True
                        raise
                    if self._is_closing and gives_up_on_close:
                        raise
            self._is_blocked = False
            self._waited(self._clock.monotonic() - began)
            yield
