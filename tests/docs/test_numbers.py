"""Numbers that several pages state are those of the code."""

from __future__ import annotations

import re

import pytest

from bearerd.builders import LOCK_WAIT_SHARE
from bearerd.credential.authority.refresh_grant import CALL_TIMEOUT_SECONDS
from tests.docs.pages import ROOT


def text_of(page: str) -> str:
    """Return the page in one line."""
    return re.sub(r"\s+", " ", (ROOT / "docs" / page).read_text())


@pytest.mark.parametrize(
    "page", ["decisions/0003-flock-on-a-file-that-stays.md", "recovery.md"]
)
def test_the_wait_for_the_lock_is_a_share_of_the_setting(page: str) -> None:
    """The wait ends before the request does."""
    share = f"{LOCK_WAIT_SHARE:.0%}".replace("%", " %")
    assert f"{share} of `authority_timeout_seconds`" in text_of(page)


@pytest.mark.parametrize(
    ("page", "limit"),
    [
        ("decisions/0002-journal-and-response-spool.md", f"{CALL_TIMEOUT_SECONDS:.0f} seconds"),
        ("never-lose-a-login.md", "five minutes"),
        ("recovery.md", "five minutes"),
    ],
)  # fmt: skip
def test_the_limit_of_a_call_is_not_the_patience_of_a_caller(
    page: str, limit: str
) -> None:
    """The setting is how long a caller waits; the call has a limit of its own."""
    assert CALL_TIMEOUT_SECONDS == 5 * 60
    assert limit in text_of(page)
