"""An incident: both servers reject every request, and no token changes.

During an incident of an identity provider, every request gets the same plain 401, with
or without a valid credential. When the incident ends, all tokens are as valid as before.
"""

import math
from collections.abc import Callable


class Incident:
    """Owns the end time of the incident."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = -math.inf

    @property
    def is_active(self) -> bool:
        """True while the servers reject every request."""
        return self._now() < self._until

    def begin(self, seconds: float | None = None) -> None:
        """Reject every request for `seconds` of real time, or until `end` if None."""
        self._until = math.inf if seconds is None else self._now() + seconds

    def end(self) -> None:
        """Serve again."""
        self._until = -math.inf
