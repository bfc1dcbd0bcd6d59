"""The demo: both runs with real sockets and a real daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.harness.demo import (
    AgentRefreshed,
    AgentSignedOut,
    DemoEvent,
    DemoPlan,
    DemoResult,
    run_demo,
)
from bearerd.harness.result import RunCounts

PLAN = DemoPlan(agents=3, requests=3, pause_seconds=0)
WITHOUT = RunCounts(answered=3, failed=6, refreshes=1, reused=2, sign_ins=3)


async def test_copies_of_one_login_sign_each_other_out_and_keys_do_not(
    tmp_path: Path,
) -> None:
    """One copy wins the race, the others present a spent token, and all are signed out."""
    events: list[DemoEvent] = []
    result = await run_demo(
        PLAN, tmp_path, os.environ, clock=Clock(), notify=events.append
    )
    assert result.without.reused == 2
    assert result.without.refreshes == 1
    assert result.without.sign_ins == 3
    assert result.without.answered < 9
    assert result.through == RunCounts(9, 0, 2, 0, 0)
    assert result.is_flawless
    assert sum(isinstance(event, AgentRefreshed) for event in events) == 1
    assert sum(isinstance(event, AgentSignedOut) for event in events) == 3


@pytest.mark.parametrize(
    "through", [RunCounts(8, 1, 2, 0, 0), RunCounts(9, 0, 3, 0, 0)]
)
def test_a_flaw_of_the_run_through_bearerd_is_a_flaw_of_the_demo(
    through: RunCounts,
) -> None:
    """The plan says how many requests and refreshes are expected."""
    assert not DemoResult(PLAN, WITHOUT, through).is_flawless


@pytest.mark.parametrize(
    ("requests", "revocations"), [(1, (0,)), (2, (0, 1)), (3, (1, 2)), (6, (2, 4))]
)
def test_tokens_are_revoked_after_each_third(
    requests: int, revocations: tuple[int, ...]
) -> None:
    """At least once, however few rounds there are."""
    assert DemoPlan(2, requests, 0).revocations == revocations
