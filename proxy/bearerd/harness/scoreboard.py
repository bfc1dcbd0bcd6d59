"""Who has been answered since when: what tells that all processes hold the new token."""

from __future__ import annotations

import asyncio
from collections import Counter

from bearerd.harness.result import TurnResult


class Scoreboard:
    """Owns the count of responses, and the number of revocations so far.

    A response counts for the revocation that its request was sent after: one that began
    earlier may still be served with the old token.
    """

    def __init__(self, processes: int) -> None:
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self.revocations = 0
        self._caught_up = [-1] * processes
        self._changed = asyncio.Condition()

    async def add(self, process: int, sent_after: int, result: TurnResult) -> None:
        """Count the response to a request sent to *process* after so many revocations."""
        if result.is_good:
            self.answered += 1
            self._caught_up[process] = max(self._caught_up[process], sent_after)
        else:
            self.failures[result.code or f"status {result.status}"] += 1
        async with self._changed:
            self._changed.notify_all()

    async def caught_up(self, timeout_seconds: float) -> bool:
        """Wait until each process has answered since the last revocation.

        False if one of them did not in time, or if any response was a bad one: what has
        gone wrong once goes on so.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(
                    lambda: self._all_caught_up or bool(self.failures)
                )
        except TimeoutError:
            return False
        return self._all_caught_up

    @property
    def _all_caught_up(self) -> bool:
        return min(self._caught_up) >= self.revocations and not self.failures
