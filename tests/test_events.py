"""The values that bearerd announces."""

from __future__ import annotations

from typing import get_args

import pytest

from bearerd.events import Event, RecoveryPath
from tests.support.source_code import names_called

NONE, RELOAD, REFRESH, BOTH = RecoveryPath


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([], NONE),
        ([RELOAD], RELOAD),
        ([REFRESH], REFRESH),
        ([RELOAD, REFRESH], BOTH),
        ([RELOAD, RELOAD], RELOAD),
        ([RELOAD, RELOAD, REFRESH], BOTH),
        ([RELOAD, REFRESH, REFRESH], BOTH),
    ],
)
def test_a_recovery_path_is_the_steps_taken_each_once(
    steps: list[RecoveryPath], path: RecoveryPath
) -> None:
    """Reload comes before refresh, as the table has it."""
    taken = NONE
    for step in steps:
        taken = taken.then(step)
    assert taken is path


def test_every_event_is_emitted_somewhere() -> None:
    """An event that nothing emits would be documented for nothing."""
    made = names_called()
    assert [kind for kind in get_args(Event) if kind.__name__ not in made] == []
