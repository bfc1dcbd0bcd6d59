"""How often the authority may be called: a token bucket that lies below every trigger.

Whatever goes wrong above it (an upstream that refuses everything, tokens that live
seconds, a client that provokes 401s), the authority sees `burst` calls at once and then
one each interval. Pure: the level is a value, and time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from bearerd.credential.store.state import BucketLevel


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """*burst* calls at once, then one each *interval_seconds*."""

    burst: int
    interval_seconds: float

    def full(self, now: float) -> BucketLevel:
        """Return the level of a bucket that nobody has drawn from."""
        return BucketLevel(float(self.burst), now)

    def refilled(self, level: BucketLevel, now: float) -> BucketLevel:
        """Return the level at *now*. A clock that went back refills nothing."""
        gained = max(0.0, now - level.at) / self.interval_seconds
        return BucketLevel(min(float(self.burst), level.calls + gained), now)

    def acquire(self, level: BucketLevel, now: float) -> tuple[BucketLevel, float]:
        """Take one call; return the new level and the seconds to wait, 0 if granted."""
        current = self.refilled(level, now)
        if current.calls >= 1.0:
            return BucketLevel(current.calls - 1.0, now), 0.0
        return current, (1.0 - current.calls) * self.interval_seconds

    def refund(self, level: BucketLevel) -> BucketLevel:
        """Give one call back: it never reached the authority."""
        return BucketLevel(min(float(self.burst), level.calls + 1.0), level.at)
