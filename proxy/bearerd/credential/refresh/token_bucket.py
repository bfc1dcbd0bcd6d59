"""How often the authority may be called: a token bucket below every trigger.

Whatever goes wrong above it (an upstream that rejects every token, tokens that live for
seconds, a client that provokes 401s), the authority gets `burst` calls at once and then
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
        """Return the level of an untouched bucket."""
        return BucketLevel(float(self.burst), now)

    def refilled(self, level: BucketLevel, now: float) -> BucketLevel:
        """Return the level at *now*.

        A clock that went back gains nothing, and the level is dated anew: otherwise the
        bucket would stay dry until the clock has passed the old time again.
        """
        gained = max(0.0, now - level.at) / self.interval_seconds
        return BucketLevel(min(float(self.burst), level.calls + gained), now)

    def acquire(self, level: BucketLevel, now: float) -> tuple[BucketLevel, float]:
        """Take one call; return the new level and the seconds to wait, 0 if granted."""
        current = self.refilled(level, now)
        if current.calls >= 1.0:
            return BucketLevel(current.calls - 1.0, now), 0.0
        return current, (1.0 - current.calls) * self.interval_seconds

    def refund(self, level: BucketLevel) -> BucketLevel:
        """Return one call that never reached the authority."""
        return BucketLevel(min(float(self.burst), level.calls + 1.0), level.at)
