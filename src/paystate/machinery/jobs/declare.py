"""Declaring a job: one line above the function that does the work."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from paystate.machinery.jobs.schedule import parse_schedule

DEFAULT_TIMEOUT_SECONDS = 300
DEFAULT_BATCH_SIZE = 100
MAX_TIMEOUT_SECONDS = 86_400
MAX_BATCH_SIZE = 10_000

Trigger = Literal["schedule", "manual", "api", "cli", "replay"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")


class Run(Protocol):
    """What a job may know of its own run, and say about it."""

    @property
    def id(self) -> str: ...

    @property
    def job(self) -> str: ...

    @property
    def trigger(self) -> Trigger: ...

    @property
    def batch_size(self) -> int:
        """How many items one step should take."""

    def still_mine(self) -> bool:
        """Whether this process holds the lease, as far as it knows without asking; check between items."""

    async def progress(self, done: int, total: int) -> None:
        """Say how far the run is; written at most once a second, and with the result."""


Work = Callable[[Any, Run], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as declared; an operator may change all but its work."""

    name: str
    schedule: str
    description: str
    timeout_seconds: int
    batch_size: int
    work: Work


registry: dict[str, Job] = {}
"""Every job whose module has been imported."""


def job(
    name: str,
    *,
    schedule: str,
    description: str,
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    into: dict[str, Job] | None = None,
) -> Callable[[Work], Work]:
    """Register `async def work(context, run) -> result`; the result must be writable as JSON.

    The work may run again from the start after a crash: what it does must be safe to do twice.
    """
    jobs = registry if into is None else into
    assert _NAME.match(name), name
    assert 0 < timeout_seconds <= MAX_TIMEOUT_SECONDS, name
    assert 0 < batch_size <= MAX_BATCH_SIZE, name
    parse_schedule(schedule, "UTC")

    def register(work: Work) -> Work:
        assert name not in jobs, f"two jobs are called {name}"
        jobs[name] = Job(name, schedule, description, timeout_seconds, batch_size, work)
        return work

    return register
