"""When a credential is due for a refresh. Pure; picked once, when it is taken up."""

from __future__ import annotations

from dataclasses import dataclass

from bearerd.credential.token import Credential, seconds_claim

JITTER_SHARE = 0.1
"""Owners of one login spread over this share of the window, later than its start."""

WINDOW_SHARE = 0.2
"""A token that came in while we watch is renewed in its last fifth at the earliest."""


@dataclass(frozen=True, slots=True)
class Due:
    """Epoch seconds. `at` is when to refresh, `expires_at` when it can wait no more."""

    at: float | None
    expires_at: float | None

    def is_due(self, now: float) -> bool:
        """Say whether the refresh should run now."""
        return self.at is not None and self.at <= now

    def is_expired(self, now: float) -> bool:
        """Say whether the token has ended by the clock."""
        return self.expires_at is not None and self.expires_at <= now


NEVER = Due(None, None)


def due(
    credential: Credential,
    *,
    now: float,
    window_seconds: float,
    jitter: float,
    is_first: bool,
    skew_seconds: float = 0.0,
) -> Due:
    """Return when *credential* is due. *jitter* is in [0, 1).

    A window longer than a token's life would mean a refresh at once, and again, by each
    process that starts: none gets more than a fifth of its life. That is what is left of
    one that came in while we watch; the first of a process may be near its end, and
    gets the whole window where it does not say when it was issued.

    *skew_seconds* is how far the local clock runs ahead of the authority's.
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
    return Due(expires_at - window * (1 - JITTER_SHARE * jitter), expires_at)
