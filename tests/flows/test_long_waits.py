"""Payments and orders that wait for days: asked about once more, and orders that nobody paid are declined."""

import pytest
from tests import a
from tests.flows.test_check_alerts import Run

from paystate.domain.payments import State
from paystate.flows.check_pending import check_pending
from paystate.flows.decline_unpaid import decline_unpaid
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def later(shop, *attempts) -> None:
    """Their next look is far away, as after a long silence."""
    ids = ", ".join(f"'{attempt.id}'" for attempt in attempts)
    sql = f"UPDATE attempts SET next_check_at = next_check_at + {30 * DAY} WHERE id IN ({ids})"
    await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql) and None)


async def test_what_waits_for_a_day_is_asked_about_and_younger_ones_are_left(shop, clock) -> None:
    """E2: a payment that was paid while every message was lost is found."""
    paid, attempt = await shop.opened()
    failed, other = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    await shop.sandbox.outcome(other, "fail")
    await later(shop, attempt, other)
    clock.advance(DAY - HOUR)
    young, youngest = await shop.opened()
    await shop.sandbox.outcome(youngest, "pay")
    assert (await check_pending(shop.app.ctx, Run()))["found"] == 0
    clock.advance(HOUR)
    run = Run()
    assert await check_pending(shop.app.ctx, run) == {"found": 2, "asked": 2, "moved": 2}
    assert run.said[-1] == (2, 2)
    states = [(await shop.now(p)).state for p in (paid, failed, young)]
    assert states == [State.PAID, State.FAILED, State.OPEN]
    assert (await check_pending(shop.app.ctx, Run()))["found"] == 0


async def test_silence_is_not_failure(shop, clock) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.fault("any", "outage")
    await later(shop, attempt)
    clock.advance(DAY)
    result = await check_pending(shop.app.ctx, Run())
    assert (result["found"], result["moved"]) == (1, 0)
    assert (await shop.now(payment)).state is State.OPEN


async def test_batches_cover_everything_once(shop, clock) -> None:
    attempts = [(await shop.opened())[1] for _ in range(5)]
    await later(shop, *attempts)
    clock.advance(DAY)
    run = Run()
    run.batch_size = 2
    assert (await check_pending(shop.app.ctx, run))["found"] == 5
    assert [done for done, _ in run.said] == [2, 4, 5]


async def order(shop, clock, name: str, *payments) -> str:
    """An order with these payments; until the API makes them, by hand."""
    order_id = f"ord_{name}"
    made = (
        "INSERT INTO orders (id, merchant_id, state, amount, currency, quantity, created_at) "
        f"VALUES ('{order_id}', '{shop.id}', 'PENDING', 1000, 'EUR', 1, {int(clock.now())})"
    )
    ids = ", ".join(f"'{payment.id}'" for payment in payments) or "''"
    theirs = f"UPDATE payments SET order_id = '{order_id}' WHERE id IN ({ids})"
    for sql in (made, theirs):
        await shop.app.db.write(lambda tx, sql=sql: tx.conn.exec_driver_sql(sql) and None)
    return order_id


async def states(shop) -> dict[str, str]:
    return {row["id"]: row["state"] for row in await shop.rows("SELECT id, state FROM orders")}


async def test_an_order_unpaid_for_two_days_is_declined_with_an_audit_entry(shop, clock) -> None:
    """E3: one without a payment, and one whose payment never went to a provider."""
    bare = await order(shop, clock, "bare")
    payment = await shop.payment()
    waiting = await order(shop, clock, "waiting", payment)
    clock.advance(2 * DAY - SECOND)
    assert (await decline_unpaid(shop.app.ctx, Run()))["found"] == 0
    clock.advance(SECOND)
    result = await decline_unpaid(shop.app.ctx, Run())
    assert result == {"found": 2, "declined": 2, "waiting": 0, "failed": 0, "errors": []}
    assert await states(shop) == {bare: "DECLINED", waiting: "DECLINED"}
    assert (await shop.now(payment)).state is State.EXPIRED
    log = await shop.rows("SELECT resource_id, actor FROM audit_log WHERE action = 'order.declined'")
    assert sorted((e["resource_id"], e["actor"]) for e in log) == [
        (bare, "job:run_test"),
        (waiting, "job:run_test"),
    ]
    assert (await decline_unpaid(shop.app.ctx, Run()))["found"] == 0


@pytest.mark.parametrize(("outcome", "ends"), [(None, "DECLINED"), ("pay", "PENDING")])
async def test_an_order_at_a_provider_is_declined_only_after_its_answer(shop, clock, outcome, ends) -> None:
    payment, attempt = await shop.opened()
    one = await order(shop, clock, "one", payment)
    if outcome is not None:
        await shop.sandbox.outcome(attempt, outcome)
        await later(shop, attempt)
    clock.advance(2 * DAY)
    assert (await decline_unpaid(shop.app.ctx, Run()))["waiting"] == 1
    assert await states(shop) == {one: "PENDING"}
    await shop.look()
    clock.advance(HOUR)
    await decline_unpaid(shop.app.ctx, Run())
    assert await states(shop) == {one: ends}
    paid = (await shop.now(payment)).state is State.PAID
    assert paid is (outcome == "pay")


async def test_an_order_whose_provider_is_silent_waits(shop, clock) -> None:
    payment, _ = await shop.opened()
    one = await order(shop, clock, "one", payment)
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * DAY)
    for _ in range(2):
        await decline_unpaid(shop.app.ctx, Run())
        await shop.look()
        clock.advance(MINUTE)
    assert await states(shop) == {one: "PENDING"}
