"""What happened: runs page by page, statistics of a job, and whether it is healthy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from paystate.kit.clock import MILLISECOND, SECOND, Instant, rfc3339
from paystate.kit.errors import NotFound
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx
from paystate.machinery.jobs.catalogue import LATE_SECONDS, Current
from paystate.machinery.jobs.model import FAILED, QUEUED, RUNNING, SUCCEEDED, job_runs, job_settings

MEASURED_RUNS = 100
"""Durations are those of so many of the latest runs."""

HealthState = Literal["ok", "late", "failing", "disabled"]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is shown; times are instants, `result` is what the job returned."""

    id: str
    job: str
    trigger: str
    state: str
    tick_at: Instant | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    result: Mapping[str, Any] | None
    error: str | None
    progress_done: int | None
    progress_total: int | None
    replay_of: str | None
    attempts: int

    @property
    def duration_ms(self) -> int | None:
        """How long the last attempt took; None before its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at) // MILLISECOND


@dataclass(frozen=True, slots=True)
class Health:
    state: HealthState
    reason: str


@dataclass(frozen=True, slots=True)
class JobStats:
    """Counts since the history was last cleared; durations in milliseconds over the latest runs (A10)."""

    total_executions: int
    success_count: int
    failure_count: int
    success_rate_percent: float | None
    average_duration_ms: int | None
    p95_duration_ms: int | None
    last_execution: RunView | None
    next_tick: Instant | None
    health: Health


def one_run(tx: Tx, run_id: str) -> RunView:
    """Raises NotFound."""
    row = tx.first(sa.select(job_runs).where(job_runs.c.id == run_id))
    if row is None:
        raise NotFound("There is no such run.")
    return _view(row)


def running(tx: Tx) -> list[RunView]:
    """Runs that somebody works on now."""
    found = sa.select(job_runs).where(job_runs.c.state == RUNNING).order_by(job_runs.c.id)
    return [_view(row) for row in tx.rows(found)]


def runs(tx: Tx, name: str, page: PageRequest) -> Page[RunView]:
    """Runs of a job, newest first, without those before the last clearing."""
    shown = _shown(name)
    if page.after is not None:
        shown = shown.where(job_runs.c.id < page.after)
    found = [_view(row) for row in tx.rows(shown.limit(page.limit + 1))]
    return page_of(found, [run.id for run in found], page.limit)


def stats(tx: Tx, current: Current) -> JobStats:
    """Statistics, next tick and health of a job as it is set at present."""
    ended = [_view(row) for row in tx.rows(_shown(current.name).where(_ended()).limit(MEASURED_RUNS))]
    durations = sorted(run.duration_ms for run in ended if run.duration_ms is not None)
    total = current.succeeded_count + current.failed_count
    return JobStats(
        total_executions=total,
        success_count=current.succeeded_count,
        failure_count=current.failed_count,
        success_rate_percent=round(100 * current.succeeded_count / total, 2) if total else None,
        average_duration_ms=round(sum(durations) / len(durations)) if durations else None,
        p95_duration_ms=durations[-(-95 * len(durations) // 100) - 1] if durations else None,
        last_execution=ended[0] if ended else None,
        next_tick=current.schedule.next(tx.now) if current.enabled else None,
        health=_health(tx, current, ended),
    )


def _shown(name: str) -> sa.Select[Any]:
    cleared = sa.select(job_settings.c.cleared_before).where(job_settings.c.name == name).scalar_subquery()
    since = job_runs.c.created_at >= sa.func.coalesce(cleared, 0)
    return sa.select(job_runs).where(job_runs.c.job == name, since).order_by(job_runs.c.id.desc())


def _ended() -> sa.ColumnElement[bool]:
    return job_runs.c.state.in_((SUCCEEDED, FAILED))


def _health(tx: Tx, current: Current, ended: list[RunView]) -> Health:
    if not current.enabled:
        return Health("disabled", "The job is disabled.")
    late = _late(tx, current)
    if late is not None:
        return Health("late", late)
    failures = next((n for n, run in enumerate(ended) if run.state != FAILED), len(ended))
    if failures:
        return Health("failing", f"Failed {failures} times in a row, at last with {ended[0].error}")
    return Health("ok", "The last run succeeded." if ended else "It has not run yet.")


def _late(tx: Tx, current: Current) -> str | None:
    limit = tx.now - LATE_SECONDS * SECOND
    tick = current.late_tick(tx.now)
    if tick is not None:
        return f"Nobody started the run of {rfc3339(tick)}."
    unheld = sa.or_(
        sa.and_(job_runs.c.state == QUEUED, job_runs.c.created_at < limit),
        sa.and_(job_runs.c.state == RUNNING, job_runs.c.lease_until < limit),
    )
    row = tx.first(sa.select(job_runs.c.id).where(job_runs.c.job == current.name, unheld))
    return None if row is None else f"Nobody works on {row.id}."


def _view(row: sa.Row[Any]) -> RunView:
    return RunView(
        id=row.id,
        job=row.job,
        trigger=row.trigger,
        state=row.state,
        tick_at=row.tick_at,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        result=None if row.result is None else json.loads(row.result),
        error=row.error,
        progress_done=row.progress_done,
        progress_total=row.progress_total,
        replay_of=row.replay_of,
        attempts=row.claim_no,
    )
