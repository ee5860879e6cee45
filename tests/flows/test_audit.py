"""The audit of a whole installation: sound after a realistic run, sound while writers are busy, complete over the schema."""

import asyncio
import json

import sqlalchemy as sa
from tests import a
from tests.flows.audit_world import OWN_SECRET, build

from paystate.app import verifier_of
from paystate.domain.payments import State
from paystate.flows.audit import RULES, run_audit
from paystate.flows.audit_money import AMOUNTS, BALANCES
from paystate.flows.audit_secrets import READABLE
from paystate.flows.audit_tenants import PARENTS
from paystate.flows.number_rows import number_rows
from paystate.flows.take_hint import take_return
from paystate.kit.clock import MINUTE, monotonic
from paystate.migrations.schema import whole_metadata

CUSTOMERS, PAYMENTS_EACH = 6, 5
DEADLINE_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.02


async def test_a_realistic_run_is_sound_and_at_rest(database_url, tmp_path, clock) -> None:
    async with a.shop(database_url, tmp_path, clock, sandbox_provider_rate=10_000) as shop:
        await build(shop, clock)
        clock.advance(MINUTE)
        await shop.look()
        await number_rows(shop.app.ctx)
        report = await run_audit(shop.app.ctx)
        assert report.broken == [], [c for c in report.invariants if c.count]
        assert [c.number for c in report.invariants] == list(range(1, 23))
        assert (report.sound, report.stuck) == (True, 0), report.liveness
        assert report.storage == []
        assert (report.chain.blocks, report.chain.open_tail, report.chain.unnumbered) == (1, 0, 0)
        await _assert_everything_happened(shop)
        told = json.dumps(report.as_result())
        assert OWN_SECRET not in told
        assert json.loads(told)["invariants"][0]["name"] == RULES[0].name


async def _assert_everything_happened(shop: a.Shop) -> None:
    """A sound audit of nothing would say nothing."""
    states = await shop.rows("SELECT DISTINCT state FROM payments")
    assert {row["state"] for row in states} >= set(State)
    [flags] = await shop.rows(
        "SELECT max(CAST(late AS INTEGER)) AS late, max(CAST(duplicate AS INTEGER)) AS duplicate, "
        "max(CAST(partial AS INTEGER)) AS partial FROM payments"
    )
    assert flags == {"late": 1, "duplicate": 1, "partial": 1}
    dispositions = await shop.rows("SELECT DISTINCT disposition FROM receipts")
    assert {row["disposition"] for row in dispositions} == {"PROOF", "UNAPPLIED", "FOREIGN"}


async def test_nothing_is_broken_while_writers_are_busy(database_url, tmp_path) -> None:
    async with a.shop(database_url, tmp_path, sandbox_provider_rate=10_000) as shop:
        stop = asyncio.Event()
        worker = asyncio.create_task(verifier_of(shop.app).run(stop))
        customers = asyncio.gather(*(_keep_buying(shop) for _ in range(CUSTOMERS)))
        reports = [await run_audit(shop.app.ctx)]
        while not customers.done():
            reports.append(await run_audit(shop.app.ctx))
            await number_rows(shop.app.ctx)
        await customers
        stop.set()
        await worker
        reports.append(await run_audit(shop.app.ctx))
        assert [r.broken for r in reports if not r.sound] == [], reports
        assert len(reports) >= 3
        paid = await shop.rows("SELECT count(*) AS n FROM payments WHERE state = 'PAID'")
        assert paid == [{"n": CUSTOMERS * PAYMENTS_EACH}]


async def _keep_buying(shop: a.Shop) -> None:
    for _ in range(PAYMENTS_EACH):
        payment, attempt = await shop.opened()
        await shop.sandbox.outcome(attempt, "pay")
        await take_return(shop.app.ctx, payment.short_code, from_cancel=False)
        until = monotonic() + DEADLINE_SECONDS
        while (await shop.now(payment)).state is not State.PAID:
            assert monotonic() < until, "the payment was never settled"
            await asyncio.sleep(LOOK_EVERY_SECONDS)


def test_every_parent_with_a_merchant_is_checked() -> None:
    """Invariant 19: a new child table cannot be forgotten."""
    declared = {
        (table.name, key.parent.name, key.column.table.name)
        for table in whole_metadata().tables.values()
        for key in table.foreign_keys
        if key.column.name == "id" and "merchant_id" in table.c and "merchant_id" in key.column.table.c
    }
    assert len(declared) > 10
    assert declared - set(PARENTS) == set()


def test_every_amount_is_checked() -> None:
    """Invariant 20: what a provider merely said, in the verification log, is not an amount of ours."""
    names = {"amount", "balance", "held", "released", "refunded", "remaining", "transaction_amount", "fee"}
    checked = {(table, amount) for table, _, amount, _ in (*AMOUNTS, *BALANCES)} | {
        ("verifications", "amount")
    }
    declared = {
        (table.name, column.name)
        for table in whole_metadata().tables.values()
        for column in table.c
        if column.name in names or column.name.endswith("_amount") or column.name.endswith("_minor")
    }
    assert declared - checked == set()


def test_every_text_that_others_may_read_is_searched_for_secrets() -> None:
    """Invariant 22: a new log, outbox or answer is searched; sealed bodies are not readable."""
    names = (
        "detail",
        "reason",
        "evidence",
        "data",
        "body",
        "error",
        "result",
        "before",
        "after",
        "response",
        "answer",
    )
    searched = {(table, column) for table, _, column in READABLE} | {("provider_events", "body")}
    declared = {
        (table.name, column.name)
        for table in whole_metadata().tables.values()
        for column in table.c
        if isinstance(column.type, sa.Text)
        and column.name.removeprefix("state_").removeprefix("resolution_") in names
    }
    assert declared - searched == set()
