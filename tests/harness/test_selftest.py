"""The verdict of the selftest. `tests/cli/commands` runs it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bearerd.harness.selftest import SelftestResult

FLAWLESS = SelftestResult(
    processes=2,
    answered=100,
    failures={},
    revocations=3,
    refreshes=3,
    reused=0,
    overlapping=0,
    is_stuck=False,
    last_log_line="",
)


@pytest.mark.parametrize(
    "flaw",
    [
        {"failures": {"login_required": 1}},
        {"refreshes": 4},
        {"refreshes": 2},
        {"reused": 1},
        {"overlapping": 1},
        {"is_stuck": True},
        {"revocations": 0, "refreshes": 0},
    ],
)
def test_any_flaw_changes_the_verdict(flaw: dict[str, Any]) -> None:
    """A run without a revocation is no proof either."""
    assert FLAWLESS.is_flawless
    assert not dataclasses.replace(FLAWLESS, **flaw).is_flawless
