"""The queue of runs: every statement that moves a run, each conditional on the claim it was made under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from paystate.kit.clock import SECOND, Instant
from paystate.kit.errors import Conflict, NotFound
from paystate.kit.ids import new_id
from paystate.machinery.db import Tx, bulk_insert
from paystate.machinery.failpoints import declare, failpoint
from paystate.machinery.jobs.catalogue import WAKE_CHANNEL, Current
from paystate.machinery.jobs.declare import Trigger
from paystate.machinery.jobs.model import FAILED, QUEUED, RUNNING, SKIPPED, SUCCEEDED, job_runs, job_settings

FINISHED_CHANNEL = "job-runs"
MAX_CLAIMS = 3
"""A run whose owners died this often is a poison run and is not tried again by itself."""

KEPT_RUNS = 100
"""Finished runs kept per job unless set otherwise (requirement A10)."""

PRUNE_BATCH = 100
LEASE_LOST = "lease_lost"
AFTER_ENQUEUE = declare("schedule.after_enqueue", "a tick has its row, the schedule is not yet marked")

_OPEN = job_runs.c.state.in_((QUEUED, RUNNING))


@dataclass(frozen=True, slots=True)
class Claim:
    """A run held by one owner; `claim_no` is the fence every later statement names."""

    run_id: str
    job: str
    trigger: Trigger
    owner: str
    claim_no: int
    batch_size: int
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: a result, or an error of one line."""

    result: str | None
    error: str | None
    progress: tuple[int, int] | None = None

    @property
    def state(self) -> str:
        return SUCCEEDED if self.error is None else FAILED


def enqueue_tick(tx: Tx, current: Current, tick: Instant) -> bool:
    """Make the tick's one row; False when another process did. A tick that meets an open run is only recorded."""
    fresh = _insert(tx, current.name, "schedule", QUEUED, tick_at=tick) or _insert(
        tx, current.name, "schedule", SKIPPED, tick_at=tick, finished_at=tx.now
    )
    failpoint(AFTER_ENQUEUE)
    marked = job_settings.update().where(
        job_settings.c.name == current.name, job_settings.c.ticked_until < tick
    )
    tx.execute(marked.values(ticked_until=tick))
    return fresh is not None


def enqueue_now(tx: Tx, current: Current, trigger: Trigger, *, replay_of: str | None = None) -> str:
    """Make a run outside the schedule. Raises Conflict `job_disabled` or `job_already_running`."""
    if not current.enabled:
        raise Conflict("The job is disabled.", code="job_disabled")
    fresh = _insert(tx, current.name, trigger, QUEUED, replay_of=replay_of)
    if fresh is None:
        running = tx.first(sa.select(job_runs.c.id).where(job_runs.c.job == current.name, _OPEN))
        raise Conflict("The job is running.", code="job_already_running", run_id=running and running.id)
    tx.wake(WAKE_CHANNEL)
    return fresh


def replayable(tx: Tx, run_id: str) -> str:
    """The job of a failed run. Raises NotFound, or Conflict for a run that did not fail."""
    row = tx.first(sa.select(job_runs.c.job, job_runs.c.state).where(job_runs.c.id == run_id))
    if row is None:
        raise NotFound("There is no such run.")
    if row.state != FAILED:
        raise Conflict("Only a failed run can be replayed.")
    return str(row.job)


def _insert(tx: Tx, job: str, trigger: Trigger, state: str, **values: Any) -> str | None:
    """None when the tick has its row already, or the job an open run."""
    row: dict[str, Any] = {"id": new_id("run", tx.now), "job": job, "trigger": trigger, "state": state}
    row |= {"claim_no": 0, "created_at": tx.now, **values}
    made = bulk_insert(tx, job_runs, [row], skip_existing=(), returning="id")
    return str(made[0]) if made else None


