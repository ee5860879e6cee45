"""Operations on jobs: list, run now, follow, history, statistics, replay, set, enable, disable, clear."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from paystate.app import App
from paystate.domain import audit
from paystate.domain.audit import AuditEntry
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.entrypoints.worker import job_engine
from paystate.kit.clock import rfc3339_or_none
from paystate.kit.ids import System
from paystate.kit.paging import MAX_LIMIT, PageRequest
from paystate.machinery import jobs
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Catalogue, Change, Current, JobEngine, RunView

WAIT_SECONDS = 30.0
TICK_SECONDS = 0.2


WHO = System("the owner of the installation")
ACTOR = "owner"

watching: ContextVar[Callable[[Answer], None] | None] = ContextVar("watching", default=None)
"""Where the command line works in this very process, it hears how far the run is."""


class OneJob(Order, frozen=True, kw_only=True):
    job: str


class RunJob(OneJob, frozen=True, kw_only=True):
    """With `follow` the answer of a running server comes at once, and `jobs.look` tells how far the run is."""

    follow: bool = False


class SetJob(OneJob, frozen=True, kw_only=True):
    """What shall change; None leaves it."""

    schedule: str | None = None
    time_zone: str | None = None
    batch_size: int | None = None
    timeout_seconds: int | None = None


class SomeJobs(Order, frozen=True, kw_only=True):
    job: str | None = None


class History(Order, frozen=True, kw_only=True):
    job: str
    limit: int = 20


class Replay(Order, frozen=True, kw_only=True):
    run: str
    follow: bool = False


class OneRun(Order, frozen=True, kw_only=True):
    run: str


@operation("jobs.list", Order)
async def list_(app: App, order: Order) -> Answer:
    del order
    catalogue = await _catalogue(app)
    rows = await app.db.read(lambda tx: [(one, jobs.stats(tx, one)) for one in catalogue.all(tx)])
    return {"data": [_brief(current) | _stats(stats) for current, stats in rows]}


@operation("jobs.stats", SomeJobs)
async def stats(app: App, order: SomeJobs) -> Answer:
    catalogue = await _catalogue(app)

    def read(tx: Tx) -> list[dict[str, Any]]:
        chosen = catalogue.all(tx) if order.job is None else [catalogue.one(tx, order.job)]
        return [{"name": one.name, **_stats(jobs.stats(tx, one))} for one in chosen]

    return {"data": await app.db.read(read)}


@operation("jobs.run", RunJob)
async def run(app: App, order: RunJob) -> Answer:
    engine = job_engine(app)
    if order.follow and watching.get() is None:
        return _answer(await engine.run_now(order.job, "cli"))
    return await _done(app, engine, engine.run_now(order.job, "cli", WAIT_SECONDS))


@operation("jobs.replay", Replay)
async def replay(app: App, order: Replay) -> Answer:
    engine = job_engine(app)
    if order.follow and watching.get() is None:
        return _answer(await engine.replay(order.run))
    return await _done(app, engine, engine.replay(order.run, WAIT_SECONDS))


@operation("jobs.look", OneRun)
async def look(app: App, order: OneRun) -> Answer:
    return _answer(await app.db.read(lambda tx: jobs.one_run(tx, order.run)))


@operation("jobs.history", History)
async def history(app: App, order: History) -> Answer:
    catalogue = await _catalogue(app)
    page = PageRequest(limit=max(1, min(order.limit, MAX_LIMIT)))

    def read(tx: Tx) -> Answer:
        found = jobs.runs(tx, catalogue.one(tx, order.job).name, page)
        return {"data": [_run(one) for one in found.rows], "hasMore": found.next_position is not None}

    return await app.db.read(read)


@operation("jobs.enable", OneJob)
async def enable(app: App, order: OneJob) -> Answer:
    catalogue = await _catalogue(app)
    return _brief(await app.db.write(lambda tx: _switch(tx, catalogue, order.job, enabled=True)))


@operation("jobs.disable", OneJob)
async def disable(app: App, order: OneJob) -> Answer:
    catalogue = await _catalogue(app)
    return _brief(await app.db.write(lambda tx: _switch(tx, catalogue, order.job, enabled=False)))


@operation("jobs.set", SetJob)
async def set_(app: App, order: SetJob) -> Answer:
    catalogue = await _catalogue(app)
    wanted = Change(
        schedule=order.schedule,
        time_zone=order.time_zone,
        batch_size=order.batch_size,
        timeout_seconds=order.timeout_seconds,
    )

    def write(tx: Tx) -> Answer:
        changed = catalogue.reschedule(tx, order.job, wanted)
        _note(tx, "job.updated", order.job, wanted.given())
        return _brief(changed)

    return await app.db.write(write)


@operation("jobs.clear", OneJob)
async def clear(app: App, order: OneJob) -> Answer:
    catalogue = await _catalogue(app)

    def write(tx: Tx) -> Answer:
        catalogue.clear_history(tx, order.job)
        _note(tx, "job.history_cleared", order.job, {})
        return _brief(catalogue.one(tx, order.job))

    return await app.db.write(write)


def _note(tx: Tx, action: str, name: str, after: dict[str, Any]) -> None:
    """An operator's act has its audit entry in the same commit."""
    audit.record(tx, WHO, [AuditEntry(None, ACTOR, action, name, {}, after, "command line")])


