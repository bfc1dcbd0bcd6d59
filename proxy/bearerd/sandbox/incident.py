"""An incident: both servers reject everything, and no token is touched.

When an identity provider is in trouble, every request gets the same plain 401, with a
good credential or without. It ends by itself, and every token is as good as before.
"""

import math
from collections.abc import Callable


class Incident:
    """Owns the time until which the incident lasts."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = -math.inf

    @property
    def is_active(self) -> bool:
        """True while the servers reject everything."""
        return self._now() < self._until

    def begin(self, seconds: float | None = None) -> None:
        """Reject everything for `seconds` of real time, or until `end` if None."""
        self._until = math.inf if seconds is None else self._now() + seconds

    def end(self) -> None:
        """Serve again."""
        self._until = -math.inf
