"""One figure: its ratios over the runs, whether the goal is met, and how both are written down."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RUNS = 5
"""Pairs of runs, ours and the peer in turn; a figure is the median of their ratios."""

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured on one database. `values` has one entry per run; the figure is their median."""

    name: str
    database: str
    values: Sequence[float]
    against: str
    goal: float
    better: Better = "higher"
    unit: str = ""
    details: Sequence[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal

    def as_json(self) -> str:
        """One line, for machines."""
        line: dict[str, Any] = {
            "figure": self.name,
            "database": self.database,
            "ratio": round(self.ratio, 3),
            "against": self.against,
            "goal": self.goal,
            "runs": len(self.values),
        }
        return json.dumps(line)

    def as_text(self) -> str:
        """A few lines, for people."""
        sign = "≥" if self.better == "higher" else "≤"
        spread = f"{min(self.values):.2f} to {max(self.values):.2f} in {len(self.values)} runs"
        head = (
            f"{'ok  ' if self.met else 'MISS'} {self.name} on {self.database}: {self.ratio:.2f}{self.unit} "
            f"(goal {sign} {self.goal:g}{self.unit}; {spread}), against {self.against}"
        )
        return "\n".join([head, *(f"       {line}" for line in self.details)])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(name: str, values: Sequence[float], unit: str, digits: int = 0) -> str:
    """A line such as `ours: 1,234 rows/s (1,100 to 1,300)`."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name}: {middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"
