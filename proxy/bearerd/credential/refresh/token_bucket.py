"""The rate limit for calls to the authority: a token bucket for all triggers.

The authority gets at most `burst` calls at once and then one in each interval, even if
the upstream rejects every token, if tokens live for seconds only, or if a client causes
401s on purpose. Pure: the level is a value, and the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from bearerd.credential.store.state import BucketLevel


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """*burst* calls at once, then one in each *interval_seconds*."""

    burst: int
    interval_seconds: float

    def full(self, now: float) -> BucketLevel:
        """Return the level of a full bucket."""
        return BucketLevel(float(self.burst), now)

    def refilled(self, level: BucketLevel, now: float) -> BucketLevel:
        """Return the level at *now*.

        If the clock was set back, no calls are added, and the level gets the new time.
        With the old time, the bucket would stay empty until the clock reaches it again.
        """
        added = max(0.0, now - level.at) / self.interval_seconds
        return BucketLevel(min(float(self.burst), level.calls + added), now)

    def acquire(self, level: BucketLevel, now: float) -> tuple[BucketLevel, float]:
        """Take one call from *level*.

        Return the new level, and the seconds until a call is available: 0 if one was
        taken.
        """
        current = self.refilled(level, now)
        if current.calls >= 1.0:
            return BucketLevel(current.calls - 1.0, now), 0.0
        return current, (1.0 - current.calls) * self.interval_seconds

    def refund(self, level: BucketLevel) -> BucketLevel:
        """Return *level* with one call more, for a call that was not delivered."""
        return BucketLevel(min(float(self.burst), level.calls + 1.0), level.at)
