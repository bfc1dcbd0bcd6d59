"""docs/recovery.md says what the table in the code says, row by row."""

from __future__ import annotations

import re
from pathlib import Path

from bearerd.relay.recovery import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"


def test_the_page_has_the_rows_of_the_table_in_order() -> None:
    """A transition that changes here and not there would mislead whoever reads it."""
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [
        (state.value, outcome.value, following.value)
        for (state, outcome), following in TRANSITIONS.items()
    ]
