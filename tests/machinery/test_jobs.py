"""Jobs: one run per tick over all processes, leases, time-outs, history, and what an operator may change."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, FrozenClock, parse_rfc3339
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.paging import PageRequest
from paystate.machinery import failpoints
from paystate.machinery.db import Database, Tx, open_database
from paystate.machinery.jobs import (
    Change,
    Job,
    JobEngine,
    JobProblem,
    Run,
    RunView,
    job,
    one_run,
    queue,
    runs,
    stats,
)
from paystate.machinery.jobs.model import job_runs, job_settings

DEADLINE_SECONDS = 10
START = parse_rfc3339("2026-09-21T14:13:20Z")


class Bench:
    """Jobs of a test, the engines that run them, and what those complained about."""

    def __init__(self, database: Database, clock: FrozenClock) -> None:
        self.database = database
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.problems: list[JobProblem] = []
        self.started: list[str] = []
        self.gate = asyncio.Event()

    def engine(self, owner: str = "one", database: Database | None = None, **options: Any) -> JobEngine:
        async def note(problem: JobProblem) -> None:
            self.problems.append(problem)

        return JobEngine(
            database or self.database, self, owner=owner, jobs=self.jobs, on_problem=note, **options
        )

    def add(
        self, name: str = "sweep", work: Callable[..., Awaitable[Any]] | None = None, **options: Any
    ) -> None:
        async def plain(bench: "Bench", run: Run) -> dict[str, Any]:
            bench.started.append(run.id)
            return {"found": 3}

        declared = {"schedule": "*/5 * * * *", "description": "A test."} | options
        job(name, into=self.jobs, **declared)(work or plain)

    def add_waiting(self, name: str = "sweep", **options: Any) -> None:
        async def wait(bench: "Bench", run: Run) -> dict[str, Any]:
            bench.started.append(run.id)
            await bench.gate.wait()
            return {"by": run.id}

        self.add(name, wait, **options)

    async def all_runs(self, name: str = "sweep") -> list[RunView]:
        page = await self.database.read(lambda tx: runs(tx, name, PageRequest(limit=100)))
        return sorted(page.rows, key=lambda run: run.created_at)

    async def states(self, name: str = "sweep") -> list[str]:
        return [run.state for run in await self.all_runs(name)]

    async def sql(self, statement: str, **values: Any) -> None:
        await self.database.write(lambda tx: tx.execute(sa.text(statement), values))

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await condition():
                await asyncio.sleep(0.005)

    async def until_started(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.started) >= count

        await self.until(enough)


@pytest.fixture
async def bench(database: Database, clock: FrozenClock):
    clock.advance(START - clock.now())
    yield Bench(database, clock)
    failpoints.arm(None)


async def test_a_job_runs_when_its_tick_comes_and_not_before(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    assert await engine.tick() == []
    bench.clock.advance(2 * MINUTE)
    (run_id,) = await engine.tick()
    await engine.settle()
    (run,) = await bench.all_runs()
    assert (run.id, run.state, run.trigger, run.result) == (run_id, "SUCCEEDED", "schedule", {"found": 3})
    assert run.tick_at == parse_rfc3339("2026-09-21T14:15:00Z")
    assert await engine.tick() == []


async def test_many_engines_make_one_run_of_each_tick(bench: Bench, database_url: str) -> None:
    bench.add()
    bench.add("other", schedule="*/10 * * * *")
    several = database_url.startswith("postgresql")
    databases = (
        [open_database(database_url, pool_size=3, clock=bench.clock) for _ in range(3)] if several else []
    )
    engines = [bench.engine(str(n), database) for n, database in enumerate(databases or [bench.database] * 3)]
    bench.clock.advance(-200 * SECOND)
    await asyncio.gather(*(engine.tick() for engine in engines))
    for _ in range(12):
        bench.clock.advance(5 * MINUTE)
        await asyncio.gather(*(engine.tick() for engine in engines for _ in range(2)))
        await asyncio.gather(*(engine.settle() for engine in engines))
    for database in databases:
        database.close()
    found = await bench.all_runs()
    assert len({run.tick_at for run in found}) == len(found) == 12
    assert await bench.states() == ["SUCCEEDED"] * 12
    assert await bench.states("other") == ["SUCCEEDED"] * 6
    assert len(bench.started) == len(set(bench.started)) == 18


async def test_ticks_missed_while_nobody_was_there_are_caught_up_once(bench: Bench) -> None:
    bench.add()
    await bench.engine().tick()
    bench.clock.advance(3 * DAY)
    engines = [bench.engine(str(n)) for n in range(2)]
    for engine in engines * 2:
        await engine.tick()
        await engine.settle()
    (run,) = await bench.all_runs()
    assert run.tick_at == parse_rfc3339("2026-09-24T14:10:00Z")
    assert [(p.kind, p.job) for p in bench.problems] == [("missed", "sweep")]
    assert "2026-09-21T14:15:00Z" in bench.problems[0].detail


async def test_a_tick_that_meets_a_run_still_open_is_done_with(bench: Bench) -> None:
    bench.add_waiting()
    engine, other = bench.engine(), bench.engine("two")
    for _ in range(3):
        await engine.tick()
        await other.tick()
        bench.clock.advance(30 * SECOND)
    bench.clock.advance(5 * MINUTE)
    await engine.tick()
    await bench.until_started(1)
    await bench.database.write(lambda tx: tx.execute(job_runs.update().values(lease_until=tx.now + DAY)))
    bench.clock.advance(5 * MINUTE)
    await engine.tick()
    await other.tick()
    bench.gate.set()
    await engine.settle()
    assert await bench.states() == ["SUCCEEDED", "SKIPPED"]
    bench.clock.advance(5 * MINUTE)
    await engine.tick()
    await engine.settle()
    assert await bench.states() == ["SUCCEEDED", "SKIPPED", "SUCCEEDED"]


async def test_a_crash_between_row_and_mark_makes_neither_a_double_nor_a_hole(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.tick()
    bench.clock.advance(5 * MINUTE)
    failpoints.arm("schedule.after_enqueue=raise@1")
    with pytest.raises(failpoints.FailpointHit):
        await engine.tick()
    assert await bench.all_runs() == []
    await engine.tick()
    await engine.settle()
    assert await bench.states() == ["SUCCEEDED"]


async def test_a_lost_lease_runs_again_and_the_stale_finish_changes_nothing(bench: Bench) -> None:
    bench.add_waiting()
    paused, second = bench.engine("paused"), bench.engine("second")
    await paused.tick()
    bench.clock.advance(5 * MINUTE)
    (run_id,) = await paused.tick()
    await bench.until_started(1)
    assert await second.tick() == []
    bench.clock.advance(61 * SECOND)
    assert await second.tick() == [run_id]
    await bench.until_started(2)
    bench.gate.set()
    await paused.settle()
    between = await bench.database.read(lambda tx: one_run(tx, run_id))
    await second.settle()
    after = await bench.database.read(lambda tx: one_run(tx, run_id))
    assert (paused.stale_finishes, second.stale_finishes) == (1, 0)
    assert between.state in ("RUNNING", "SUCCEEDED")
    assert (after.state, after.attempts, after.error) == ("SUCCEEDED", 2, None)
    counted = await bench.database.read(lambda tx: stats(tx, second.catalogue.one(tx, "sweep")))
    assert counted.total_executions == 1


async def test_the_heartbeat_keeps_the_lease(bench: Bench) -> None:
    bench.add_waiting()
    engine, other = bench.engine(heartbeat_seconds=0.01), bench.engine("two")
    await engine.tick()
    bench.clock.advance(5 * MINUTE)
    (run_id,) = await engine.tick()
    for _ in range(3):
        bench.clock.advance(50 * SECOND)
        wanted = bench.clock.now() + 60 * SECOND

        async def extended(wanted: int = wanted) -> bool:
            query = sa.select(job_runs.c.lease_until).where(job_runs.c.id == run_id)
            return await bench.database.read(lambda tx: tx.execute(query).scalar_one()) == wanted

        await bench.until(extended)
        assert await other.tick() == []
    bench.gate.set()
    await engine.settle()
    assert (await bench.all_runs())[0].attempts == 1


async def test_work_stops_when_its_lease_is_anothers(bench: Bench) -> None:
    ended: list[str] = []

    async def work(bench: Bench, run: Run) -> dict[str, Any]:
        bench.started.append(run.id)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled" if not run.still_mine() else "still mine")
        return {}

    bench.add(work=work)
    engine = bench.engine(heartbeat_seconds=0.01)
    run = await engine.run_now("sweep", "manual")
    await engine.tick()
    await bench.until_started(1)
    await bench.sql("UPDATE job_runs SET owner = 'thief', claim_no = claim_no + 1")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await engine.settle()
    assert ended == ["cancelled"]
    assert engine.stale_finishes == 1
    assert (await bench.database.read(lambda tx: one_run(tx, run.id))).state == "RUNNING"


async def test_a_run_whose_owners_keep_dying_is_given_up(bench: Bench) -> None:
    bench.add_waiting()
    engines = [bench.engine(str(n)) for n in range(5)]
    await engines[0].tick()
    bench.clock.advance(5 * MINUTE)
    for engine in engines:
        await engine.tick()
        bench.clock.advance(61 * SECOND)
    assert len(bench.started) <= queue.MAX_CLAIMS
    run = (await bench.all_runs())[0]
    assert (run.state, run.error, run.attempts) == ("FAILED", "lease_lost", queue.MAX_CLAIMS)
    assert ("failed", "sweep", "lease_lost") in [(p.kind, p.job, p.detail) for p in bench.problems]
    bench.gate.set()
    await asyncio.gather(*(engine.settle() for engine in engines))
    assert (await bench.database.read(lambda tx: one_run(tx, run.id))).state == "FAILED"


async def test_the_maximum_run_time_ends_work_that_hangs(bench: Bench) -> None:
    bench.add(timeout_seconds=1)
    bench.add("sibling", timeout_seconds=1)
    engine = bench.engine(heartbeat_seconds=0.05)
    failpoints.arm("job.hang=sleep:600@1")
    await engine.run_now("sweep", "manual")
    await engine.run_now("sibling", "manual")
    await engine.tick()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await engine.settle()
    found = [*await bench.all_runs(), *await bench.all_runs("sibling")]
    assert sorted(run.state for run in found) == ["FAILED", "SUCCEEDED"]
    hung = next(run for run in found if run.state == "FAILED")
    assert hung.error is not None
    assert hung.error.startswith("timed_out")


async def test_a_job_that_raises_fails_alone_and_says_so_in_one_clean_line(bench: Bench) -> None:
    async def explode(bench: Bench, run: Run) -> dict[str, Any]:
        raise RuntimeError("no luck with psk_live_0123456789abcdef\nand a second line with more")

    bench.add("bad", explode)
    bench.add("good")
    engine = bench.engine()
    await engine.tick()
    bench.clock.advance(2 * MINUTE)
    await engine.tick()
    await engine.settle()
    (bad,), (good,) = await bench.all_runs("bad"), await bench.all_runs("good")
    assert (bad.state, good.state) == ("FAILED", "SUCCEEDED")
    assert bad.error is not None
    assert bad.error.startswith("RuntimeError: no luck")
    assert "0123456789" not in bad.error
    assert "\n" not in bad.error
    assert "second" not in bad.error
    assert [(p.kind, p.job, p.run_id) for p in bench.problems] == [("failed", "bad", bad.id)]


@pytest.mark.parametrize("result", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 300_000}])
async def test_a_result_that_cannot_be_kept_is_a_failure(bench: Bench, result: dict[str, Any]) -> None:
    async def work(bench: Bench, run: Run) -> dict[str, Any]:
        return result

    bench.add(work=work)
    engine = bench.engine()
    await engine.run_now("sweep", "manual")
    await engine.tick()
    await engine.settle()
    assert await bench.states() == ["FAILED"]


async def test_a_failure_after_the_work_is_a_failed_run(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    failpoints.arm("job.before_finish=raise@1")
    await engine.run_now("sweep", "manual")
    await engine.tick()
    await engine.settle()
    (run,) = await bench.all_runs()
    assert (run.state, run.result) == ("FAILED", None)


async def test_of_parallel_requests_one_runs_and_the_rest_conflict(bench: Bench) -> None:
    bench.add_waiting()
    engine = bench.engine()
    answers = await asyncio.gather(
        *(engine.run_now("sweep", "api") for _ in range(8)), return_exceptions=True
    )
    refused = [a for a in answers if isinstance(a, Conflict)]
    (queued,) = [a for a in answers if isinstance(a, RunView)]
    assert [r.code for r in refused] == ["job_already_running"] * 7
    assert {r.help["run_id"] for r in refused} == {queued.id}
    bench.gate.set()
    await engine.tick()
    await engine.settle()
    assert (await engine.run_now("sweep", "api")).state == "QUEUED"


async def test_a_disabled_or_unknown_job_does_not_run(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.tick()
    await bench.database.write(lambda tx: engine.catalogue.set_enabled(tx, "sweep", enabled=False))
    bench.clock.advance(HOUR)
    assert await engine.tick() == []
    with pytest.raises(Conflict) as refused:
        await engine.run_now("sweep", "manual")
    assert refused.value.code == "job_disabled"
    with pytest.raises(NotFound):
        await engine.run_now("nothing", "manual")
    await bench.database.write(lambda tx: engine.catalogue.set_enabled(tx, "sweep", enabled=True))
    assert await engine.tick() == [], "what passed while disabled is not caught up"
    bench.clock.advance(5 * MINUTE)
    assert len(await engine.tick()) == 1
    await engine.settle()


async def test_the_engine_runs_what_is_asked_for_and_the_asker_hears_the_end(bench: Bench) -> None:
    bench.add()
    engine, stop = bench.engine(), asyncio.Event()
    await bench.database.wakeups.start()
    running = asyncio.create_task(engine.run_forever(stop))
    try:
        run = await engine.run_now("sweep", "api", wait_seconds=DEADLINE_SECONDS)
        assert (run.state, run.result, run.duration_ms) == ("SUCCEEDED", {"found": 3}, 0)
    finally:
        stop.set()
        await running
        await bench.database.wakeups.stop()


async def test_an_engine_that_stops_puts_unfinished_work_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paystate.machinery.jobs.engine.STOP_SECONDS", 0.01)
    bench.add_waiting()
    engine, stop = bench.engine(), asyncio.Event()
    await engine.run_now("sweep", "manual")
    running = asyncio.create_task(engine.run_forever(stop))
    await bench.until_started(1)
    stop.set()
    await running
    assert await bench.states() == ["QUEUED"]
    bench.gate.set()
    other = bench.engine("two")
    assert len(await other.tick()) == 1
    await other.settle()
    assert await bench.states() == ["SUCCEEDED"]


async def test_the_scheduler_outlives_a_failing_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paystate.machinery.jobs.engine.POLL_SECONDS", 0.01)
    bench.add()
    engine, stop = bench.engine(), asyncio.Event()
    await engine.tick()
    bench.clock.advance(5 * MINUTE)
    failpoints.arm("schedule.after_enqueue=raise@1")
    running = asyncio.create_task(engine.run_forever(stop))
    await bench.until_started(1)
    stop.set()
    await running
    assert await bench.states() == ["SUCCEEDED"]


async def test_only_a_failed_run_is_replayed_and_the_replay_names_it(bench: Bench) -> None:
    async def second_time_lucky(bench: Bench, run: Run) -> dict[str, Any]:
        bench.started.append(run.id)
        if len(bench.started) == 1:
            raise RuntimeError("not yet")
        return {}

    bench.add(work=second_time_lucky)
    engine = bench.engine()
    failed = await engine.run_now("sweep", "manual")
    await engine.tick()
    await engine.settle()
    bench.clock.advance(SECOND)
    replay = await engine.replay(failed.id)
    assert (replay.trigger, replay.replay_of) == ("replay", failed.id)
    await engine.tick()
    await engine.settle()
    assert await bench.states() == ["FAILED", "SUCCEEDED"]
    with pytest.raises(Conflict):
        await engine.replay(replay.id)
    with pytest.raises(NotFound):
        await engine.replay("run_00000000000000000000000000")


async def test_operator_before_configuration_before_declaration(bench: Bench) -> None:
    bench.add(batch_size=7)
    engine = bench.engine(overrides={"sweep": Change(schedule="0 * * * *")}, time_zone="Europe/Berlin")
    await engine.tick()
    change = Change(time_zone="UTC", timeout_seconds=9)
    set_ = await bench.database.write(lambda tx: engine.catalogue.reschedule(tx, "sweep", change))
    assert (set_.schedule.expression, set_.schedule.time_zone) == ("0 * * * *", "UTC")
    assert (set_.batch_size, set_.timeout_seconds) == (7, 9)
    seen: list[int] = []

    async def work(bench: Bench, run: Run) -> dict[str, Any]:
        seen.append(run.batch_size)
        return {}

    bench.jobs["sweep"] = Job("sweep", "*/5 * * * *", "", 9, 7, work)
    await bench.database.write(lambda tx: engine.catalogue.reschedule(tx, "sweep", Change(batch_size=3)))
    bench.clock.advance(46 * MINUTE)
    await engine.tick()
    await engine.settle()
    assert seen == [], "a new schedule counts from the change on"
    bench.clock.advance(MINUTE)
    await engine.tick()
    await engine.settle()
    assert seen == [3]


async def test_a_setting_that_cannot_be_is_refused_field_by_field(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.tick()
    wrong = Change(schedule="every day", batch_size=0, timeout_seconds=10**9)
    with pytest.raises(Refused) as refused:
        await bench.database.write(lambda tx: engine.catalogue.reschedule(tx, "sweep", wrong))
    assert [e.pointer for e in refused.value.errors] == ["/schedule", "/batchSize", "/timeoutSeconds"]
    with pytest.raises(Refused) as refused:
        await bench.database.write(
            lambda tx: engine.catalogue.reschedule(tx, "sweep", Change(time_zone="Mars"))
        )
    assert [e.pointer for e in refused.value.errors] == ["/timeZone"]
    with pytest.raises(ValueError):
        bench.engine(overrides={"sweeep": Change(batch_size=1)})


async def test_statistics_count_all_and_measure_the_latest(bench: Bench) -> None:
    async def work(bench: Bench, run: Run) -> dict[str, Any]:
        bench.started.append(run.id)
        bench.clock.advance(len(bench.started) * SECOND)
        if len(bench.started) == 4:
            raise RuntimeError("the fourth")
        return {"n": len(bench.started)}

    bench.add(work=work)
    engine = bench.engine()
    for _ in range(4):
        await engine.run_now("sweep", "manual")
        await engine.tick()
        await engine.settle()
    counted = await bench.database.read(lambda tx: stats(tx, engine.catalogue.one(tx, "sweep")))
    assert (counted.total_executions, counted.success_count, counted.failure_count) == (4, 3, 1)
    assert counted.success_rate_percent == 75.0
    assert (counted.average_duration_ms, counted.p95_duration_ms) == (2500, 4000)
    assert counted.last_execution is not None
    assert counted.last_execution.error == "RuntimeError: the fourth"
    assert counted.next_tick == parse_rfc3339("2026-09-21T14:15:00Z")
    assert counted.health.state == "failing"


async def test_health_says_what_is_wrong(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.tick()

    async def health() -> str:
        return (
            await bench.database.read(lambda tx: stats(tx, engine.catalogue.one(tx, "sweep")))
        ).health.state

    assert await health() == "ok"
    bench.clock.advance(3 * MINUTE)
    assert await health() == "ok"
    bench.clock.advance(1 * MINUTE)
    assert await health() == "late"
    await engine.tick()
    await engine.settle()
    assert await health() == "ok"
    await engine.run_now("sweep", "manual")
    bench.clock.advance(121 * SECOND)
    assert await health() == "late"
    await bench.database.write(lambda tx: engine.catalogue.set_enabled(tx, "sweep", enabled=False))
    assert await health() == "disabled"


async def test_history_is_paged_cleared_and_kept_short(bench: Bench) -> None:
    bench.add()
    engine = bench.engine(kept_runs=6)
    for _ in range(9):
        bench.clock.advance(SECOND)
        await engine.run_now("sweep", "manual")
        await engine.tick()
        await engine.settle()
    first = await bench.database.read(lambda tx: runs(tx, "sweep", PageRequest(limit=4)))
    rest = await bench.database.read(
        lambda tx: runs(tx, "sweep", PageRequest(limit=4, after=first.next_position))
    )
    assert [run.id for run in (*first.rows, *rest.rows)] == bench.started[:2:-1]
    assert rest.next_position is None
    bench.clock.advance(SECOND)
    await bench.database.write(lambda tx: engine.catalogue.clear_history(tx, "sweep"))
    assert await bench.all_runs() == []
    counted = await bench.database.read(lambda tx: stats(tx, engine.catalogue.one(tx, "sweep")))
    assert (counted.total_executions, counted.last_execution, counted.success_rate_percent) == (0, None, None)
    kept = await bench.database.read(
        lambda tx: tx.execute(sa.select(sa.func.count()).select_from(job_runs)).scalar_one()
    )
    assert kept == 6


async def test_clearing_history_does_not_bring_a_tick_back(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.tick()
    bench.clock.advance(5 * MINUTE)
    await engine.tick()
    await engine.settle()
    bench.clock.advance(SECOND)
    await bench.database.write(lambda tx: engine.catalogue.clear_history(tx, "sweep"))
    await bench.sql("DELETE FROM job_runs")
    assert await engine.tick() == []


async def test_leases_of_dead_owners_can_be_voided_at_once(bench: Bench) -> None:
    bench.add_waiting()
    dead, fresh = bench.engine("dead"), bench.engine("fresh")
    await dead.run_now("sweep", "manual")
    (run_id,) = await dead.tick()
    assert await fresh.tick() == []
    assert await bench.database.write(lambda tx: queue.void_leases(tx, "fresh")) == 1
    assert await fresh.tick() == [run_id]
    bench.gate.set()
    await asyncio.gather(dead.settle(), fresh.settle())
    assert await bench.states() == ["SUCCEEDED"]


async def test_progress_is_seen_from_outside_and_kept_with_the_result(bench: Bench) -> None:
    async def work(bench: Bench, run: Run) -> dict[str, Any]:
        await run.progress(1, 10)
        bench.started.append(run.id)
        await bench.gate.wait()
        for done in range(2, 11):
            await run.progress(done, 10)
        return {}

    bench.add(work=work)
    engine = bench.engine()
    await engine.run_now("sweep", "manual")
    await engine.tick()
    await bench.until_started(1)
    (seen,) = await bench.all_runs()
    bench.gate.set()
    await engine.settle()
    (kept,) = await bench.all_runs()
    assert (seen.progress_done, seen.progress_total) == (1, 10)
    assert (kept.progress_done, kept.progress_total) == (10, 10)


async def test_an_end_said_twice_by_its_owner_is_one_end(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.run_now("sweep", "manual")

    def take(tx: Tx) -> queue.Claim:
        return queue.claim(tx, engine.catalogue.all(tx), "one", 60)[0][0]

    held = await bench.database.write(take)
    outcome = queue.Outcome("{}", None)
    assert [await bench.database.write(lambda tx: queue.finish(tx, held, outcome)) for _ in range(2)] == [
        True,
        True,
    ]
    succeeded = sa.select(job_settings.c.succeeded_count)
    assert await bench.database.read(lambda tx: tx.execute(succeeded).scalar_one()) == 1


@pytest.mark.parametrize("change", ["owner = 'two'", "claim_no = 2", "state = 'QUEUED'"])
async def test_a_fence_holds_against_each_statement(bench: Bench, change: str) -> None:
    bench.add()
    engine = bench.engine()
    await engine.run_now("sweep", "manual")
    held = await bench.database.write(lambda tx: queue.claim(tx, engine.catalogue.all(tx), "one", 60)[0][0])
    await bench.sql(f"UPDATE job_runs SET {change}")

    def attempt_all(tx: Tx) -> list[bool]:
        return [
            queue.extend(tx, held, 60),
            queue.note_progress(tx, held, 1, 2),
            queue.hand_back(tx, held),
            queue.finish(tx, held, queue.Outcome(None, "late")),
        ]

    before = await bench.database.read(lambda tx: tx.rows(sa.select(job_runs)))
    assert await bench.database.write(attempt_all) == [False] * 4
    assert await bench.database.read(lambda tx: tx.rows(sa.select(job_runs))) == before


async def test_a_lease_extended_at_the_last_moment_is_not_taken(bench: Bench) -> None:
    bench.add()
    engine = bench.engine()
    await engine.run_now("sweep", "manual")
    held = await bench.database.write(lambda tx: queue.claim(tx, engine.catalogue.all(tx), "one", 60)[0][0])
    bench.clock.advance(61 * SECOND)

    def take_after_a_heartbeat(tx: Tx) -> bool:
        (seen,) = queue.waiting(tx, ["sweep"])
        assert queue.extend(tx, held, 60)
        return queue._move(tx, queue._as_seen(seen), {"owner": "two"})

    assert not await bench.database.write(take_after_a_heartbeat)


CHILD = """
import asyncio, sys
from paystate.machinery.db import open_database
from paystate.machinery.jobs import JobEngine, job

