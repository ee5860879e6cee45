"""Three workers on one PostgreSQL, killed at random: each tick ends once, and nothing is doubled by who took over."""

import asyncio
import random
import signal
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.faults.customers import Customers
from tests.faults.processes import Installation, Process, installation, until

from paystate.app import App
from paystate.entrypoints.operations.clock import Advance, advance
from paystate.entrypoints.worker import job_engine
from paystate.kit.clock import MINUTE, SECOND, monotonic
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Change

pytestmark = [
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
    pytest.mark.timeout(240),
]
KILLING_SECONDS = 20.0
STEP_SECONDS = 61
"""Each step is a tick of every job, and the end of the lease of whatever a dead worker held."""

SETTLING_SECONDS = 60.0
PAYMENTS = 12
SEED = 4_711
OPEN_RUNS = "SELECT 1 FROM job_runs WHERE state IN ('QUEUED', 'RUNNING')"
BUSY = "SELECT 1 FROM attempts WHERE state IN ('CREATED', 'LIVE', 'PROCESSING') OR lease_until IS NOT NULL"
PENDING = "SELECT 1 FROM payments WHERE state IN ('OPEN', 'PENDING_VERIFICATION')"


async def test_three_workers_killed_at_random_double_nothing(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path) as shop, shop.opened() as app, Customers(shop) as people:
        shop.add("web")
        workers = [shop.add("worker") for _ in range(3)]
        await app.db.write(partial(_every_minute, app))
        await shop.start_all()
        wrong = await _people_come(people)
        killed = await _kill_at_random(app, workers)
        assert killed >= 3, "nobody was killed: the test proves nothing"
        await asyncio.gather(*(w.start() for w in workers if not w.alive))
        await _settle(shop, app)
        await shop.stop_all()
        _each_tick_ended_once(shop)
        _nothing_is_doubled(shop, wrong)
        report = await shop.audit()
        assert (report.broken, report.sound) == ([], True), report.as_result()


def _every_minute(app: App, tx: Tx) -> None:
    catalogue = job_engine(app).catalogue
    catalogue.register(tx)
    for current in catalogue.all(tx):
        catalogue.reschedule(tx, current.name, Change(schedule="* * * * *"))


async def _people_come(people: Customers) -> set[str]:
    """A third pays, a third pays the wrong sum (a case and an alert each), a third leaves; answers who paid wrong."""
    wrong = set()
    for number in range(PAYMENTS):
        payment = await people.create(f"kills-{number}", expiresIn=60 + 60 * (number % 4))
        checkout = await people.check_out(payment)
        body = {"checkout": checkout, "outcome": "pay"}
        if number % 3 == 1:
            await people.shop.sandbox.control("outcomes", body | {"amount": 1})
            wrong.add(payment["id"])
        elif number % 3 == 2:
            await people.shop.sandbox.control("outcomes", body)
    return wrong


async def _kill_at_random(app: App, workers: list[Process]) -> int:
    """Minute after minute passes while one worker after the other dies and comes back; answers how many died."""
    chance, killed = random.Random(SEED), 0
    deadline = monotonic() + KILLING_SECONDS
    while monotonic() < deadline:
        victim = chance.choice(workers)
        if victim.alive:
            victim.kill()
            assert await victim.ended() == -signal.SIGKILL
            killed += 1
        await advance(app, Advance(microseconds=STEP_SECONDS * SECOND))
        for worker in workers:
            if not worker.alive and chance.random() < 0.7:
                await worker.start()
    return killed


async def _settle(shop: Installation, app: App) -> None:
    """Time goes on until the last runs have ended and every payment has come to its end."""

    async def moved_on() -> bool:
        await advance(app, Advance(microseconds=STEP_SECONDS * SECOND))
        return not shop.rows(OPEN_RUNS) and not shop.rows(BUSY) and not shop.rows(PENDING)

    await until(moved_on, SETTLING_SECONDS, "every run has ended and nothing is pending")


def _each_tick_ended_once(shop: Installation) -> None:
    """One run for a job and tick, with one end; only what lost its owner three times may have failed."""
    runs = shop.rows("SELECT job, tick_at, state, claim_no, error, finished_at FROM job_runs")
    ticks = Counter((run["job"], run["tick_at"]) for run in runs if run["tick_at"] is not None)
    assert ticks
    assert set(ticks.values()) == {1}
    assert all(tick % MINUTE == 0 for _, tick in ticks)
    ended = [run for run in runs if run["finished_at"] is not None]
    assert {(run["state"], run["error"]) for run in ended} <= {
        ("SUCCEEDED", None),
        ("SKIPPED", None),
        ("FAILED", "lease_lost"),
    }
    assert all(run["claim_no"] == 3 for run in ended if run["state"] == "FAILED")
    assert any(run["claim_no"] > 1 for run in ended), "no run ever lost its owner: the kills hit nothing"


def _nothing_is_doubled(shop: Installation, wrong: set[str]) -> None:
    cases = Counter(
        (row["payment_id"], row["reason"]) for row in shop.rows("SELECT payment_id, reason FROM cases")
    )
    assert cases == Counter({(payment_id, "amount_mismatch"): 1 for payment_id in wrong})
    _each_alert_stands_alone(shop)
    states = Counter(row["state"] for row in shop.rows("SELECT state FROM payments"))
    third = PAYMENTS // 3
    assert states == {"PAID": third, "REQUIRES_MANUAL_REVIEW": third, "EXPIRED": third}
    moves = shop.rows("SELECT payment_id, seq FROM payment_moves")
    told = shop.rows("SELECT resource_id, version FROM events WHERE substr(type, 1, 8) = 'payment.'")
    assert Counter((m["payment_id"], m["seq"]) for m in moves) == Counter(
        (e["resource_id"], e["version"]) for e in told
    )
    for table in ("proofs", "receipts"):
        owners = Counter(row["payment_id"] for row in shop.rows(f"SELECT payment_id FROM {table}"))
        assert set(owners.values()) == {1}, table


def _each_alert_stands_alone(shop: Installation) -> None:
    """A cause that comes back after its end is told anew; of one cause no two alerts ever stand at once."""
    told = shop.rows("SELECT fingerprint, first_at, ended_at FROM alerts ORDER BY fingerprint, first_at, id")
    for earlier, later in pairwise(told):
        if earlier["fingerprint"] == later["fingerprint"]:
            assert earlier["ended_at"] is not None, earlier
            assert earlier["ended_at"] <= later["first_at"], (earlier, later)
