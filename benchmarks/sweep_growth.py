"""Figure `sweep-growth`: what one expired link costs among very many, over what it costs among few."""

import statistics

from benchmarks.disk import fdatasync_line
from benchmarks.figure import Figure, spread
from benchmarks.place import Place
from benchmarks.quiet import Quiet
from benchmarks.sweep import expire_all, expired_links, runs_of

GOAL = 1.5
FEW = 10_000
FEW_RUNS = 5
"""The short run is repeated and its median taken: it is over in a second or two."""


def measure(place: Place) -> Figure:
    """Expire all of `place.rows` links, and each time all of 10,000 links (a tenth of the rows, when they are fewer)."""
    many, few = place.rows, min(FEW, max(1, place.rows // 10))
    templates = {rows: expired_links(place, rows) for rows in (few, many)}
    quiet, among_few, among_many = Quiet(), [], []
    for _ in range(runs_of(many)):
        among_few.append(
            statistics.median(_micros(place, templates[few], few, quiet) for _ in range(FEW_RUNS))
        )
        among_many.append(_micros(place, templates[many], many, quiet))
    return Figure(
        name="sweep-growth",
        database=place.kind,
        values=[a / b for a, b in zip(among_many, among_few, strict=True)],
        against=f"the time per link at {few:,}",
        goal=GOAL,
        better="lower",
        details=[
            f"the ratio is the time per expired link at {many:,} links over that at {few:,}",
            spread(f"at {many:,}", among_many, "µs/row"),
            spread(f"at {few:,}", among_few, "µs/row"),
            quiet.line,
            fdatasync_line(place.folder),
        ],
    )


def _micros(place: Place, template: str, rows: int, quiet: Quiet) -> float:
    with place.copy_of(template) as url:
        quiet.wait()
        return expire_all(place, url, rows) / rows * 1_000_000
