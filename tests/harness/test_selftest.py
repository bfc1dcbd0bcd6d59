"""`bearerd selftest`: it counts for real, and no flaw goes unseen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bearerd.harness.result import TurnResult
from bearerd.harness.scoreboard import Scoreboard
from bearerd.harness.selftest import SelftestResult

GOOD = SelftestResult(
    processes=2,
    answered=100,
    failures={},
    revocations=3,
    refreshes=3,
    reused=0,
    overlapping=0,
    stuck=False,
    last_words="",
)


@pytest.mark.parametrize(
    "flaw",
    [
        {"failures": {"login_required": 1}},
        {"refreshes": 4},
        {"refreshes": 2},
        {"reused": 1},
        {"overlapping": 1},
        {"stuck": True},
        {"revocations": 0, "refreshes": 0},
    ],
)
def test_any_flaw_denies_the_verdict(flaw: dict[str, Any]) -> None:
    """And so does a run in which nothing was revoked."""
    assert GOOD.is_flawless
    assert not dataclasses.replace(GOOD, **flaw).is_flawless


async def test_a_process_has_caught_up_when_a_request_after_the_revocation_is_good() -> (
    None
):
    """A response to a request that was sent before proves nothing."""
    board = Scoreboard(2)
    board.revocations = 1
    await board.add(0, 1, TurnResult(200))
    await board.add(1, 0, TurnResult(200))
    assert not await board.caught_up(timeout_seconds=0)
    await board.add(1, 1, TurnResult(200))
    assert await board.caught_up(timeout_seconds=0)


async def test_a_bad_response_ends_the_wait() -> None:
    """What has gone wrong once is not waited out."""
    board = Scoreboard(1)
    await board.add(0, 0, TurnResult(401, "login_required"))
    assert not await board.caught_up(timeout_seconds=60)
    assert board.failures == {"login_required": 1}
