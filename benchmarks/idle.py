"""Figures `idle-memory` and `idle-cpu`: what `paystate serve` on SQLite uses when nothing happens."""

import time

from benchmarks.figure import Figure
from benchmarks.place import Place
from benchmarks.processes import child, free_port
from paystate.migrations.run import migrate

MEMORY_GOAL_MB, CPU_GOAL_PERCENT = 150.0, 1.0
WARM_UP_SECONDS, SECONDS = 5.0, 30.0
MEGABYTE = 1_000_000


def measure(place: Place) -> list[Figure]:
    """One process after its start, with web, worker and all jobs, and nobody who asks for anything."""
    if place.kind != "sqlite":
        return []
    with place.copy_of(place.template("empty", migrate)) as url:
        environ = place.environ(url, place.folder, port=free_port())
        with child("paystate", "serve", "--json", log=place.log_path(), environ=environ) as serve:
            serve.hear()
            time.sleep(WARM_UP_SECONDS)
            began, before = time.monotonic(), serve.cpu_seconds()
            time.sleep(SECONDS)
            percent = (serve.cpu_seconds() - before) / (time.monotonic() - began) * 100
            memory = serve.resident_bytes() / MEGABYTE
    against = f"the limit, over {SECONDS:g} s"
    return [
        Figure("idle-memory", "sqlite", [memory], against, MEMORY_GOAL_MB, better="lower", unit=" MB"),
        Figure("idle-cpu", "sqlite", [percent], against, CPU_GOAL_PERCENT, better="lower", unit=" %"),
    ]
