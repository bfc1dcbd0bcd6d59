"""The clock of a server, which can differ from all other clocks."""

from collections.abc import Callable
from email.utils import formatdate


class ServerClock:
    """Owns the difference between the clock of a server and real time.

    A call returns the time of the server in epoch seconds. The clock runs at the speed of
    real time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._skew_seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self._now() + self._skew_seconds

    @property
    def skew_seconds(self) -> float:
        """How far the server is ahead of real time; negative if it is behind."""
        return self._skew_seconds

    def set(self, at: float) -> None:
        """Set the clock to `at`, in epoch seconds. It keeps running."""
        self._skew_seconds = at - self._now()

    def jump(self, seconds: float) -> None:
        """Move the clock by `seconds`, forward or, if negative, back."""
        self._skew_seconds += seconds

    def skew(self, seconds: float) -> None:
        """Set the clock `seconds` ahead of real time."""
        self._skew_seconds = seconds

    def http_date(self, *, later_seconds: float = 0) -> str:
        """Return the time, or a later one, as an HTTP-date (RFC 9110 section 5.6.7)."""
        return formatdate(self() + later_seconds, usegmt=True)
