"""Gates and notifiers: a test stages a race inside the sandbox without sleeping.

A `Gate` holds calls back while it is closed. A `Notifier` lets a test wait until a
condition is true. Both belong to one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable

PATIENCE_SECONDS = 10.0  # long enough for a busy machine, short enough for a suite


class Notifier:
    """Owns the list of tasks that wait for a condition.

    As `asyncio.Condition`, without the lock: everything here runs in one event loop.
    """

    def __init__(self) -> None:
        self._waiters: list[asyncio.Event] = []

    def notify(self) -> None:
        """Let every waiter check its condition again."""
        for waiter in self._waiters:
            waiter.set()

    async def wait_for(
        self,
        predicate: Callable[[], bool],
        *,
        description: str,
        timeout_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Return once `predicate()` is true.

        Raises:
            TimeoutError: it stayed false; the message contains `description`.
        """
        changed = asyncio.Event()
        self._waiters.append(changed)
        try:
            async with asyncio.timeout(timeout_seconds):
                while not predicate():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"waited {timeout_seconds} s for {description}"
            ) from None
        finally:
            self._waiters.remove(changed)


class Gate:
    """Owns the queue of calls that wait at it. A new gate is open."""

    def __init__(self) -> None:
        self._is_closed = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._notifier = Notifier()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<Gate {state}, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """The number of calls that wait now."""
        return len(self._queue)

    def close(self) -> None:
        """Gate back every call from now on."""
        self._is_closed = True

    def open(self) -> None:
        """Let all calls pass, the waiting ones and later ones."""
        self._is_closed = False
        self.release(len(self._queue))

    def release(self, count: int = 1, *, newest_first: bool = False) -> None:
        """Let `count` of the waiting calls pass; the gate stays as it is.

        They pass in the order in which they came, or in the reverse order.
        """
        for _ in range(min(count, len(self._queue))):
            passage = self._queue.pop() if newest_first else self._queue.popleft()
            if not passage.done():
                passage.set_result(None)

    async def pass_through(self) -> None:
        """Return at once if the gate is open, otherwise when it lets this call pass."""
        if not self._is_closed:
            return
        passage = asyncio.get_running_loop().create_future()
        self._queue.append(passage)
        self._notifier.notify()
        try:
            await passage
        finally:
            if passage in self._queue:
                self._queue.remove(passage)

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once at least `count` calls wait."""
        await self._notifier.wait_for(
            lambda: self.waiting >= count,
            description=f"{count} calls at the gate",
            timeout_seconds=timeout_seconds,
        )
