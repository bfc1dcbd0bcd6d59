"""docs/recovery.md has the table of relay/recovery.py, row by row."""

from __future__ import annotations

import re

from bearerd.relay.recovery import TRANSITIONS
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "recovery.md"


def test_the_page_has_the_rows_of_the_table_in_order() -> None:
    """A transition that changes in the code changes on the page."""
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [
        (state.value, outcome.value, following.value)
        for (state, outcome), following in TRANSITIONS.items()
    ]
