"""Holds and bells: how a test stages a race inside the sandbox without sleeping.

A `Hold` is a door that calls stand before while it is closed; a `Bell` lets a test
wait until something is so. Both belong to one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable

PATIENCE_SECONDS = 10.0  # long enough for a busy machine, short enough for a suite


class Bell:
    """Owns the list of those who wait for a claim to become true."""

    def __init__(self) -> None:
        self._listeners: list[asyncio.Event] = []

    def ring(self) -> None:
        """Say that something changed."""
        for listener in self._listeners:
            listener.set()

    async def wait_until(
        self,
        claim: Callable[[], bool],
        *,
        what: str,
        timeout_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Return once `claim()` is true; TimeoutError says what was waited for."""
        changed = asyncio.Event()
        self._listeners.append(changed)
        try:
            async with asyncio.timeout(timeout_seconds):
                while not claim():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {timeout_seconds} s for {what}") from None
        finally:
            self._listeners.remove(changed)


class Hold:
    """Owns a door and the line of calls that stand before it; open to begin with."""

    def __init__(self) -> None:
        self._closed = False
        self._line: deque[asyncio.Future[None]] = deque()
        self._bell = Bell()

    @property
    def waiting(self) -> int:
        """How many stand before the door now."""
        return len(self._line)

    def close(self) -> None:
        """Let nobody through from now on."""
        self._closed = True

    def open(self) -> None:
        """Let all through, those who wait and those who come."""
        self._closed = False
        self.release(len(self._line))

    def release(self, count: int = 1) -> None:
        """Let the first `count` of those who wait through; the door stays as it is."""
        for _ in range(min(count, len(self._line))):
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)

    async def pass_through(self) -> None:
        """Return at once if the door is open, else when it is this caller's turn."""
        if not self._closed:
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._bell.ring()
        try:
            await turn
        finally:
            if turn in self._line:
                self._line.remove(turn)

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once at least `count` stand before the door."""
        await self._bell.wait_until(
            lambda: self.waiting >= count,
            what=f"{count} calls at the hold",
            timeout_seconds=timeout_seconds,
        )
