"""The lines of `bearerd status`."""

from __future__ import annotations

from bearerd.cli.status_text import status_lines
from tests.admin.conftest import NOW, missing, service, source


def test_a_running_daemon_has_its_rows_and_those_of_each_profile() -> None:
    """In two columns."""
    status = service(source(), missing(profile="work"))
    assert list(status_lines(status, status.sources, NOW)) == [
        "bearerd 1.2.3 is running",
        "  state                action required",
        "  running since        2027-01-15 06:00:00 UTC (2 h ago)",
        "  requests in flight   4",
        "  streams              2",
        "  relay                127.0.0.1:8787",
        "  admin                127.0.0.1:8788",
        "default: usable",
        "  account              acct-made-up",
        "  token expires        2027-01-15 09:00:00 UTC (in 1 h)",
        "  next refresh         2027-01-15 08:55:00 UTC (in 55 min)",
        "  last refresh         2027-01-15 07:59:00 UTC (1 min ago)",
        "  generation           3",
        "  store                /data/auth.json",
        "work: blocked (login_required: missing)",
        "  to do                /data/auth.json: there is no credential file; sign in",
        "  since                2027-01-15 07:59:00 UTC (1 min ago)",
        "  generation           0",
        "  store                /data/auth.json",
    ]


def test_without_a_daemon_there_are_only_the_profiles() -> None:
    """From their stores."""
    first, second, *_ = status_lines(None, [source()], NOW)
    assert first.startswith("bearerd is not running")
    assert second == "default: usable"
