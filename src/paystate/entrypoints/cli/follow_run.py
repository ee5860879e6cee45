"""Follows a run of a job to its end, with a bar on a terminal, wherever the run is carried out."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from paystate.entrypoints.cli.frame import Answer, Terminal
from paystate.kit.clock import monotonic

LOOK_SECONDS = 0.25
FOLLOW_SECONDS = 86_400.0
"""A run is followed no longer than any may take."""

UNDER_WAY = ("QUEUED", "RUNNING")


def follow(t: Terminal, operation: str, **arguments: Any) -> Answer:
    """Start the run, and show how far it is until it has ended. Raises PaystateError.

    A running server answers at once and is asked again and again; without one the run is carried out here.
    """
    if t.as_json or not sys.stderr.isatty():
        return t.ask(operation, **arguments)
    from paystate.entrypoints.operations.jobs import watching

    with bar() as show:
        token = watching.set(show)
        try:
            answer = t.ask(operation, follow=True, **arguments)
            until = monotonic() + FOLLOW_SECONDS
            while answer["status"] in UNDER_WAY and monotonic() < until:
                time.sleep(LOOK_SECONDS)
                answer = t.ask("jobs.look", run=answer["runId"])
                show(answer)
        finally:
            watching.reset(token)
    return answer


@contextlib.contextmanager
def bar() -> Iterator[Callable[[Answer], None]]:
    """A bar on stderr that is gone at the end; what it is given tells how far which run is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("…", total=None)

        def show(run: Answer) -> None:
            far = run["progress"] or {"done": 0, "total": None}
            progress.update(task, description=run["job"], completed=far["done"], total=far["total"])

        yield show
