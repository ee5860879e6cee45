"""Three workers on one PostgreSQL: one run per tick, and one that slept past its lease changes nothing when it wakes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.faults.processes import Installation, Process, installation, until

from paystate.app import App
from paystate.domain.payments import State
from paystate.entrypoints.operations.clock import Advance, advance
from paystate.entrypoints.worker import job_engine
from paystate.kit.clock import MINUTE, SECOND
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Change

pytestmark = [
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
    pytest.mark.timeout(240),
]

TICKS = 10
STEP_SECONDS = 55
"""Less than a lease: a run that starts just before the clock moves still holds its own."""

LEASE_IS_OVER_SECONDS = 61
NEVER = "0 0 1 1 *"
ASLEEP = "sleep:3@1"
WAIT_SECONDS = 30
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + offset_us AS now FROM clock"
OPEN_RUNS = "SELECT 1 FROM job_runs WHERE state IN ('QUEUED', 'RUNNING')"


async def test_three_workers_run_each_tick_once(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path) as shop, shop.opened() as app:
        names = await _schedule_all(app, "* * * * *")
        workers = [shop.add("worker") for _ in range(3)]
        await shop.start_all()
        for _ in range(TICKS * MINUTE // (STEP_SECONDS * SECOND) + 1):
            await _move_clock(app, STEP_SECONDS)
            await until(
                lambda: _tick_is_done(shop, len(names)), WAIT_SECONDS, "every job ran for the last tick"
            )
        await shop.stop_all()
        runs = shop.rows("SELECT id, job, tick_at, state, claim_no FROM job_runs")
        ticks = Counter((run["job"], run["tick_at"]) for run in runs)
        assert set(ticks.values()) == {1}
        assert {name: sum(job == name for job, _ in ticks) >= TICKS for name in names} == dict.fromkeys(
            names, True
        )
        assert {(run["state"], run["claim_no"]) for run in runs} == {("SUCCEEDED", 1)}
        started = [Counter(_told(worker, "job started")) for worker in workers]
        assert sum(started, Counter()) == Counter(run["id"] for run in runs)
        assert sum(bool(mine) for mine in started) > 1, "only one of them ever worked"


async def test_a_worker_that_slept_past_its_job_s_lease_changes_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """J1: stopped with its work done and its end unwritten; another does the run, and the sleeper's end counts for nothing."""
    async with installation(database_url, tmp_path) as shop, shop.opened() as app:
        await _schedule_all(app, NEVER)
        sleeper, others = shop.add("worker"), [shop.add("worker"), shop.add("worker")]
        await sleeper.start(f"job.before_finish={ASLEEP}")
        payment = await shop.desk(app).payment(expires_in=1 * SECOND)
        await _move_clock(app, 2)
        queued = await job_engine(app).run_now("expired-links", "api")
        await _put_to_sleep(sleeper)
        [held] = _runs(shop)
        assert (held["id"], held["state"], held["claim_no"]) == (queued.id, "RUNNING", 1)
        await _wake_the_others(app, others)
        await until(lambda: not shop.rows(OPEN_RUNS), WAIT_SECONDS, "another worker ended the run")
        [ended] = _runs(shop)
        assert (ended["state"], ended["claim_no"]) == ("SUCCEEDED", 2)
        assert ended["owner"] != held["owner"]
        standing = _standing(shop)
        sleeper.resume()
        await until(
            lambda: "job lease lost" in sleeper.words(), WAIT_SECONDS, "the sleeper saw that it had lost"
        )
        await shop.stop_all()
        assert _standing(shop) == standing
        assert (await shop.desk(app).now(payment)).state is State.EXPIRED


@pytest.mark.parametrize("failpoint", ["verify.after_get", "verify.before_commit"])
async def test_a_worker_that_slept_past_its_claim_settles_nothing(
    database_url: str, tmp_path: Path, failpoint: str
) -> None:
    """T15: it slept on the answer "failed", at last within the transaction; meanwhile the customer paid and another saw it."""
    async with installation(database_url, tmp_path) as shop, shop.opened() as app:
        await _schedule_all(app, NEVER)
        sleeper, others = shop.add("worker"), [shop.add("worker")]
        await sleeper.start(f"{failpoint}={ASLEEP}")
        desk = shop.desk(app)
        payment, attempt = await desk.opened()
        await shop.sandbox.outcome(attempt, "fail")
        await _put_to_sleep(sleeper)
        await shop.sandbox.outcome(attempt, "pay")
        await _wake_the_others(app, others)
        await until(
            lambda: shop.rows("SELECT 1 FROM payments WHERE state = 'PAID'"),
            WAIT_SECONDS,
            "another settled it",
        )
        standing = _standing(shop)
        sleeper.resume()
        # It ends in good order: the answer it slept on is written, or refused, before it goes.
        sleeper.ask_to_stop()
        assert await sleeper.ended(WAIT_SECONDS) == 0
        await shop.stop_all()
        assert _standing(shop) == standing
        assert _told(sleeper, "verified", "payment_id") == []
        assert [row["n"] for row in shop.rows("SELECT count(*) AS n FROM proofs")] == [1]
        assert (await desk.now(payment)).state is State.PAID
        report = await shop.audit()
        assert (report.broken, report.sound) == ([], True), report.as_result()


async def _schedule_all(app: App, expression: str) -> list[str]:
    """Every job of the installation on this schedule; answers their names."""
    catalogue = job_engine(app).catalogue

    def change(tx: Tx) -> list[str]:
        catalogue.register(tx)
        names = [current.name for current in catalogue.all(tx)]
        for name in names:
            catalogue.reschedule(tx, name, Change(schedule=expression))
        return names

    return await app.db.write(change)


async def _move_clock(app: App, seconds: int) -> None:
    await advance(app, Advance(microseconds=seconds * SECOND))


async def _put_to_sleep(worker: Process) -> None:
    await until(worker.fired, WAIT_SECONDS, f"{worker.name} has come to its failpoint")
    worker.pause()


async def _wake_the_others(app: App, others: list[Process]) -> None:
    for other in others:
        other.begin()
    for other in others:
        await other.ready()
    await _move_clock(app, LEASE_IS_OVER_SECONDS)


def _tick_is_done(shop: Installation, jobs: int) -> bool:
    """The minute that the database's clock shows has its run of every job, ended, and nothing else is open."""
    [row] = shop.rows(NOW)
    tick = int(row["now"]) // MINUTE * MINUTE
    done = shop.rows(f"SELECT 1 FROM job_runs WHERE tick_at = {tick} AND finished_at IS NOT NULL")
    return len(done) == jobs and not shop.rows(OPEN_RUNS)


def _runs(shop: Installation) -> list[dict[str, Any]]:
    return shop.rows("SELECT id, state, owner, claim_no FROM job_runs")


def _standing(shop: Installation) -> dict[str, list[dict[str, Any]]]:
    """Every row that a stale worker could have changed."""
    tables = (
        "job_runs",
        "job_settings",
        "payments",
        "payment_moves",
        "verifications",
        "receipts",
        "proofs",
        "journals",
    )
    found = {table: shop.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
    attempts = "SELECT id, state, claim_no, last_outcome, last_asked_at, next_check_at FROM attempts"
    events = "SELECT resource_id, version, type FROM events ORDER BY 1, 2"
    return found | {"attempts": shop.rows(attempts), "events": shop.rows(events)}


def _told(worker: Process, event: str, field: str = "run_id") -> list[str]:
    """This field of every line in which the worker said that."""
    lines = [json.loads(line) for line in worker.words().splitlines() if line.startswith("{")]
    return [line[field] for line in lines if line["event"] == event]
