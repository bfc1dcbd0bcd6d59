"""How long the authority is left alone after a failure. Pure.

Two paces, both doubling with jitter:

- fast, 1 s to a minute, for an authority that was not reached or is in trouble;
- slow, a minute to an hour, for an answer that only a change elsewhere can improve: a
  401 or 403 that is not about the token, a proxy's page, a rejected client.

Retry-After is honoured up to an hour, as MSAL does.

A pause belongs to one refresh token: a new login never waits for an old failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_SECONDS: Final = 3600.0
JITTER_SHARE: Final = 0.25

MAYBE_SPENT_SECONDS: Final = 5.0
"""The least pause after a response was lost: the first call may still be at work."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses that begin at *first_seconds* and double up to *longest_seconds*."""

    first_seconds: float
    longest_seconds: float


FAST: Final = Pace(1.0, 60.0)
SLOW: Final = Pace(60.0, LONGEST_SECONDS)


def pause_seconds(
    pace: Pace,
    failures: int,
    *,
    jitter: float,
    least_seconds: float = 0.0,
    retry_after_seconds: float | None = None,
) -> float:
    """Return the pause after the *failures*-th failure in a row, counted from 1.

    *jitter* is in [0, 1) and shortens the pause by up to a quarter. Retry-After and
    *least_seconds* are lower bounds.
    """
    doubled: float = pace.first_seconds * 2.0 ** min(failures - 1, 12)
    pause = min(pace.longest_seconds, doubled) * (1 - JITTER_SHARE * jitter)
    asked = min(LONGEST_SECONDS, retry_after_seconds or 0.0)
    return max(pause, asked, least_seconds)
