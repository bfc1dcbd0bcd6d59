"""The cached credential, and when it is due for a refresh.

The due time is computed once, when the credential is set, so that jitter does not move
it. It is compared with the wall clock at each check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.token import Credential, seconds_claim

SKEW_SECONDS = 60.0
"""A larger difference between two clocks is clock skew and not network delay."""

JITTER_SHARE = 0.1
"""Processes that share a login spread their refreshes over this share of the window."""

WINDOW_SHARE = 0.2
"""The refresh window is at most this share of the token's lifetime."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a credential is due for a refresh, and when it expires.

    Both are epoch seconds, or None if the expiry is unknown.
    """

    refresh_at: float | None = None
    expires_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Return True if the credential should be refreshed."""
        return self.refresh_at is not None and self.refresh_at <= now

    def is_expired(self, now: float) -> bool:
        """Return True if the credential has expired."""
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

    With a window longer than the token's lifetime, each process would refresh as soon as
    it starts. So the window is at most a fifth of the lifetime:

    - of the whole lifetime for the first credential of a process (*is_first*), if the
      token has an `iat`; without one, the window is *window_seconds*;
    - of the remaining lifetime for each later credential.

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
        lifetime = max(0.0, credential.expires_at - issued_at)
        window = min(window, WINDOW_SHARE * lifetime)
    return Schedule(expires_at - window * (1 - JITTER_SHARE * jitter), expires_at)


def clock_skew(credential: Credential, *, now: float, issued_at: float | None) -> float:
    """Return how far the local clock is ahead of the authority's, in seconds.

    *issued_at* is the Date field of the response that contained *credential*. It is used
    only if the token's `iat` is close to it: a proxy may have set the Date, and the
    authority may have issued the token earlier. Otherwise the skew is 0.
    """
    claimed_at = seconds_claim(credential.access_token, "iat")
    if issued_at is None or claimed_at is None:
        return 0.0
    if abs(issued_at - claimed_at) > SKEW_SECONDS:
        return 0.0
    skew = now - issued_at
    return skew if abs(skew) > SKEW_SECONDS else 0.0


class CachedCredential:
    """Owns the cached credential, its generation, its schedule and the clock skew.

    The parts of one source share it. The store loader sets what the store holds, or what
    a refresh found there, and clears it after a sign-out. The refresh runner sets what
    the authority has issued. Every other part only reads it. *jitter* returns a number
    in [0, 1).
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
        """The cached credential, or None."""
        return self._credential

    @property
    def generation(self) -> int:
        """The number of credentials that this process has cached so far."""
        return self._generation

    @property
    def schedule(self) -> Schedule:
        """When the cached credential is due for a refresh and when it expires."""
        return self._schedule

    @property
    def skew_seconds(self) -> float:
        """How far the local clock is ahead of the authority's."""
        return self._skew_seconds

    @property
    def is_expired(self) -> bool:
        """True if the cached credential has expired."""
        return self._schedule.is_expired(self._clock.now())

    @property
    def is_due(self) -> bool:
        """True if the cached credential should be refreshed."""
        return self._schedule.is_due(self._clock.now())

    def set_issued(
        self, credential: Credential, *, issued_at: float | None
    ) -> Credential:
        """Cache a credential that the authority has just issued, and return it.

        *issued_at* is the Date field of the authority's response.
        """
        self._skew_seconds = clock_skew(
            credential, now=self._clock.now(), issued_at=issued_at
        )
        return self.set(credential)

    def set(self, credential: Credential) -> Credential:
        """Cache *credential* as the next generation; return it with that generation."""
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
        """Drop the cached credential: the login was signed out."""
        self._credential, self._schedule = None, NEVER