@job("sweep", schedule="0 0 1 1 *", description="Waits for a line.")
async def sweep(context, run):
    await run.progress(1, 2)
    await asyncio.to_thread(sys.stdin.readline)
    return {"by": "child"}

async def main():
    database = open_database(sys.argv[1], pool_size=3)
    engine = JobEngine(database, None, owner="child", lease_seconds=1, heartbeat_seconds=0.2)
    await engine.tick()
    await engine.settle()
    print(engine.stale_finishes)
    database.close()

asyncio.run(main())
"""


@pytest.fixture
async def child(database_url: str):
    """A process of its own that works on the job, on a database with its own clock."""
    started: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, database_url, stdin=pipe, stdout=pipe
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _child_holds_the_run(bench: Bench) -> bool:
    found = await bench.all_runs()
    return bool(found) and found[0].progress_done == 1


async def test_the_run_of_a_killed_process_is_run_again(database_url: str, clock: FrozenClock, child) -> None:
    database = open_database(database_url, pool_size=3)
    bench = Bench(database, clock)
    bench.add(schedule="0 0 1 1 *")
    engine = bench.engine(lease_seconds=1, heartbeat_seconds=0.2)
    run = await engine.run_now("sweep", "manual")
    process = await child()
    await bench.until(partial(_child_holds_the_run, bench))
    process.kill()
    await process.wait()
    if database.dialect == "sqlite":
        assert await database.write(lambda tx: queue.void_leases(tx, "one")) == 1
        assert await engine.tick() == [run.id]
    else:
        assert await engine.tick() == [], "its lease still runs"
        await bench.until(lambda: _is(engine.tick(), [run.id]))
    await engine.settle()
    (after,) = await bench.all_runs()
    assert (after.state, after.attempts, after.result) == ("SUCCEEDED", 2, {"found": 3})
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # a SQLite file has one process
async def test_a_process_paused_beyond_its_lease_ends_nothing(
    clock: FrozenClock, child, database_url: str
) -> None:
    database = open_database(database_url, pool_size=3)
    bench = Bench(database, clock)
    bench.add(schedule="0 0 1 1 *")
    engine = bench.engine(lease_seconds=1, heartbeat_seconds=0.2)
    run = await engine.run_now("sweep", "manual")
    process = await child()
    await bench.until(partial(_child_holds_the_run, bench))
    process.send_signal(signal.SIGSTOP)
    await bench.until(lambda: _is(engine.tick(), [run.id]))
    await engine.settle()
    before = await bench.all_runs()
    process.send_signal(signal.SIGCONT)
    said, _ = await asyncio.wait_for(process.communicate(b"go on\n"), DEADLINE_SECONDS)
    assert said == b"1\n"
    assert await bench.all_runs() == before
    assert before[0].result == {"found": 3}
    database.close()


async def _is(answer: Awaitable[Any], wanted: Any) -> bool:
    return await answer == wanted
