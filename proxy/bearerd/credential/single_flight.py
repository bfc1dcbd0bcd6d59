"""Single-flight: many callers ask, one call is made, and all of them get its result.

The idea is that of golang.org/x/sync/singleflight, with three differences:

1. A caller that is cancelled stops waiting, and the call goes on: its result may be the
   only copy of the next refresh token.
2. A caller waits as long as it chooses; the call is not limited by that. Time in which
   this process was stopped is no wait: the result may lie in a socket, unread.
3. There is one key, so there is no map.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

LATE_SECONDS: Final = 0.25
"""A timer that is so late was not late by load: the process was stopped meanwhile."""

AFTER_STOP_SECONDS: Final = 5.0
"""How long a caller waits on after that, for a result that only has to be read."""


class SingleFlight(Generic[T]):
    """At most one call at a time. Owns its task; no caller may cancel it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._waiters = 0

    @property
    def waiters(self) -> int:
        """How many callers wait for the call under way."""
        return self._waiters

    @property
    def is_under_way(self) -> bool:
        """True from the start of a call until its end."""
        return self._task is not None

    def start(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Start *call* unless one is under way; its result is not waited for."""
        self._join(call)  # type: ignore[unused-awaitable]

    async def run(
        self,
        call: Callable[[], Coroutine[Any, Any, T]],
        *,
        patience_seconds: float | None = None,
    ) -> T:
        """Return the result of the call under way, starting *call* if there is none.

        All who join before it ends get the same result or the same exception.

        Raises:
            TimeoutError: it has not ended after *patience_seconds*; it goes on.
        """
        task = self._join(call)
        self._waiters += 1
        try:
            # Not `shield`: newer Pythons log the error of a task that its caller left.
            is_over = await _wait(task, patience_seconds)
        finally:
            self._waiters -= 1
        if not is_over:
            raise TimeoutError
        return task.result()

    async def wait_idle(self) -> None:
        """Wait until no call is under way. Its errors go to those who joined it."""
        while self._task is not None:
            await asyncio.wait({self._task})

    def _join(self, call: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the task of the call under way, starting *call* if there is none."""
        task = self._task
        if task is None:
            # An empty context: the call and its log lines belong to no one request.
            task = asyncio.create_task(call(), context=contextvars.Context())
            self._task = task
            task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # retrieved: asyncio complains if every caller has left


async def _wait(task: asyncio.Task[Any], patience_seconds: float | None) -> bool:
    """Return True if *task* ends within the time, not counting a stop of the process."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.wait({task}, timeout=patience_seconds)
    if patience_seconds is not None and not task.done():
        late_seconds = loop.time() - began - patience_seconds
        if late_seconds > LATE_SECONDS:
            await asyncio.wait({task}, timeout=AFTER_STOP_SECONDS)
    return task.done()
