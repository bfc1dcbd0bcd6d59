"""The credential that this process holds: which one, since when, and when it is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.schedule import NEVER, due
from bearerd.credential.token import Credential, seconds_claim

SKEW_SECONDS = 60.0
"""A difference between two clocks that is more than delay."""


class CachedCredential:
    """Owns the credential held, its generation, and how far our clock is off.

    Only the source changes it. *jitter* returns a number in [0, 1), for jitter.
    """

    def __init__(
        self, *, window_seconds: float, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        self._window_seconds = window_seconds
        self._clock = clock
        self._jitter = jitter
        self.skew_seconds = 0.0
        self.credential: Credential | None = None
        self.generation = 0
        self.due = NEVER

    @property
    def is_expired(self) -> bool:
        """Say whether the clock has passed what is held."""
        return self.due.is_expired(self._clock.now())

    @property
    def is_due(self) -> bool:
        """Say whether what is held should be refreshed by now."""
        return self.due.is_due(self._clock.now())

    def set(self, credential: Credential, *, is_received: bool) -> Credential:
        """Hold *credential* as the next generation.

        *is_received*: the authority issued it this moment, so its `iat` tells how far
        our clock is off, and a wrong clock does not make every token look expired.
        """
        now = self._clock.now()
        if is_received:
            issued_at = seconds_claim(credential.access_token, "iat")
            skew = now - issued_at if issued_at is not None else 0.0
            self.skew_seconds = skew if abs(skew) > SKEW_SECONDS else 0.0
        self.due = due(
            credential,
            now=now,
            window_seconds=self._window_seconds,
            jitter=self._jitter(),
            is_first=self.generation == 0,
            skew_seconds=self.skew_seconds,
        )
        self.generation += 1
        self.credential = replace(credential, generation=self.generation)
        return self.credential

    def clear(self) -> None:
        """Hold nothing: somebody has signed out."""
        self.credential, self.due = None, NEVER
