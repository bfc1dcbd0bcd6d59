"""The Date field line."""

from __future__ import annotations

from bearerd.relay.client.date import DateField

NOW = 784111777.0
LINE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def test_the_line_is_formatted_once_a_second() -> None:
    """RFC 9110 section 5.6.7; within a second it is the same object."""
    now = NOW
    date = DateField(lambda: now)
    assert date.line() == LINE
    now += 0.9
    assert date.line() is date.line()
    now += 0.2
    assert date.line() == LINE.replace(b":37", b":38")
