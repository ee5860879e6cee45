"""How each job is set at present: declared in code, configured, or changed by an operator; the later wins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from paystate.kit.clock import SECOND, Instant
from paystate.kit.errors import FieldError, NotFound, Refused
from paystate.machinery.db import Tx, bulk_insert
from paystate.machinery.jobs.declare import MAX_BATCH_SIZE, MAX_TIMEOUT_SECONDS, Job
from paystate.machinery.jobs.model import job_settings
from paystate.machinery.jobs.schedule import Schedule, parse_schedule

WAKE_CHANNEL = "jobs"
LATE_SECONDS = 120
"""A tick, a queued run or a lapsed lease older than this means that nobody is working."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What shall differ from the declaration; None leaves a value alone."""

    schedule: str | None = None
    time_zone: str | None = None
    batch_size: int | None = None
    timeout_seconds: int | None = None

    def given(self) -> dict[str, Any]:
        """The values that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Current:
    """A job as it is set at present."""

    name: str
    description: str
    schedule: Schedule
    batch_size: int
    timeout_seconds: int
    enabled: bool
    ticked_until: Instant
    cleared_before: Instant
    succeeded_count: int
    failed_count: int

    def due_tick(self, now: Instant) -> Instant | None:
        """The latest tick if nobody has dealt with it; of several missed ones only that (requirement A10)."""
        tick = self.schedule.latest(now) if self.enabled else None
        return tick if tick is not None and tick > self.ticked_until else None

    def late_tick(self, now: Instant) -> Instant | None:
        """The first tick nobody dealt with, if that was longer ago than a working process ever takes."""
        tick = self.schedule.next(self.ticked_until) if self.enabled else None
        return tick if tick is not None and tick < now - LATE_SECONDS * SECOND else None


class Catalogue:
    """The jobs of this process with what the configuration changes about them."""

    def __init__(self, jobs: Mapping[str, Job], *, time_zone: str, overrides: Mapping[str, Change]) -> None:
        unknown = overrides.keys() - jobs.keys()
        if unknown:
            raise ValueError(f"no such job: {', '.join(sorted(unknown))}")
        self.jobs = jobs
        self._time_zone = time_zone
        self._overrides = overrides
        for declared in jobs.values():
            _check(self._configured(declared))

    def register(self, tx: Tx) -> None:
        """Give each job its row. A new job waits for its next tick; what lies before was never its own."""
        rows = [
            {
                "name": name,
                "enabled": True,
                "ticked_until": tx.now,
                "succeeded_count": 0,
                "failed_count": 0,
                "cleared_before": 0,
                "updated_at": tx.now,
            }
            for name in sorted(self.jobs)
        ]
        bulk_insert(tx, job_settings, rows, skip_existing=("name",))

    def all(self, tx: Tx) -> Sequence[Current]:
        """Every job, by name."""
        rows = {row.name: row for row in tx.rows(sa.select(job_settings))}
        return [self._current(self.jobs[name], rows[name]) for name in sorted(self.jobs.keys() & rows.keys())]

    def one(self, tx: Tx, name: str) -> Current:
        """Raises NotFound."""
        row = tx.first(sa.select(job_settings).where(job_settings.c.name == name))
        if row is None or name not in self.jobs:
            raise NotFound("There is no job of that name.")
        return self._current(self.jobs[name], row)

    def set_enabled(self, tx: Tx, name: str, *, enabled: bool) -> Current:
        """Ticks that pass while a job is disabled are not caught up."""
        current = self.one(tx, name)
        if current.enabled != enabled:
            _update(tx, name, {"enabled": enabled, "ticked_until": tx.now})
        return self.one(tx, name)

    def reschedule(self, tx: Tx, name: str, change: Change) -> Current:
        """Change how a job runs. Raises Refused with one error per field; a new schedule starts from now."""
        current = self.one(tx, name)
        _check(
            replace(
                Change(schedule=current.schedule.expression, time_zone=current.schedule.time_zone),
                **change.given(),
            )
        )
        wanted = change.given()
        if wanted:
            moved = wanted.keys() & {"schedule", "time_zone"}
            _update(tx, name, wanted | ({"ticked_until": tx.now} if moved else {}))
        return self.one(tx, name)

    def clear_history(self, tx: Tx, name: str) -> None:
        """Start history and statistics afresh. The rows stay for the audit until retention takes them."""
        self.one(tx, name)
        _update(tx, name, {"cleared_before": tx.now, "succeeded_count": 0, "failed_count": 0})

    def _configured(self, declared: Job) -> Change:
        base = Change(
            schedule=declared.schedule,
            time_zone=self._time_zone,
            batch_size=declared.batch_size,
            timeout_seconds=declared.timeout_seconds,
        )
        return replace(base, **self._overrides.get(declared.name, Change()).given())

    def _current(self, declared: Job, row: sa.Row[Any]) -> Current:
        changed = Change(
            schedule=row.schedule,
            time_zone=row.time_zone,
            batch_size=row.batch_size,
            timeout_seconds=row.timeout_seconds,
        )
        values = (asdict(self._configured(declared)) | changed.given()).values()
        expression, time_zone, batch_size, timeout_seconds = values
        return Current(
            name=declared.name,
            description=declared.description,
            schedule=Schedule(expression, time_zone),
            batch_size=batch_size,
            timeout_seconds=timeout_seconds,
            enabled=row.enabled,
            ticked_until=Instant(row.ticked_until),
            cleared_before=Instant(row.cleared_before),
            succeeded_count=row.succeeded_count,
            failed_count=row.failed_count,
        )


def _update(tx: Tx, name: str, values: Mapping[str, object]) -> None:
    tx.execute(job_settings.update().where(job_settings.c.name == name).values(updated_at=tx.now, **values))
    tx.wake(WAKE_CHANNEL)


def _check(change: Change) -> None:
    """Raises Refused naming every field that cannot be."""
    errors = [*_schedule_errors(change)]
    for pointer, value, most in (
        ("/batchSize", change.batch_size, MAX_BATCH_SIZE),
        ("/timeoutSeconds", change.timeout_seconds, MAX_TIMEOUT_SECONDS),
    ):
        if value is not None and not 1 <= value <= most:
            errors.append(FieldError(pointer, "out_of_range", f"Between 1 and {most} is allowed."))
    if errors:
        raise Refused("The job cannot be set like that.", errors=errors)


def _schedule_errors(change: Change) -> list[FieldError]:
    try:
        parse_schedule(change.schedule or "* * * * *", change.time_zone or "UTC")
    except KeyError:
        return [FieldError("/timeZone", "unknown_time_zone", "A name such as Europe/Berlin is expected.")]
    except ValueError:
        return [FieldError("/schedule", "invalid_schedule", "Five cron fields that can occur are expected.")]
    return []
