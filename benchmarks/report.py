"""The figures as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Figures

COLUMNS: Final = ("no proxy", "nginx", "bearerd")


def table(figures: Figures) -> Iterator[str]:
    """Give the lines of the table: medians, ratio, target."""
    yield _row("", "unit", *COLUMNS, "ratio", "in rounds", "target")
    for figure in figures:
        span = figure.ratio_range
        yield _row(
            figure.label,
            figure.unit,
            *(_number(figure.median(name)) for name in COLUMNS),
            "-" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if span is None else f"{span[0]:.2f} to {span[1]:.2f}",
            _verdict(figure),
        )


def write_json(
    path: Path, machine: str, neighbours_share: float, figures: Figures
) -> None:
    """Write all samples, with what the table says of them."""
    content = {
        "machine": machine,
        "neighbours_share": neighbours_share,
        "figures": [
            {
                "key": figure.key,
                "label": figure.label,
                "unit": figure.unit,
                "samples": figure.samples,
                "median": {name: figure.median(name) for name in figure.samples},
                "ratio": figure.ratio,
                "target": figure.most,
                "met": figure.is_met,
            }
            for figure in figures
        ],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def _row(label: str, unit: str, *cells: str) -> str:
    *numbers, in_rounds, target = cells
    line = f"{label:<29} {unit:<6}" + "".join(f"{cell:>9}" for cell in numbers)
    return f"{line}  {in_rounds:<12} {target}".rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def _verdict(figure: Figure) -> str:
    if figure.most is None:
        return ""
    verdict = {True: "met", False: "not met", None: "?"}[figure.is_met]
    return f"at most {figure.most:g}: {verdict}"
