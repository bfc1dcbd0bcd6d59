"""The pause between a failed call to the authority and the next one. Pure.

There are two paces. In both, the pause doubles with each failure and has jitter:

- fast, from 1 s to a minute: the authority is unreachable or fails;
- slow, from a minute to an hour: only a change elsewhere can help. These are a 401 or
  403 that is not about the token, a proxy's page, and a rejected client.

Retry-After is honoured up to an hour, as MSAL does.

A pause belongs to one refresh token, so a new login never waits for an old failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_SECONDS: Final = 3600.0
JITTER_SHARE: Final = 0.25

MAYBE_SPENT_SECONDS: Final = 5.0
"""The shortest pause after a lost response: the authority may still process the call."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses that start at *first_seconds* and double up to *longest_seconds*."""

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
    """Return the pause after *failures* failures in a row.

    *jitter* is in [0, 1) and shortens the pause by up to a quarter. Retry-After and
    *least_seconds* are lower bounds.
    """
    doubled: float = pace.first_seconds * 2.0 ** min(failures - 1, 12)
    pause = min(pace.longest_seconds, doubled) * (1 - JITTER_SHARE * jitter)
    requested = min(LONGEST_SECONDS, retry_after_seconds or 0.0)
    return max(pause, requested, least_seconds)
