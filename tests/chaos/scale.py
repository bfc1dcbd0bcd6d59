"""How much chaos: a short form for every change, the full one by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts and seconds of one form."""

    kills: int
    owners_seconds: float
    foreign_refreshes: int
    foreign_writer_seconds: float
    model_examples: int


SHORT = Scale(
    kills=2,
    owners_seconds=10.0,
    foreign_refreshes=200,
    foreign_writer_seconds=30.0,
    model_examples=60,
)
FULL = Scale(
    kills=20,
    owners_seconds=60.0,
    foreign_refreshes=1000,
    foreign_writer_seconds=120.0,
    model_examples=1500,
)


def chosen() -> Scale:
    """Return the form that `CHAOS` names: `full`, or else the short one."""
    return FULL if os.environ.get("CHAOS") == "full" else SHORT
