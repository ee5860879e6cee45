"""The worker's loops: kept alive, woken, and stopped in good order."""

import asyncio
import itertools
import time

import pytest
from tests import a

from paystate.domain import audit, webhooks
from paystate.entrypoints import worker
from paystate.entrypoints.worker import Duty, job_engine, keep, run_worker
from paystate.flows.number_rows import BLOCK_AGE, number_rows
from paystate.kit.clock import MINUTE, SECOND
from paystate.kit.ids import System
from paystate.machinery import idempotency
from paystate.machinery.jobs import one_run

WHO = System("tests")


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def until(look) -> None:
    """Look until it is so, at most 20 seconds."""
    for _ in range(1_000):
        if await look():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not happen in time")


async def test_a_loop_that_crashes_is_started_again_after_a_growing_pause(monkeypatch, capsys) -> None:
    monkeypatch.setattr(worker, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(worker, "LONGEST_PAUSE_SECONDS", 0.04)
    stop, pauses, began = asyncio.Event(), list[float](), time.monotonic()

    async def body(_stop: asyncio.Event) -> None:
        pauses.append(time.monotonic() - began)
        if len(pauses) == 5:
            stop.set()
        raise RuntimeError("broken")

    async with asyncio.timeout(10):
        await keep(Duty("a loop", body), stop)
    gaps = [later - earlier for earlier, later in itertools.pairwise(pauses)]
    assert len(gaps) == 4
    assert gaps[0] >= 0.02
    assert gaps[1] >= 0.04
    assert "loop_crashed" in capsys.readouterr().err


async def test_a_worker_settles_what_was_paid_and_numbers_its_events(shop) -> None:
    payment, attempt = await shop.opened()
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(shop.app, stop, jobs=job_engine(shop.app)))
    await shop.sandbox.outcome(attempt, "pay")
    await shop.app.db.write(
        lambda tx: tx.conn.exec_driver_sql("UPDATE attempts SET next_check_at = 1") and None
    )

    async def settled() -> bool:
        rows = await shop.rows("SELECT count(*) AS n FROM events WHERE position IS NULL")
        return (await shop.now(payment)).state == "PAID" and rows[0]["n"] == 0

    await until(settled)
    stop.set()
    async with asyncio.timeout(worker.GRACE_SECONDS):
        await working


async def test_a_job_that_does_not_end_goes_back_to_the_queue_within_the_grace(shop, monkeypatch) -> None:
    monkeypatch.setattr("paystate.machinery.jobs.engine.STOP_SECONDS", 0.2)
    engine, started = job_engine(shop.app), asyncio.Event()

    async def for_ever(_ctx, _run):
        started.set()
        await asyncio.Event().wait()

    slow = engine.catalogue.jobs["stuck-payments"]
    engine.catalogue.jobs = {
        **engine.catalogue.jobs,
        "stuck-payments": type(slow)(
            slow.name, slow.schedule, slow.description, slow.timeout_seconds, slow.batch_size, for_ever
        ),
    }
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(shop.app, stop, jobs=engine))
    run = await engine.run_now("stuck-payments", "manual")
    async with asyncio.timeout(20):
        await started.wait()
    stop.set()
    async with asyncio.timeout(worker.GRACE_SECONDS):
        await working
    after = await shop.app.db.read(lambda tx: one_run(tx, run.id))
    assert after.state == "QUEUED"


async def test_audit_blocks_close_once_they_are_old_enough(shop, clock) -> None:
    entry = audit.AuditEntry(shop.id, "owner", "key.created", "key_1", {}, {}, "test")
    await shop.app.db.write(lambda tx: audit.record(tx, WHO, [entry]))
    assert await number_rows(shop.app.ctx) >= 1
    assert await shop.app.db.read(lambda tx: audit.chain_head(tx, WHO)) is None
    clock.advance(BLOCK_AGE)
    assert await number_rows(shop.app.ctx) == 0
    head = await shop.app.db.read(lambda tx: audit.chain_head(tx, WHO))
    assert head is not None
    assert head.last_position == 1
    report = await shop.app.db.snapshot(lambda tx: audit.verify_chain(tx, WHO))
    assert report.problems == ()
    assert BLOCK_AGE + 10 * SECOND <= MINUTE


async def test_events_are_numbered_in_batches_until_none_waits(shop, monkeypatch) -> None:
    monkeypatch.setattr(webhooks.store, "NUMBER_LIMIT", 2)
    for _ in range(5):
        await shop.payment()
    assert await number_rows(shop.app.ctx) == 5
    assert await shop.app.db.read(lambda tx: webhooks.last_position(tx, WHO)) == 5


async def test_old_idempotency_keys_are_purged_by_the_daily_job(shop, clock) -> None:
    slot = idempotency.Slot(shop.id, "POST /api/payments", "key-1", "hash")
    await shop.app.db.write(lambda tx: idempotency.begin(tx, slot))
    engine = job_engine(shop.app)
    clock.advance(idempotency.KEPT_FOR)
    run = await engine.run_now("purge-idempotency-keys", "manual")
    await engine.tick()
    await engine.settle()
    after = await shop.app.db.read(lambda tx: one_run(tx, run.id))
    assert (after.state, after.result) == ("SUCCEEDED", {"deleted": 1})
