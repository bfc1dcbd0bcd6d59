"""`bearerd demo`: both sides are run for real, and the numbers decide the exit code."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from bearerd.cli.demo_view import Board, plain, table
from bearerd.clock import Clock
from bearerd.errors import StartError
from bearerd.harness import daemon as exercise_daemon
from bearerd.harness.demo import (
    AgentRefreshed,
    AgentSignedOut,
    DemoResult,
    Plan,
    Scene,
    SideBegan,
    TokensRevoked,
    TurnFinished,
    run_demo,
)
from bearerd.harness.result import Tally, TurnResult, revoked_rounds

PLAN = Plan(agents=3, requests=3, rest_seconds=0)
LOST = Tally(answered=3, failed=6, refreshes=1, reused=2, sign_ins=3)


async def test_copies_of_one_login_sign_each_other_out_and_keys_do_not(
    tmp_path: Path,
) -> None:
    """One copy wins the race, the others spend a spent token, and all are out."""
    scenes: list[Scene] = []
    result = await run_demo(
        PLAN, tmp_path, os.environ, clock=Clock(), notify=scenes.append
    )
    assert result.without.reused == 2
    assert result.without.refreshes == 1
    assert result.without.sign_ins == 3
    assert result.without.answered < 9
    assert result.through == Tally(9, 0, 2, 0, 0)
    assert result.is_flawless
    assert sum(isinstance(scene, AgentRefreshed) for scene in scenes) == 1
    assert sum(isinstance(scene, AgentSignedOut) for scene in scenes) == 3


@pytest.mark.parametrize(
    "through",
    [
        Tally(8, 1, 2, 0, 0),
        Tally(9, 0, 3, 0, 0),
        Tally(9, 0, 1, 0, 0),
        Tally(9, 0, 2, 1, 0),
        Tally(9, 0, 2, 0, 1),
    ],
)
def test_anything_but_the_exact_numbers_is_a_flaw(through: Tally) -> None:
    """A request unanswered, a refresh too many or too few, a reuse, a sign-in."""
    assert not DemoResult(PLAN, LOST, through).is_flawless


@pytest.mark.parametrize(
    ("rounds", "revoked"), [(1, (0,)), (2, (0, 1)), (3, (1, 2)), (6, (2, 4))]
)
def test_tokens_die_at_each_third(rounds: int, revoked: tuple[int, ...]) -> None:
    """And at least once, however few rounds there are."""
    assert revoked_rounds(rounds) == revoked


def test_the_board_has_a_row_for_each_agent_that_fits() -> None:
    """Marks and words on a terminal; agents beyond a screen are counted."""
    console = Console(record=True, width=100, file=io.StringIO())
    with Live(console=console, auto_refresh=False) as live:
        board = Board(Plan(agents=14, requests=2, rest_seconds=0), live)
        for scene in (
            SideBegan("without"),
            TurnFinished("without", 0, TurnResult(200)),
            TokensRevoked("without"),
            AgentRefreshed("without", 0),
            AgentSignedOut("without", 1, "refresh_token_reused"),
            TurnFinished("without", 1, TurnResult(401)),
        ):
            board(scene)
        console.print(live.renderable)
        text = console.export_text()
    assert "agent 1   ● |" in text
    assert "refreshed by itself" in text
    assert "signed out: refresh_token_reused" in text
    assert "and 2 more agents" in text
    assert "agent 13" not in text


def test_the_table_sets_both_sides_beside_each_other() -> None:
    """Each line has its name, the one side and the other."""
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(table(DemoResult(PLAN, LOST, Tally(9, 0, 2, 0, 0))))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["refresh_token_reused", "2", "0"] in lines
    assert ["sign-ins", "needed", "3", "0"] in lines


def test_lines_pass_over_what_happens_all_the_time() -> None:
    """A log of the demo has no line for each request."""
    console = Console(record=True, width=100, file=io.StringIO())
    notify = plain(console)
    notify(SideBegan("through"))
    notify(TurnFinished("through", 0, TurnResult(200)))
    notify(TokensRevoked("through"))
    assert len(console.export_text().splitlines()) == 2


async def test_a_daemon_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The last line of its log is the reason."""
    settings = {"upstream_url": "nonsense"}
    async with exercise_daemon.start_daemon(
        tmp_path / "auth.json", settings, os.environ
    ) as daemon:
        with pytest.raises(StartError, match="upstream_url"):
            await daemon.base_url()


def test_a_daemon_sees_none_of_this_users_settings() -> None:
    """Variables of ours are replaced, the others stay."""
    environ: Mapping[str, str] = {"BEARERD_STORE": "/mine", "HOME": "/home"}
    seen = exercise_daemon.child_environment(environ, {"listen": "127.0.0.1:0"})
    assert seen["BEARERD_LISTEN"] == "127.0.0.1:0"
    assert seen["HOME"] == "/home"
    assert "BEARERD_STORE" not in seen
