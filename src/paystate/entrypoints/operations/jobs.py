"""Operations on jobs: list, run now, history, statistics, replay, enable, disable."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from paystate.app import App
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.entrypoints.worker import job_engine
from paystate.kit.clock import rfc3339_or_none
from paystate.kit.paging import MAX_LIMIT, PageRequest
from paystate.machinery import jobs
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Catalogue, Current, JobEngine, RunView

WAIT_SECONDS = 30.0
TICK_SECONDS = 0.2


class OneJob(Order, frozen=True, kw_only=True):
    job: str


class SomeJobs(Order, frozen=True, kw_only=True):
    job: str | None = None


class History(Order, frozen=True, kw_only=True):
    job: str
    limit: int = 20


class Replay(Order, frozen=True, kw_only=True):
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


@operation("jobs.run", OneJob)
async def run(app: App, order: OneJob) -> Answer:
    engine = job_engine(app)
    return await _done(app, engine, engine.run_now(order.job, "cli", WAIT_SECONDS))


@operation("jobs.replay", Replay)
async def replay(app: App, order: Replay) -> Answer:
    engine = job_engine(app)
    return await _done(app, engine, engine.replay(order.run, WAIT_SECONDS))


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
    return _brief(await app.db.write(lambda tx: catalogue.set_enabled(tx, order.job, enabled=True)))


@operation("jobs.disable", OneJob)
async def disable(app: App, order: OneJob) -> Answer:
    catalogue = await _catalogue(app)
    return _brief(await app.db.write(lambda tx: catalogue.set_enabled(tx, order.job, enabled=False)))


async def _catalogue(app: App) -> Catalogue:
    catalogue = job_engine(app).catalogue
    await app.db.write(catalogue.register)
    return catalogue


async def _done(app: App, engine: JobEngine, asked: Coroutine[Any, Any, RunView]) -> Answer:
    """Wait for the run. It is carried out here, to its end, unless a worker was faster; then for half a minute."""
    waiting = asyncio.create_task(asked)
    while not waiting.done():
        await engine.tick()
        await asyncio.wait({waiting}, timeout=TICK_SECONDS)
    await engine.settle()
    run_id = waiting.result().id
    ended = await app.db.read(lambda tx: jobs.one_run(tx, run_id))
    return {"ok": ended.state != "FAILED", **_run(ended)}


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
        "result": run.result,
        "error": run.error,
    }
