"""Gates and notifiers, with which a test stages a race in the sandbox without sleeping.

A `Gate` holds calls while it is closed. A `Notifier` lets a test wait until a condition
is true. Both belong to one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable

WAIT_TIMEOUT_SECONDS = 10.0  # long enough for a busy machine, short enough for a suite


class Notifier:
    """Owns the list of tasks that wait for a condition.

    Like `asyncio.Condition`, without a lock: everything here runs in one event loop.
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
        timeout_seconds: float = WAIT_TIMEOUT_SECONDS,
    ) -> None:
        """Wait until `predicate()` is true.

        Raises:
            TimeoutError: it is still false; the message contains `description`.
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
    """Owns the queue of waiting calls. A new gate is open."""

    def __init__(self) -> None:
        self._is_closed = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._notifier = Notifier()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<Gate {state}, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """The number of waiting calls."""
        return len(self._queue)

    def close(self) -> None:
        """Hold every call from now on."""
        self._is_closed = True

    def open(self) -> None:
        """Let the waiting calls and all later ones pass."""
        self._is_closed = False
        self.release(len(self._queue))

    def release(self, count: int = 1, *, newest_first: bool = False) -> None:
        """Let `count` of the waiting calls pass, without opening the gate.

        They pass in the order of their arrival, or in the reverse order.
        """
        for _ in range(min(count, len(self._queue))):
            waiter = self._queue.pop() if newest_first else self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def pass_through(self) -> None:
        """Return at once if the gate is open; otherwise wait until it releases the call."""
        if not self._is_closed:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        self._notifier.notify()
        try:
            await waiter
        finally:
            if waiter in self._queue:
                self._queue.remove(waiter)

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until at least `count` calls wait at the gate."""
        await self._notifier.wait_for(
            lambda: self.waiting >= count,
            description=f"{count} calls at the gate",
            timeout_seconds=timeout_seconds,
        )