def _switch(tx: Tx, catalogue: Catalogue, name: str, *, enabled: bool) -> Current:
    _note(tx, "job.enabled" if enabled else "job.disabled", name, {})
    return catalogue.set_enabled(tx, name, enabled=enabled)


async def _catalogue(app: App) -> Catalogue:
    catalogue = job_engine(app).catalogue
    await app.db.write(catalogue.register)
    return catalogue


async def _done(app: App, engine: JobEngine, asked: Coroutine[Any, Any, RunView]) -> Answer:
    """Wait for the run. It is carried out here, to its end, unless a worker was faster; then for half a minute."""
    waiting = asyncio.create_task(asked)
    watch = asyncio.create_task(_watch(app, watching.get()))
    try:
        while not waiting.done():
            await engine.tick()
            await asyncio.wait({waiting}, timeout=TICK_SECONDS)
        await engine.settle()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    run_id = waiting.result().id
    return _answer(await app.db.read(lambda tx: jobs.one_run(tx, run_id)))


async def _watch(app: App, tell: Callable[[Answer], None] | None) -> None:
    """Tell how far the runs of this process are, for whoever looks at a terminal."""
    while tell is not None:
        await asyncio.sleep(TICK_SECONDS)
        for found in await app.db.read(jobs.running):
            tell(_run(found))


def _answer(run: RunView) -> Answer:
    return {"ok": run.state != "FAILED", **_run(run)}


def _brief(current: Current) -> dict[str, Any]:
    return {
        "name": current.name,
        "description": current.description,
        "schedule": current.schedule.expression,
        "timeZone": current.schedule.time_zone,
        "enabled": current.enabled,
    }


def _stats(found: jobs.JobStats) -> dict[str, Any]:
    return {
        "totalExecutions": found.total_executions,
        "successCount": found.success_count,
        "failureCount": found.failure_count,
        "successRate": found.success_rate_percent,
        "averageDuration": found.average_duration_ms,
        "p95Duration": found.p95_duration_ms,
        "lastExecution": None if found.last_execution is None else _run(found.last_execution),
        "nextRunAt": rfc3339_or_none(found.next_tick),
        "health": {"state": found.health.state, "reason": found.health.reason},
    }


def _run(run: RunView) -> dict[str, Any]:
    return {
        "runId": run.id,
        "job": run.job,
        "status": run.state,
        "trigger": run.trigger,
        "startedAt": rfc3339_or_none(run.started_at),
        "finishedAt": rfc3339_or_none(run.finished_at),
        "durationMs": run.duration_ms,
        "progress": None
        if run.progress_total is None
        else {"done": run.progress_done, "total": run.progress_total},
        "result": run.result,
        "error": run.error,
    }
