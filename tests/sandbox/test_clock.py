"""The clock of a server."""

from bearerd.sandbox.clock import ServerClock


def test_a_clock_starts_at_real_time_and_runs_with_it() -> None:
    """It is set, moved and skewed against real time."""
    real = [1000.0]
    clock = ServerClock(lambda: real[0])
    assert (clock(), clock.skew_seconds) == (1000, 0)
    clock.set(5000)
    assert (clock(), clock.skew_seconds) == (5000, 4000)
    real[0] += 10
    assert clock() == 5010
    clock.jump(-10)
    assert (clock(), clock.skew_seconds) == (5000, 3990)
    clock.skew(-30)
    assert (clock(), clock.skew_seconds) == (980, -30)


def test_a_clock_writes_dates_as_http_has_them() -> None:
    """RFC 9110 section 5.6.7, with the example of its date."""
    clock = ServerClock(lambda: 784111777.0)
    assert clock.http_date() == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert clock.http_date(later_seconds=60) == "Sun, 06 Nov 1994 08:50:37 GMT"
