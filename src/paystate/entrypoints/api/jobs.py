"""Jobs over HTTP: run one now, see how it does, change, enable, disable, replay (requirements A9, A10)."""

from typing import Annotated, Any, Self

from fastapi import Path, Query
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from paystate.entrypoints.api.answers import PageOut, answer, page_answer, page_request
from paystate.entrypoints.api.fields import In, Out, PageQuery, refused
from paystate.entrypoints.api.guard import CRON, JOBS, Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.errors import Unavailable
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Change, JobEngine, JobStats, RunView, runs
from paystate.machinery.jobs import Current as CurrentJob
from paystate.machinery.jobs import stats as job_stats

WAIT_SECONDS = 30.0
JobName = Annotated[str, Path(alias="name", pattern=r"^[a-z][a-z0-9-]{0,79}$")]
RunId = Annotated[str, Path(alias="runId", pattern=r"^run_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api", "Jobs")


class JobPatch(In):
    """What changes about a job."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"schedule": "*/10 * * * *", "timeZone": "UTC"}]}
    )

    schedule: Annotated[str, Field(max_length=100)] | None = None
    time_zone: Annotated[str, Field(max_length=64)] | None = None
    batch_size: int | None = None
    timeout_seconds: int | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise refused("nothing_to_change", "Name at least one field.")
        return self


class ProgressOut(Out):
    """How far a run is, in items of its own."""

    done: int
    total: int


class RunOut(Out):
    """One run of a job."""

    run_id: str
    job: str
    status: str
    trigger: str
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None
    result: dict[str, Any] | None
    error: str | None
    progress: ProgressOut | None
    replay_of: str | None
    attempts: int
    created_at: str


class HealthOut(Out):
    """Whether a job does what it should, and why not."""

    state: str
    reason: str


class StatsOut(Out):
    """Counts since the history was last cleared; durations in milliseconds."""

    total_executions: int
    success_count: int
    failure_count: int
    success_rate: float | None
    average_duration: int | None
    p95_duration: int | None
    last_execution: RunOut | None
    next_run_at: str | None


class JobOut(Out):
    """A job as it is set at present, and how it does."""

    name: str
    description: str
    schedule: str
    time_zone: str
    batch_size: int
    timeout_seconds: int
    enabled: bool
    health: HealthOut
    stats: StatsOut


class JobsOut(Out):
    """Every job, by name."""

    data: list[JobOut]


@routes.get("/jobs", **operation("listJobs", CRON, JobsOut, "jobs_unavailable"))
async def list_all(call: Current) -> Response:
    """Every job."""
    engine = await _engine(call)

    def look(tx: Tx) -> list[JobOut]:
        return [_job_out(current, job_stats(tx, current)) for current in engine.catalogue.all(tx)]

    return answer(JobsOut(data=await call.db.read(look)))


@routes.get("/jobs/{name}", **operation("getJob", CRON, JobOut, "not_found", "jobs_unavailable"))
async def get_one(call: Current, name: JobName) -> Response:
    """The last run, statistics, health, and when it runs next."""
    engine = await _engine(call)
    return answer(await call.db.read(lambda tx: _one(engine, name, tx)))


@routes.post(
    "/jobs/{name}",
    **operation(
        "runJob",
        CRON,
        RunOut,
        "not_found",
        "job_disabled",
        "job_already_running",
        "jobs_unavailable",
        also=(202,),
    ),
)
async def run_now(call: Current, name: JobName) -> Response:
    """Run it now: 200 with its result within 30 s, else 202 with the id of the run."""
    return _run_answer(await (await _engine(call)).run_now(name, "api", WAIT_SECONDS))


@routes.patch("/jobs/{name}", **operation("updateJob", JOBS, JobOut, "not_found", "jobs_unavailable"))
async def update(call: Current, name: JobName, body: JobPatch) -> Response:
    """Reschedule it, or change its batch size or time-out; a new schedule starts from now."""
    engine = await _engine(call)
    wanted = Change(
        schedule=body.schedule,
        time_zone=body.time_zone,
        batch_size=body.batch_size,
        timeout_seconds=body.timeout_seconds,
    )

    def work(tx: Tx) -> JobOut:
        engine.catalogue.reschedule(tx, name, wanted)
        call.note(tx, "job.updated", name, after=wanted.given())
        return _one(engine, name, tx)

    return answer(await call.db.write(work))


@routes.post("/jobs/{name}/enable", **operation("enableJob", JOBS, JobOut, "not_found", "jobs_unavailable"))
async def enable(call: Current, name: JobName) -> Response:
    """Let it run again; what passed meanwhile is not caught up."""
    return await _switch(call, name, enabled=True)


@routes.post("/jobs/{name}/disable", **operation("disableJob", JOBS, JobOut, "not_found", "jobs_unavailable"))
async def disable(call: Current, name: JobName) -> Response:
    """Stop it until it is enabled again."""
    return await _switch(call, name, enabled=False)


@routes.get(
    "/jobs/{name}/runs", **operation("listJobRuns", CRON, PageOut[RunOut], "not_found", "jobs_unavailable")
)
async def history(call: Current, name: JobName, query: Annotated[PageQuery, Query()]) -> Response:
    """Its runs, newest first."""
    engine = await _engine(call)
    page = page_request(call, "job-runs", query)

    def look(tx: Tx) -> Any:
        engine.catalogue.one(tx, name)
        return runs(tx, name, page)

    return page_answer(call, "job-runs", await call.db.read(look), run_out)


@routes.delete(
    "/jobs/{name}/runs", **operation("clearJobRuns", JOBS, JobOut, "not_found", "jobs_unavailable")
)
async def clear(call: Current, name: JobName) -> Response:
    """Start its history and statistics afresh; the audit log keeps who did so."""
    engine = await _engine(call)

    def work(tx: Tx) -> JobOut:
        before = engine.catalogue.one(tx, name)
        engine.catalogue.clear_history(tx, name)
        counted = {"succeeded": before.succeeded_count, "failed": before.failed_count}
        call.note(tx, "job.history_cleared", name, before=counted)
        return _one(engine, name, tx)

    return answer(await call.db.write(work))


@routes.post(
    "/job-runs/{runId}/replay",
    **operation(
        "replayJobRun",
        CRON,
        RunOut,
        "not_found",
        "invalid_state",
        "job_disabled",
        "job_already_running",
        "jobs_unavailable",
        also=(202,),
    ),
)
async def replay(call: Current, run_id: RunId) -> Response:
    """Run a failed run's job again."""
    return _run_answer(await (await _engine(call)).replay(run_id, WAIT_SECONDS))


async def _engine(call: Call) -> JobEngine:
    if call.desk.jobs is None:
        raise Unavailable("This process was started without jobs.", code="jobs_unavailable")
    engine = call.desk.jobs
    if await call.db.read(lambda tx: len(engine.catalogue.all(tx)) < len(engine.catalogue.jobs)):
        await call.db.write(engine.catalogue.register)
    return engine


async def _switch(call: Call, name: str, *, enabled: bool) -> Response:
    engine = await _engine(call)

    def work(tx: Tx) -> JobOut:
        engine.catalogue.set_enabled(tx, name, enabled=enabled)
        call.note(tx, "job.enabled" if enabled else "job.disabled", name)
        return _one(engine, name, tx)

    return answer(await call.db.write(work))


def _one(engine: JobEngine, name: str, tx: Tx) -> JobOut:
    current = engine.catalogue.one(tx, name)
    return _job_out(current, job_stats(tx, current))


def _run_answer(run: RunView) -> Response:
    return answer(run_out(run), 200 if run.finished_at is not None else 202)


def run_out(run: RunView) -> RunOut:
    """The run as it is shown (A9: `{runId, status, startedAt, durationMs, result}` and more)."""
    return RunOut(
        run_id=run.id,
        job=run.job,
        status=run.state.upper(),
        trigger=run.trigger.upper(),
        started_at=rfc3339_or_none(run.started_at),
        finished_at=rfc3339_or_none(run.finished_at),
        duration_ms=run.duration_ms,
        result=None if run.result is None else dict(run.result),
        error=run.error,
        progress=_progress(run),
        replay_of=run.replay_of,
        attempts=run.attempts,
        created_at=rfc3339(run.created_at),
    )


def _progress(run: RunView) -> ProgressOut | None:
    if run.progress_done is None or run.progress_total is None:
        return None
    return ProgressOut(done=run.progress_done, total=run.progress_total)


def _job_out(current: CurrentJob, figures: JobStats) -> JobOut:
    last = figures.last_execution
    return JobOut(
        name=current.name,
        description=current.description,
        schedule=current.schedule.expression,
        time_zone=current.schedule.time_zone,
        batch_size=current.batch_size,
        timeout_seconds=current.timeout_seconds,
        enabled=current.enabled,
        health=HealthOut(state=figures.health.state.upper(), reason=figures.health.reason),
        stats=StatsOut(
            total_executions=figures.total_executions,
            success_count=figures.success_count,
            failure_count=figures.failure_count,
            success_rate=figures.success_rate_percent,
            average_duration=figures.average_duration_ms,
            p95_duration=figures.p95_duration_ms,
            last_execution=None if last is None else run_out(last),
            next_run_at=rfc3339_or_none(figures.next_tick),
        ),
    )
