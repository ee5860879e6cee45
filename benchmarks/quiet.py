"""Waits for a quiet moment on a shared machine, and says how quiet it was: others' work slows a busy run, not an idle peer."""

import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.5
QUIET_CORES = 0.3
PATIENCE_SECONDS = 20.0
"""So long before each run; then it runs all the same, and the line below the figure tells."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Quiet:
    """How many cores others kept busy before each run."""

    busy: list[float] = field(default_factory=list)

    def wait(self) -> None:
        """Until others leave the machine alone, or the patience is over. Nothing of ours may be at work meanwhile."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (cores := _busy_cores()) > QUIET_CORES and time.monotonic() < deadline:
            pass  # looking takes half a second
        self.busy.append(cores)

    @property
    def line(self) -> str:
        """For the details of a figure."""
        middle, most = statistics.median(self.busy), max(self.busy)
        return f"before the runs others kept {middle:.1f} of {os.cpu_count()} cores busy (most {most:.1f})"


def _busy_cores() -> float:
    before = _busy_ticks()
    time.sleep(LOOK_SECONDS)
    return (_busy_ticks() - before) / _TICKS / LOOK_SECONDS


def _busy_ticks() -> int:
    """user, nice, system, irq, softirq and steal of all cores."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return user + nice + system + irq + softirq + steal
