"""`python -m benchmarks NAME … [--json]`: measures figures and says whether their goals are met."""

import argparse
import sys
from collections.abc import Callable, Sequence

from benchmarks import (
    access,
    idle,
    journals,
    latency,
    status,
    sweep,
    sweep_growth,
    sweep_rows,
    verification,
)
from benchmarks.figure import Figure
from benchmarks.place import KINDS, Place, open_place

Measure = Callable[[Place], Figure | Sequence[Figure]]

FIGURES: dict[str, Measure] = {
    "status": status.measure,
    "ask": verification.ask,
    "settle": verification.settle,
    "budget": access.budget,
    "list-calls": access.list_calls,
    "sweep": sweep.measure,
    "sweep-rows": sweep_rows.measure,
    "sweep-growth": sweep_growth.measure,
    "journals-batch": journals.measure,
    "latency-polling": latency.polling,
    "latency-webhook": latency.webhook,
    "idle": idle.measure,
}
GROUPS = {
    "all": tuple(FIGURES),
    "verification": ("ask", "settle", "budget", "list-calls"),
    "sweep": ("sweep", "sweep-rows", "sweep-growth"),
    "latency": ("latency-polling", "latency-webhook"),
}
DEFAULT_ROWS, MOST_ROWS = 100_000, 1_000_000


def arguments() -> argparse.Namespace:
    """What was asked for; every name is known."""
    names = list(dict.fromkeys([*FIGURES, *GROUPS]))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=", ".join(names)
    )
    parser.add_argument(
        "names", nargs="+", choices=names, metavar="NAME", help="a figure or a group, see below"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per figure instead of text")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="payments that the sweep expires")
    parser.add_argument("--database", choices=KINDS, help="measure on this one only")
    return parser.parse_args()


def main() -> int:
    """Measure; 1 when a goal is missed."""
    given = arguments()
    if not 0 < given.rows <= MOST_ROWS:
        sys.exit(f"--rows is 1 to {MOST_ROWS:,}")
    names = tuple(dict.fromkeys(name for asked in given.names for name in GROUPS.get(asked, (asked,))))
    missed = False
    for kind in [given.database] if given.database else KINDS:
        if kind == "postgresql" and names == ("idle",):
            continue
        with open_place(kind, given.rows) as place:
            for name in names:
                measured = FIGURES[name](place)
                for figure in [measured] if isinstance(measured, Figure) else measured:
                    print(figure.as_json() if given.json else figure.as_text(), flush=True)
                    missed |= not figure.met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