def waiting(tx: Tx, jobs: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Runs that nobody holds: queued, or running under a lease that is over."""
    lapsed = sa.and_(job_runs.c.state == RUNNING, job_runs.c.lease_until <= tx.now)
    mine = tx.any_of(job_runs.c.job, jobs, "jobs")
    return tx.rows(
        sa.select(job_runs).where(mine, sa.or_(job_runs.c.state == QUEUED, lapsed)).order_by(job_runs.c.id)
    )


def claim(
    tx: Tx, currents: Sequence[Current], owner: str, lease_seconds: float
) -> tuple[list[Claim], list[str]]:
    """Take what waits; answers the claims and the ids of runs given up because their owners kept dying."""
    by_name = {current.name: current for current in currents}
    claims: list[Claim] = []
    given_up: list[str] = []
    for row in waiting(tx, sorted(by_name)):
        if row.state == RUNNING and row.claim_no >= MAX_CLAIMS:
            if _give_up(tx, row):
                given_up.append(row.id)
            continue
        values = {"state": RUNNING, "owner": owner, "claim_no": row.claim_no + 1, "started_at": tx.now}
        if _move(tx, _as_seen(row), values | {"lease_until": _lease(tx, lease_seconds)}):
            one = by_name[row.job]
            claims.append(
                Claim(
                    row.id, row.job, row.trigger, owner, row.claim_no + 1, one.batch_size, one.timeout_seconds
                )
            )
    return claims, given_up


def extend(tx: Tx, held: Claim, lease_seconds: float) -> bool:
    """Hold the lease longer; False when it is another's by now."""
    return _move(tx, _fence(held), {"lease_until": _lease(tx, lease_seconds)})


def note_progress(tx: Tx, held: Claim, done: int, total: int) -> bool:
    """False when the run is another's by now."""
    return _move(tx, _fence(held), {"progress_done": done, "progress_total": total})


def finish(tx: Tx, held: Claim, outcome: Outcome, kept_runs: int = KEPT_RUNS) -> bool:
    """End the run; a stale owner changes nothing and hears False. Saying it again is the same as saying it once."""
    values: dict[str, Any] = {"state": outcome.state, "result": outcome.result, "error": outcome.error}
    if outcome.progress is not None:
        values |= {"progress_done": outcome.progress[0], "progress_total": outcome.progress[1]}
    if not _move(tx, _fence(held), values | {"finished_at": tx.now, "lease_until": None}):
        return _ended_by(tx, held)
    _count(tx, held.job, outcome.state)
    _prune(tx, held.job, kept_runs)
    return True


def hand_back(tx: Tx, held: Claim) -> bool:
    """Put an unfinished run back into the queue, for a process that stops in good order."""
    tx.wake(WAKE_CHANNEL)
    return _move(tx, _fence(held), {"state": QUEUED, "lease_until": None})


def void_leases(tx: Tx, owner: str) -> int:
    """End the leases of every other owner: right only where this process is the only one (SQLite at start)."""
    others = job_runs.update().where(job_runs.c.state == RUNNING, job_runs.c.owner != owner)
    return tx.execute(others.values(lease_until=tx.now)).rowcount


def _lease(tx: Tx, seconds: float) -> int:
    return tx.now + int(seconds * SECOND)


def _as_seen(row: sa.Row[Any]) -> sa.ColumnElement[bool]:
    """The row has not moved since it was read; an extended lease counts as a move."""
    same = sa.and_(
        job_runs.c.id == row.id, job_runs.c.state == row.state, job_runs.c.claim_no == row.claim_no
    )
    return sa.and_(same, job_runs.c.lease_until.is_not_distinct_from(row.lease_until))


def _fence(held: Claim) -> sa.ColumnElement[bool]:
    mine = sa.and_(job_runs.c.id == held.run_id, job_runs.c.claim_no == held.claim_no)
    return sa.and_(mine, job_runs.c.owner == held.owner, job_runs.c.state == RUNNING)


def _move(tx: Tx, where: sa.ColumnElement[bool], values: dict[str, Any]) -> bool:
    if values.get("finished_at") is not None:
        tx.wake(FINISHED_CHANNEL)
    return tx.execute(job_runs.update().where(where).values(values)).rowcount == 1


def _give_up(tx: Tx, row: sa.Row[Any]) -> bool:
    ended = {"state": FAILED, "error": LEASE_LOST, "finished_at": tx.now, "lease_until": None}
    given_up = _move(tx, _as_seen(row), ended)
    if given_up:
        _count(tx, row.job, FAILED)
    return given_up


def _ended_by(tx: Tx, held: Claim) -> bool:
    """Whether this very claim ended the run before: its commit stood although the answer was lost."""
    row = tx.first(
        sa.select(job_runs.c.owner, job_runs.c.claim_no, job_runs.c.state).where(job_runs.c.id == held.run_id)
    )
    return (
        row is not None
        and (row.owner, row.claim_no) == (held.owner, held.claim_no)
        and row.state in (SUCCEEDED, FAILED)
    )


def _count(tx: Tx, job: str, state: str) -> None:
    column = job_settings.c.succeeded_count if state == SUCCEEDED else job_settings.c.failed_count
    tx.execute(job_settings.update().where(job_settings.c.name == job).values({column: column + 1}))


def _prune(tx: Tx, job: str, kept_runs: int) -> None:
    newest_first = (
        sa.select(job_runs.c.id).where(job_runs.c.job == job, ~_OPEN).order_by(job_runs.c.id.desc())
    )
    old = newest_first.offset(kept_runs).limit(PRUNE_BATCH)
    tx.execute(job_runs.delete().where(job_runs.c.id.in_(old.scalar_subquery())))
