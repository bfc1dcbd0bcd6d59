"""Tables of what was measured, kept for the end of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Owns the tables of one run, in order."""

    tables: list[str] = field(default_factory=list)

    def table(
        self, title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Add a table in Markdown."""
        cells = [list(map(str, heads)), *([str(it) for it in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        self.tables.append("\n".join([title, "", lines[0], rule, *lines[1:]]))
