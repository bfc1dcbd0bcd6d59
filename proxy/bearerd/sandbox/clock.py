"""The clock of a server, which need not agree with anybody else's."""

from collections.abc import Callable
from email.utils import formatdate


class ServerClock:
    """Owns the difference between a server's clock and real time.

    Called, it returns the server's time in epoch seconds. It runs as fast as real time.
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
        """Set the clock to `at`, in epoch seconds. It runs on from there."""
        self._skew_seconds = at - self._now()

    def jump(self, seconds: float) -> None:
        """Move the clock by `seconds`, forward or back, from where it is."""
        self._skew_seconds += seconds

    def skew(self, seconds: float) -> None:
        """Set the clock `seconds` ahead of real time, whatever it was before."""
        self._skew_seconds = seconds

    def http_date(self, *, later_seconds: float = 0) -> str:
        """Return the time, or a later one, as HTTP has it (RFC 9110 section 5.6.7)."""
        return formatdate(self() + later_seconds, usegmt=True)
