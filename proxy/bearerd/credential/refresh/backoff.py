"""How long to leave the authority alone after it could not help.

Doubling, with jitter, up to a minute; or what its Retry-After asks for. It belongs to
one refresh token: a new login is never made to wait for an old failure.
"""

from __future__ import annotations

from collections.abc import Callable

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""MSAL caps the server's wish at an hour as well."""


class Backoff:
    """Remembers the last failure and until when it is the response to everybody.

    *jitter* returns a number in [0, 1), called once per failure.
    """

    def __init__(self, *, clock: Clock, jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._fingerprint = ""
        self._until = 0.0
        self._failure: AuthorityFailure | None = None

    def check(self, fingerprint: str) -> None:
        """Raise the last failure again while it still counts for *fingerprint*."""
        if fingerprint != self._fingerprint:
            self.reset()
        remaining = self._until - self._clock.monotonic()
        if self._failure is not None and remaining > 0:
            raise AuthorityFailure(
                self._failure.outcome,
                self._failure.reason,
                retry_after_seconds=remaining,
            )

    def record_failure(
        self, fingerprint: str, failure: AuthorityFailure
    ) -> AuthorityFailure:
        """Note *failure*; return it with the seconds that it now asks to wait."""
        doubled: float = FIRST_SECONDS * 2.0 ** min(self._failures, 10)
        seconds = min(LONGEST_SECONDS, doubled) * (0.75 + 0.25 * self._jitter())
        if failure.retry_after_seconds is not None:
            asked = min(LONGEST_RETRY_AFTER_SECONDS, failure.retry_after_seconds)
            seconds = max(seconds, asked)
        self._failures += 1
        self._fingerprint = fingerprint
        self._until = self._clock.monotonic() + seconds
        self._failure = AuthorityFailure(
            failure.outcome, failure.reason, retry_after_seconds=seconds
        )
        return self._failure

    def reset(self) -> None:
        """Forget: the authority has answered, or the credential is another."""
        self._failures = 0
        self._until = 0.0
        self._failure = None
