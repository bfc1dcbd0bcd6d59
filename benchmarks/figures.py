"""What was measured: samples by contender, their medians, and whether a target is met.

Values only; nothing here measures or prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Figure:
    """One line of the table. Owns the samples that the rounds add.

    *most* is the target: at most so many times what nginx needs.
    """

    key: str
    label: str
    unit: str
    most: float | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contender: str, value: float) -> None:
        """Keep one more sample."""
        self.samples.setdefault(contender, []).append(value)

    def median(self, contender: str) -> float | None:
        """Return the median of a contender's samples, None without any."""
        values = self.samples.get(contender)
        return median(values) if values else None

    @property
    def ratio(self) -> float | None:
        """Return how many times nginx's median bearerd's is."""
        ours, theirs = self.median("bearerd"), self.median("nginx")
        return ours / theirs if ours is not None and theirs else None

    @property
    def ratio_range(self) -> tuple[float, float] | None:
        """Return the lowest and highest ratio of a single round."""
        rounds = zip(
            self.samples.get("bearerd", ()), self.samples.get("nginx", ()), strict=False
        )
        ratios = [ours / theirs for ours, theirs in rounds if theirs]
        return (min(ratios), max(ratios)) if ratios else None

    @property
    def is_met(self) -> bool | None:
        """True when the target is met; None where there is none, or no ratio."""
        if self.most is None or self.ratio is None:
            return None
        return self.ratio <= self.most


class Figures:
    """All lines, in the order in which they were first measured."""

    def __init__(self) -> None:
        self._by_key: dict[str, Figure] = {}

    def at(self, key: str, label: str, unit: str, most: float | None = None) -> Figure:
        """Return the figure *key*, which is made if it is not there yet."""
        return self._by_key.setdefault(key, Figure(key, label, unit, most))

    def __iter__(self) -> Iterator[Figure]:
        """Give them in order."""
        return iter(self._by_key.values())
