"""How the demo looks: a board that fills as agents are answered, or plain lines."""

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
    DemoResult,
    Plan,
    Scene,
    Side,
    SideBegan,
    TokensRevoked,
    TurnFinished,
)
from bearerd.harness.result import Tally

TITLES: Final[dict[Side, str]] = {
    "without": "Without bearerd: each agent has a copy of one login",
    "through": "Through bearerd: each agent has a client key, and bearerd the login",
}
MOST_ROWS: Final = 12
"""So many agents fit on a terminal twice; the others are counted."""

ROWS: Final[tuple[tuple[str, Callable[[Tally], int]], ...]] = (
    ("answered with 200", lambda tally: tally.answered),
    ("failed", lambda tally: tally.failed),
    ("refreshes", lambda tally: tally.refreshes),
    ("refresh_token_reused", lambda tally: tally.reused),
    ("sign-ins needed", lambda tally: tally.sign_ins),
)


def line(scene: Scene) -> str | None:
    """Return *scene* as a line, or None for what happens too often to be told."""
    match scene:
        case SideBegan(side):
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
            assert_never(scene)


class Board:
    """A row for each agent, a mark for each response. Owns what it has been told."""

    def __init__(self, plan: Plan, live: Live) -> None:
        self._plan = plan
        self._live = live
        self._marks: dict[Side, list[Text]] = {}
        self._words: dict[tuple[Side, int], Text] = {}

    def __call__(self, scene: Scene) -> None:
        """Take in *scene*, and show it."""
        match scene:
            case SideBegan(side):
                self._marks[side] = [Text() for _ in range(self._plan.agents)]
            case TokensRevoked(side):
                for marks in self._marks[side]:
                    marks.append("| ", "yellow")
            case TurnFinished(side, agent, result):
                style = "green" if result.is_good else "red"
                mark = "● " if result.is_good else "✗ "
                self._marks[side][agent].append(mark, style)
            case AgentRefreshed(side, agent):
                self._words[side, agent] = Text("refreshed by itself", "dim")
            case AgentSignedOut(side, agent, reason):
                self._words[side, agent] = Text(f"signed out: {reason}", "red")
            case _:
                assert_never(scene)
        self._live.update(Group(*self._sides()))

    def _sides(self) -> Iterator[Table | Text]:
        for side, rows in self._marks.items():
            yield Text(f"\n{TITLES[side]}", "bold")
            table = Table.grid(padding=(0, 2))
            for agent, marks in enumerate(rows[:MOST_ROWS]):
                words = self._words.get((side, agent), Text())
                table.add_row(f"  agent {agent + 1}", marks, words)
            yield table
            if len(rows) > MOST_ROWS:
                yield Text(f"  and {len(rows) - MOST_ROWS} more agents", "dim")
        yield Text("\n● answered   ✗ failed   | all access tokens revoked\n", "dim")


def table(result: DemoResult) -> Table:
    """Return both sides, side by side."""
    shown = Table(box=None, padding=(0, 2))
    shown.add_column("")
    shown.add_column("without bearerd", justify="right")
    shown.add_column("through bearerd", justify="right")
    for name, count in ROWS:
        shown.add_row(name, str(count(result.without)), str(count(result.through)))
    return shown


def plain(console: Console) -> Callable[[Scene], None]:
    """Return a teller that writes lines, for logs and pipes."""

    def notify(scene: Scene) -> None:
        said = line(scene)
        if said is not None:
            console.print(said, markup=False, highlight=False)

    return notify
