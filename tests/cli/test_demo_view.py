"""How the demo is shown: live on a terminal, as lines, and as a table at the end."""

from __future__ import annotations

import io

from rich.console import Console
from rich.live import Live

from bearerd.cli.demo_view import LiveView, line_view, result_table
from bearerd.harness.demo import (
    AgentRefreshed,
    AgentSignedOut,
    DemoPlan,
    DemoResult,
    RunStarted,
    TokensRevoked,
    TurnFinished,
)
from bearerd.harness.result import RunCounts, TurnResult


def test_the_live_view_has_a_row_for_each_agent_that_fits() -> None:
    """With a mark for each response; agents beyond a screen are counted."""
    console = Console(record=True, width=100, file=io.StringIO())
    with Live(console=console, auto_refresh=False) as live:
        view = LiveView(DemoPlan(agents=14, requests=2, pause_seconds=0), live)
        for event in (
            RunStarted("without"),
            TurnFinished("without", 0, TurnResult(200)),
            TokensRevoked("without"),
            AgentRefreshed("without", 0),
            AgentSignedOut("without", 1, "refresh_token_reused"),
            TurnFinished("without", 1, TurnResult(401)),
        ):
            view(event)
        console.print(live.renderable)
        text = console.export_text()
    assert "agent 1   ● |" in text
    assert "refreshed by itself" in text
    assert "signed out: refresh_token_reused" in text
    assert "and 2 more agents" in text
    assert "agent 13" not in text


def test_the_table_has_both_runs_side_by_side() -> None:
    """Each row has a name and two counts."""
    result = DemoResult(
        DemoPlan(agents=3, requests=3, pause_seconds=0),
        RunCounts(answered=3, failed=6, refreshes=1, reused=2, sign_ins=3),
        RunCounts(answered=9, failed=0, refreshes=2, reused=0, sign_ins=0),
    )
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(result_table(result))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["refresh_token_reused", "2", "0"] in lines
    assert ["sign-ins", "needed", "3", "0"] in lines


def test_the_lines_leave_out_single_requests() -> None:
    """There would be one for each request of each agent."""
    console = Console(record=True, width=100, file=io.StringIO())
    notify = line_view(console)
    notify(RunStarted("through"))
    notify(TurnFinished("through", 0, TurnResult(200)))
    notify(TokensRevoked("through"))
    notify(AgentRefreshed("through", 0))
    notify(AgentSignedOut("through", 1, "login_required"))
    assert console.export_text().splitlines() == [
        "Through bearerd: each agent has a client key, and bearerd has the login",
        "  the upstream revokes every access token",
        "  agent 1 refreshes the login by itself",
        "  agent 2 is signed out: login_required",
    ]
