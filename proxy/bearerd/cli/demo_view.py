"""Shows the demo: as a live view on a terminal, or as plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bearerd.harness.demo import (
    AgentRefreshed,
    AgentSignedOut,
    DemoEvent,
    DemoPlan,
    DemoResult,
    RunStarted,
    Side,
    TokensRevoked,
    TurnFinished,
)
from bearerd.harness.result import RunCounts

TITLES: Final[dict[Side, str]] = {
    "without": "Without bearerd: each agent has a copy of one login",
    "through": "Through bearerd: each agent has a client key, and bearerd has the login",
}
SHOWN_AGENTS: Final = 12
"""As many agents as fit on a terminal twice; the others are only counted."""

ROWS: Final[tuple[tuple[str, Callable[[RunCounts], int]], ...]] = (
    ("answered with 200", lambda counts: counts.answered),
    ("failed", lambda counts: counts.failed),
    ("refreshes", lambda counts: counts.refreshes),
    ("refresh_token_reused", lambda counts: counts.reused),
    ("sign-ins needed", lambda counts: counts.sign_ins),
)


def event_line(event: DemoEvent) -> str | None:
    """Return *event* as a line, or None for one that happens with every request."""
    match event:
        case RunStarted(side):
            return TITLES[side]
        case TokensRevoked():
            return "  the upstream revokes every access token"
        case AgentRefreshed(_, agent):
            return f"  agent {agent + 1} refreshes the login by itself"
        case AgentSignedOut(_, agent, reason):
            return f"  agent {agent + 1} is signed out: {reason}"
        case TurnFinished():
            return None
        case _:
            assert_never(event)


class LiveView:
    """A row for each agent, with a mark for each response. Owns the rows.

    Call it with each event.
    """

    def __init__(self, plan: DemoPlan, live: Live) -> None:
        self._plan = plan
        self._live = live
        self._marks: dict[Side, list[Text]] = {}
        self._notes: dict[tuple[Side, int], Text] = {}

    def __call__(self, event: DemoEvent) -> None:
        """Add *event* to the rows, and draw them."""
        match event:
            case RunStarted(side):
                self._marks[side] = [Text() for _ in range(self._plan.agents)]
            case TokensRevoked(side):
                for marks in self._marks[side]:
                    marks.append("| ", "yellow")
            case TurnFinished(side, agent, result):
                style = "green" if result.is_success else "red"
                mark = "● " if result.is_success else "✗ "
                self._marks[side][agent].append(mark, style)
            case AgentRefreshed(side, agent):
                self._notes[side, agent] = Text("refreshed by itself", "dim")
            case AgentSignedOut(side, agent, reason):
                self._notes[side, agent] = Text(f"signed out: {reason}", "red")
            case _:
                assert_never(event)
        self._live.update(Group(*self._sides()))

    def _sides(self) -> Iterator[Table | Text]:
        for side, rows in self._marks.items():
            yield Text(f"\n{TITLES[side]}", "bold")
            table = Table.grid(padding=(0, 2))
            for agent, marks in enumerate(rows[:SHOWN_AGENTS]):
                note = self._notes.get((side, agent), Text())
                table.add_row(f"  agent {agent + 1}", marks, note)
            yield table
            if len(rows) > SHOWN_AGENTS:
                yield Text(f"  and {len(rows) - SHOWN_AGENTS} more agents", "dim")
        yield Text("\n● answered   ✗ failed   | all access tokens revoked\n", "dim")


def result_table(result: DemoResult) -> Table:
    """Return the counts of both runs, side by side."""
    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    table.add_column("without bearerd", justify="right")
    table.add_column("through bearerd", justify="right")
    for name, count in ROWS:
        table.add_row(name, str(count(result.without)), str(count(result.through)))
    return table


def line_view(console: Console) -> Callable[[DemoEvent], None]:
    """Return a callable that prints events as lines, for logs and pipes."""

    def notify(event: DemoEvent) -> None:
        line = event_line(event)
        if line is not None:
            console.print(line, markup=False, highlight=False)

    return notify
