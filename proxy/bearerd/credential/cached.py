"""The credential that this process holds: which one, and when it is due for a refresh.

Due times are computed once, when the credential is set, so that jitter does not move
them; they are compared with the wall clock as it is at each look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.token import Credential, seconds_claim

SKEW_SECONDS = 60.0
"""A larger difference between two clocks is more than delay."""

JITTER_SHARE = 0.1
"""Processes on one login spread their refreshes over this share of the window."""

WINDOW_SHARE = 0.2
"""A window is at most this share of the token's life."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a credential is to be refreshed, and when it ends; epoch seconds or None."""

    refresh_at: float | None = None
    expires_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Return True if the credential should be refreshed."""
        return self.refresh_at is not None and self.refresh_at <= now

    def is_expired(self, now: float) -> bool:
        """Return True if the credential has ended by the clock."""
        return self.expires_at is not None and self.expires_at <= now


NEVER = Schedule()


def schedule(
    credential: Credential,
    *,
    now: float,
    window_seconds: float,
    jitter: float,
    is_first: bool,
    skew_seconds: float = 0.0,
) -> Schedule:
    """Return the schedule of *credential*. *jitter* is in [0, 1).

    A window that is longer than a token's life would mean a refresh at once, and again,
    by each process that starts. So a window is at most a fifth of the life: of what is
    left, for a token that came in while this process ran; of the whole life, for the
    first one of a process. A first token without `iat` gets the whole window.

    *skew_seconds* is how far the local clock is ahead of the authority's.
    """
    if credential.expires_at is None:
        return NEVER
    expires_at = credential.expires_at + skew_seconds
    window = window_seconds
    issued_at = seconds_claim(credential.access_token, "iat")
    if not is_first:
        window = min(window, WINDOW_SHARE * max(0.0, expires_at - now))
    elif issued_at is not None:
        life = max(0.0, credential.expires_at - issued_at)
        window = min(window, WINDOW_SHARE * life)
    return Schedule(expires_at - window * (1 - JITTER_SHARE * jitter), expires_at)


def clock_skew(credential: Credential, *, now: float, issued_at: float | None) -> float:
    """Return how far the local clock is ahead of the authority's, in seconds.

    *issued_at* is the Date field of the response that brought *credential*. It is
    believed only if the token's `iat` agrees: a Date can be a proxy's, and an `iat` that
    of a token which the authority had issued earlier.
    """
    claimed_at = seconds_claim(credential.access_token, "iat")
    if issued_at is None or claimed_at is None:
        return 0.0
    if abs(issued_at - claimed_at) > SKEW_SECONDS:
        return 0.0
    skew = now - issued_at
    return skew if abs(skew) > SKEW_SECONDS else 0.0


class CachedCredential:
    """Owns the credential held, its generation, and how far the local clock is off.

    Only the source changes it. *jitter* returns a number in [0, 1).
    """

    def __init__(
        self, *, window_seconds: float, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        self._window_seconds = window_seconds
        self._clock = clock
        self._jitter = jitter
        self._skew_seconds = 0.0
        self._credential: Credential | None = None
        self._generation = 0
        self._schedule = NEVER

    @property
    def credential(self) -> Credential | None:
        """The credential held, or None."""
        return self._credential

    @property
    def generation(self) -> int:
        """How many credentials this process has held."""
        return self._generation

    @property
    def schedule(self) -> Schedule:
        """When the credential held is due and when it ends."""
        return self._schedule

    @property
    def skew_seconds(self) -> float:
        """How far the local clock is ahead of the authority's."""
        return self._skew_seconds

    @property
    def is_expired(self) -> bool:
        """True if the clock has passed the end of what is held."""
        return self._schedule.is_expired(self._clock.now())

    @property
    def is_due(self) -> bool:
        """True if what is held should be refreshed by now."""
        return self._schedule.is_due(self._clock.now())

    def set_received(
        self, credential: Credential, *, issued_at: float | None
    ) -> Credential:
        """Hold what the authority has just issued; *issued_at* is its Date."""
        self._skew_seconds = clock_skew(
            credential, now=self._clock.now(), issued_at=issued_at
        )
        return self.set(credential)

    def set(self, credential: Credential) -> Credential:
        """Hold *credential* as the next generation, and return it as such."""
        self._schedule = schedule(
            credential,
            now=self._clock.now(),
            window_seconds=self._window_seconds,
            jitter=self._jitter(),
            is_first=self._generation == 0,
            skew_seconds=self._skew_seconds,
        )
        self._generation += 1
        self._credential = replace(credential, generation=self._generation)
        return self._credential

    def clear(self) -> None:
        """Hold nothing: the login was signed out."""
        self._credential, self._schedule = None, NEVER
