"""The status as text: headline, rows, times and durations."""

from __future__ import annotations

import pytest

from bearerd.admin.status import ServiceStatus
from bearerd.admin.status_text import (
    duration_text,
    headline,
    service_rows,
    source_rows,
    source_state,
    time_text,
)
from tests.admin.conftest import NOW, degraded, missing, service, source


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (service(), "ready"),
        (service(source(), missing(profile="work")), "action required"),
        (service(source(), degraded(profile="work")), "degraded"),
        (service(degraded(), degraded(profile="work", state="blocked")), "blocked"),
        (service(source(last_error="unclear: timeout")), "ready"),
        (service(missing(), is_draining=True), "stopping"),
    ],
)
def test_the_headline_is_the_state_of_the_daemon(
    status: ServiceStatus, expected: str
) -> None:
    """That of the profile that is worst."""
    assert headline(status) == expected


def test_the_rows_of_the_daemon_have_each_address() -> None:
    """Of relay and admin listener."""
    status = service(relay=("127.0.0.1:1", "[::1]:1"), admin=())
    assert service_rows(status, NOW) == [
        ("state", "ready"),
        ("running since", "2027-01-15 06:00:00 UTC (2 h ago)"),
        ("requests in flight", "4"),
        ("streams", "2"),
        ("relay", "127.0.0.1:1"),
        ("relay", "[::1]:1"),
    ]


def test_the_rows_of_a_profile_have_what_is_known() -> None:
    """Times are in UTC, with their distance."""
    assert source_rows(source(), NOW) == [
        ("account", "acct-made-up"),
        ("token expires", "2027-01-15 09:00:00 UTC (in 1 h)"),
        ("next refresh", "2027-01-15 08:55:00 UTC (in 55 min)"),
        ("last refresh", "2027-01-15 07:59:00 UTC (1 min ago)"),
        ("generation", "3"),
        ("store", "/data/auth.json"),
    ]
    assert source_rows(missing(), NOW) == [
        ("since", "2027-01-15 07:59:00 UTC (1 min ago)"),
        ("generation", "0"),
        ("store", "/data/auth.json"),
    ]


def test_the_rows_of_a_profile_have_its_failures() -> None:
    """A refresh that failed, and a login that could not be stored."""
    rows = dict(source_rows(source(in_memory_only=True, last_error="unclear: x"), NOW))
    assert rows["saved"] == "no: the store could not be written"
    assert rows["last error"] == "unclear: x"


def test_the_state_of_a_profile_has_its_reason() -> None:
    """Its code, and the detail of the code where there is one."""
    assert source_state(source()) == "usable"
    assert source_state(degraded()) == "degraded (authority_unavailable)"
    assert source_state(missing()) == "blocked (login_required: missing)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (90061, "1 d 1 h"), (3600, "1 h")],
)
def test_a_duration_is_in_its_two_largest_units(seconds: float, text: str) -> None:
    """More precision is of no use here."""
    assert duration_text(seconds) == text


def test_a_time_is_in_the_past_or_in_the_future() -> None:
    """Relative to now."""
    assert time_text(NOW, NOW).endswith("(0 s ago)")
    assert time_text(NOW + 61, NOW).endswith("(in 1 min 1 s)")
