"""The results of a run: of one request, of all requests, and of each daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The result of one request of an agent. `status` is 0 if there was no response.

    `code` is bearerd's error code, or why the response is incomplete; empty if it is not.
    """

    status: int
    code: str = ""

    @property
    def is_success(self) -> bool:
        """Return True for a 200 whose stream is complete."""
        return self.status == HTTPStatus.OK and not self.code


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The counts of one run. `sign_ins` are the agents that were signed out at its end."""

    answered: int
    failed: int
    refreshes: int
    reused: int
    sign_ins: int

    def is_flawless(self, *, requests: int, refreshes: int) -> bool:
        """Return True if every request succeeded with exactly this many refreshes."""
        return self == RunCounts(requests, 0, refreshes, 0, 0)


class RecoveryTracker:
    """Counts responses, and knows which daemons have recovered from the last revocation.

    A response counts for the revocation that its request was sent after. A request that
    was sent earlier may still be served with the revoked token, so it proves nothing.

    Owns these counts: `record`, `record_revocation` and nothing else change them.
    """

    def __init__(self, daemons: int) -> None:
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self.revocations = 0
        self._recovered_from = [-1] * daemons
        self._changed = asyncio.Condition()

    def record_revocation(self) -> None:
        """Count a revocation: all daemons have to recover again."""
        self.revocations += 1

    async def record(self, daemon: int, sent_after: int, result: TurnResult) -> None:
        """Count the response of *daemon* to a request sent *sent_after* revocations."""
        if result.is_success:
            self.answered += 1
            latest = max(self._recovered_from[daemon], sent_after)
            self._recovered_from[daemon] = latest
        else:
            self.failures[result.code or f"status {result.status}"] += 1
        async with self._changed:
            self._changed.notify_all()

    async def wait_until_recovered(self, timeout_seconds: float) -> bool:
        """Wait for a response of each daemon to a request sent after the last revocation.

        Return False if the time is over, or at once after any failure: a run with a
        failure is lost already.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(
                    lambda: self._is_recovered or bool(self.failures)
                )
        except TimeoutError:
            return False
        return self._is_recovered

    @property
    def _is_recovered(self) -> bool:
        return min(self._recovered_from) >= self.revocations and not self.failures
