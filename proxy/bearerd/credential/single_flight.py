"""Single flight: concurrent callers share one call and its result.

After golang.org/x/sync/singleflight, with three differences:

1. A cancelled caller stops waiting and the call continues: its result may be the only
   copy of the next refresh token.
2. Each caller has its own timeout, which does not limit the call. If the process was
   stopped, the timeout is extended: the result may be in a socket and not read yet.
3. There is one key, so there is no map.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

LATE_SECONDS: Final = 0.25
"""A timer that is later than this means that the process was stopped, and not load."""

AFTER_STOP_SECONDS: Final = 5.0
"""The extension of a caller's timeout after a stop, to read a result that has arrived."""


class SingleFlight(Generic[T]):
    """At most one call at a time. Owns the task of the call; no caller can cancel it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._waiters = 0

    @property
    def waiters(self) -> int:
        """The number of callers that wait for the call in progress."""
        return self._waiters

    @property
    def is_in_progress(self) -> bool:
        """True from the start of a call until its end."""
        return self._task is not None

    def start(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Start *call* unless one is in progress; do not wait for its result."""
        self._join(call)  # type: ignore[unused-awaitable]

    async def run(
        self,
        call: Callable[[], Coroutine[Any, Any, T]],
        *,
        timeout_seconds: float | None = None,
    ) -> T:
        """Return the result of the call in progress; start *call* if there is none.

        All callers of one call get the same result or the same exception.

        Raises:
            TimeoutError: the call did not end within *timeout_seconds*; it continues.
        """
        task = self._join(call)
        self._waiters += 1
        try:
            # Not `shield`: newer Pythons log the exception of a shielded task whose
            # caller was cancelled.
            has_ended = await _wait(task, timeout_seconds)
        finally:
            self._waiters -= 1
        if not has_ended:
            raise TimeoutError
        return task.result()

    async def wait_idle(self) -> None:
        """Wait until no call is in progress. Never raises the exception of a call."""
        while self._task is not None:
            await asyncio.wait({self._task})

    def _join(self, call: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the task of the call in progress; start *call* if there is none."""
        task = self._task
        if task is None:
            # An empty context: the call's log lines must not carry one request's id.
            task = asyncio.create_task(call(), context=contextvars.Context())
            self._task = task
            task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            # Retrieved here: asyncio logs an exception that no caller has retrieved.
            task.exception()


async def _wait(task: asyncio.Task[Any], timeout_seconds: float | None) -> bool:
    """Return True if *task* ends within the timeout, which a stop extends."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    await asyncio.wait({task}, timeout=timeout_seconds)
    if timeout_seconds is not None and not task.done():
        late_seconds = loop.time() - started_at - timeout_seconds
        if late_seconds > LATE_SECONDS:
            await asyncio.wait({task}, timeout=AFTER_STOP_SECONDS)
    return task.done()
