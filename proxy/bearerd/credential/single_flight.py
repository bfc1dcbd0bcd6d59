"""Single-flight: many callers ask, one call is made, and all of them get its response.

The idea is golang.org/x/sync/singleflight's, with two differences: a caller that is
cancelled stops waiting and the call flies on, since its response may be the only copy of
the next refresh token; and there is one key, so there is no map.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """At most one call in the air. Owns the task; nobody else may cancel it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self.waiters = 0

    @property
    def is_in_the_air(self) -> bool:
        """Say whether a call is under way."""
        return self._task is not None

    def start(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Start *call* unless one is in the air; nobody waits for it."""
        if self._task is None:
            # An empty context: the call and its log lines belong to no one request.
            self._task = asyncio.create_task(call(), context=contextvars.Context())
            self._task.add_done_callback(self._on_done)

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the response of the call in the air, starting *call* if there is none.

        All who join before it lands get the same response or the same exception. A
        cancelled caller leaves alone.
        """
        self.start(call)
        task = self._task
        assert task is not None  # noqa: S101 - just launched
        self.waiters += 1
        try:
            # Not `shield`: newer Pythons log the error of one that its caller has left.
            await asyncio.wait({task})
        finally:
            self.waiters -= 1
        return task.result()

    async def wait_idle(self) -> None:
        """Wait until nothing is in the air. Errors went to those who joined."""
        while self._task is not None:
            await asyncio.wait({self._task})

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # seen: asyncio complains if every caller has left
