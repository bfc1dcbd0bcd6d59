"""The usage of an account: header fields, and the body of its resource."""

import pytest

from bearerd.sandbox import Account, Usage

NOW = 1_800_000_000.5


def test_the_fields_have_shares_windows_and_resets() -> None:
    """As Codex reads them: percent, minutes, and epoch seconds."""
    usage = Usage(primary_used_percent=97, primary_reset_seconds=60)
    assert usage.header_fields(NOW) == {
        "x-codex-primary-used-percent": "97",
        "x-codex-primary-window-minutes": "300",
        "x-codex-primary-reset-at": "1800000060",
        "x-codex-secondary-used-percent": "1",
        "x-codex-secondary-window-minutes": "10080",
        "x-codex-secondary-reset-at": "1800604800",
        "x-codex-credits-has-credits": "false",
        "x-codex-credits-unlimited": "false",
    }


@pytest.mark.parametrize(("percent", "reached"), [(99, False), (100, True)])
def test_the_body_tells_whether_the_limit_is_reached(
    percent: int, reached: bool
) -> None:
    """At 100 % of the primary limit; numbers are integers, as Codex requires."""
    usage = Usage(primary_used_percent=percent, primary_reset_seconds=60)
    body = usage.body(Account("acct-1"), NOW)
    limit = body["rate_limit"]
    assert isinstance(limit, dict)
    assert (limit["allowed"], limit["limit_reached"]) == (not reached, reached)
    assert limit["primary_window"] == {
        "used_percent": percent,
        "limit_window_seconds": 18000,
        "reset_after_seconds": 60,
        "reset_at": 1_800_000_060,
    }


@pytest.mark.parametrize("name", ["primary_used_percent", "secondary_reset_seconds"])
def test_a_negative_usage_is_refused(name: str) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        Usage(**{name: -1})
