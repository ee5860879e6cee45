"""Rules of alerts: each is raised once, counted while its cause stands, resolved when it is gone."""

import pytest
from tests import a

from paystate.domain import alerts, connections
from paystate.domain.alerts import Alert, AlertState, Message, NotSent
from paystate.domain.payments import State
from paystate.entrypoints.worker import load_flows
from paystate.flows import check_alerts as rules
from paystate.flows.audit_job import AuditFailed, audit_hourly
from paystate.flows.check_alerts import check_alerts
from paystate.flows.deliver_alerts import deliver_alerts
from paystate.flows.expire_payments import cleanup_stale_payments, expire_payments
from paystate.flows.job_schedules import catalogue_of
from paystate.flows.report_job_problem import report_job_problem
from paystate.flows.report_stuck import report_stuck
from paystate.flows.take_hint import take_return
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND
from paystate.kit.paging import PageRequest
from paystate.machinery.jobs import JobProblem

load_flows()


class Run:
    """A run nobody else could have."""

    id, job, trigger, batch_size = "run_test", "test", "manual", 100

    def __init__(self) -> None:
        self.said: list[tuple[int, int]] = []

    def still_mine(self) -> bool:
        return True

    async def progress(self, done: int, total: int) -> None:
        self.said.append((done, total))


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock, payment_cleanup_alert_expired=2) as opened:
        yield opened


async def look(shop) -> dict:
    run = Run()
    result = await check_alerts(shop.app.ctx, run)
    assert result["errors"] == []
    assert run.said[-1] == (result["found"], result["found"])
    return result


async def of_rule(shop, rule: str) -> list[Alert]:
    page = await shop.app.db.read(lambda tx: alerts.list_alerts(tx, a.WHO, PageRequest(limit=100)))
    return [alert for alert in page.rows if alert.rule == rule]


async def the_one(shop, rule: str) -> Alert:
    [found] = await of_rule(shop, rule)
    return found


async def raised_counted_resolved(shop, rule: str, heal) -> Alert:
    """The whole life of an alert: fresh at the first look, counted at the second, over once its cause is gone."""
    await look(shop)
    first = await the_one(shop, rule)
    assert (first.state, first.count) == (AlertState.OPEN, 1)
    await look(shop)
    assert (await the_one(shop, rule)).count == 2
    assert len(await shop.rows(f"SELECT id FROM alert_deliveries WHERE alert_id = '{first.id}'")) == 1
    await heal()
    await look(shop)
    after = await the_one(shop, rule)
    assert (after.state, after.id) == (AlertState.RESOLVED, first.id)
    return first


async def test_nothing_is_raised_where_all_is_well(shop) -> None:
    await shop.opened()
    assert (await look(shop))["raised"] == 0


async def test_a_long_verification(shop, clock) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "process")
    await shop.look()
    clock.advance(10 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    clock.advance(31 * MINUTE)

    async def heal() -> None:
        await shop.sandbox.outcome(attempt, "pay")
        clock.advance(MINUTE)
        await shop.look()
        assert (await shop.now(payment)).state is State.PAID

    alert = await raised_counted_resolved(shop, "long_verification", heal)
    assert (alert.merchant_id, alert.detail) == (shop.id, {"count": 1, "firstPaymentId": payment.id})


async def test_expired_after_the_customer_had_come_back(shop, clock) -> None:
    other, _ = await shop.opened(expires_in=HOUR)
    payment, _ = await shop.opened(expires_in=HOUR)
    await take_return(shop.app.ctx, payment.short_code, from_cancel=False)
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    clock.advance(3 * HOUR)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert {(await shop.now(p)).state for p in (payment, other)} == {State.EXPIRED}

    async def heal() -> None:
        clock.advance(DAY + SECOND)

    alert = await raised_counted_resolved(shop, "expired_after_return", heal)
    assert alert.detail == {"count": 1, "firstPaymentId": payment.id}


@pytest.mark.parametrize("paid", [{"amount": 999}, {"currency": "USD"}])
async def test_another_amount_or_currency_is_told_until_a_person_decided(shop, clock, paid) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay", **paid)
    clock.advance(10 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.REVIEW

    async def heal() -> None:
        await shop.app.db.write(
            lambda tx: (
                tx.conn.exec_driver_sql(
                    "UPDATE cases SET state = 'RESOLVED', resolution = 'x', resolution_reason = 'x', "
                    "resolved_by = 'x', resolved_at = 1"
                )
                and None
            )
        )

    alert = await raised_counted_resolved(shop, "amount_mismatch", heal)
    assert alert.detail["paymentId"] == payment.id


async def test_cases_that_wait_for_a_day(shop, clock) -> None:
    _, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay", amount=999)
    clock.advance(10 * SECOND)
    await shop.look()
    clock.advance(DAY - MINUTE)
    await look(shop)
    assert await of_rule(shop, "waiting_cases") == []
    clock.advance(HOUR)
    until = clock.now() + DAY

    async def heal() -> None:
        await shop.app.db.write(
            lambda tx: tx.conn.exec_driver_sql(f"UPDATE cases SET snoozed_until = {until}") and None
        )

    assert (await raised_counted_resolved(shop, "waiting_cases", heal)).detail["count"] == 1


async def test_refused_credentials_are_over_once_the_connection_works(shop) -> None:
    await shop.app.db.write(lambda tx: connections.park(tx, a.WHO, shop.connection.id, "401"))

    async def heal() -> None:
        await shop.app.db.write(lambda tx: connections.unpark(tx, a.WHO, shop.connection.id))

    await raised_counted_resolved(shop, "credentials_refused", heal)


async def test_a_word_nobody_knows_is_over_once_the_provider_says_another(shop, clock) -> None:
    _, attempt = await shop.opened()
    await shop.sandbox.fault("ask", "unknown_status")
    clock.advance(10 * SECOND)
    await shop.look()
    raised = await the_one(shop, "unknown_status")
    assert raised.state is AlertState.OPEN
    await look(shop)
    assert (await the_one(shop, "unknown_status")).state is AlertState.OPEN
    await shop.sandbox.heal()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(HOUR)
    await shop.look()
    await look(shop)
    assert (await the_one(shop, "unknown_status")).state is AlertState.RESOLVED


async def test_webhooks_that_fell_silent_while_payments_are_learnt_of_by_asking(shop, clock) -> None:
    row = (
        "INSERT INTO provider_events (id, merchant_id, connection_id, provider_event_id, type, body, body_hash, "
        "authentic, named, state, deliveries, received_at) VALUES ('pev_{n}', '{m}', '{c}', 'e{n}', 'x', 'x', 'x', "
        "{ok}, '[]', 'HANDLED', 1, {at})"
    )

    async def webhook(n: int, *, authentic: bool = True) -> None:
        sql = row.format(n=n, m=shop.id, c=shop.connection.id, ok=str(authentic).lower(), at=int(clock.now()))
        await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql) and None)

    await webhook(1)
    clock.advance(7 * HOUR)
    await look(shop)
    assert await of_rule(shop, "silent_webhooks") == [], "nothing was paid meanwhile"
    _, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(MINUTE)
    await shop.look()
    await webhook(2, authentic=False)
    await look(shop)
    assert await of_rule(shop, "silent_webhooks") == [], "its webhook may still come"
    clock.advance(7 * HOUR)

    async def heal() -> None:
        await webhook(3)

    alert = await raised_counted_resolved(shop, "silent_webhooks", heal)
    assert (alert.detail["connectionId"], alert.detail["paymentsLearntByAsking"]) == (shop.connection.id, 1)


async def test_a_failed_job_is_one_alert_until_it_succeeds(shop, clock) -> None:
    ctx = shop.app.ctx
    await ctx.db.write(catalogue_of(ctx.settings).register)
    failed = JobProblem("failed", "audit", "run_1", "it broke")

    async def ran(run_id: str, state: str) -> None:
        at = int(clock.now())
        sql = (
            "INSERT INTO job_runs (id, job, trigger, state, claim_no, started_at, finished_at, error, created_at) "
            f"VALUES ('{run_id}', 'audit', 'manual', '{state}', 1, {at}, {at}, 'it broke', {at})"
        )
        await ctx.db.write(lambda tx: tx.conn.exec_driver_sql(sql) and None)

    await report_job_problem(ctx, failed)
    await report_job_problem(ctx, failed)
    await ran("run_1", "FAILED")
    await look(shop)
    alert = await the_one(shop, "job_failed")
    assert (alert.state, alert.count, alert.merchant_id) == (AlertState.OPEN, 3, None)
    await ran("run_2", "SUCCEEDED")
    await look(shop)
    assert (await the_one(shop, "job_failed")).state is AlertState.RESOLVED


async def test_a_job_that_nobody_starts(shop, clock) -> None:
    ctx = shop.app.ctx
    catalogue = catalogue_of(ctx.settings)
    await ctx.db.write(catalogue.register)
    await ctx.db.write(
        lambda tx: [catalogue.set_enabled(tx, n, enabled=n == "audit") for n in catalogue.jobs]
    )
    clock.advance(2 * HOUR)

    async def heal() -> None:
        at = int(clock.now())
        await ctx.db.write(
            lambda tx: tx.conn.exec_driver_sql(f"UPDATE job_settings SET ticked_until = {at}") and None
        )

    assert (await raised_counted_resolved(shop, "job_missed", heal)).detail["job"] == "audit"


async def test_a_large_cleanup_is_over_with_the_next_small_one(shop, clock) -> None:
    for _ in range(3):
        await shop.payment(expires_in=MINUTE)
    clock.advance(HOUR)
    await cleanup_stale_payments(shop.app.ctx, Run())
    alert = await the_one(shop, "large_cleanup")
    assert (alert.state, alert.detail["expired"]) == (AlertState.OPEN, 3)
    await cleanup_stale_payments(shop.app.ctx, Run())
    assert (await the_one(shop, "large_cleanup")).state is AlertState.RESOLVED


async def test_stuck_payments_are_one_alert_of_their_merchant(shop, clock) -> None:
    payment, attempt = await shop.opened()
    clock.advance(HOUR + MINUTE)
    for count in (1, 2):
        assert (await report_stuck(shop.app.ctx, Run()))["count"] == 1
        alert = await the_one(shop, "stuck_payments")
        assert (alert.state, alert.count, alert.detail["oldestPaymentId"]) == (
            AlertState.OPEN,
            count,
            payment.id,
        )
    await shop.sandbox.outcome(attempt, "pay")
    await shop.look()
    assert (await report_stuck(shop.app.ctx, Run()))["count"] == 0
    assert (await the_one(shop, "stuck_payments")).state is AlertState.RESOLVED


async def test_books_that_do_not_balance_are_told_by_name(shop, clock) -> None:
    _, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(MINUTE)
    await shop.look()

    async def add(amount: int) -> None:
        sql = f"UPDATE ledger_accounts SET balance = balance + {amount} WHERE code = '4000'"
        await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql) and None)

    await add(5)
    with pytest.raises(AuditFailed):
        await audit_hourly(shop.app.ctx, Run())
    alert = await the_one(shop, "ledger_unbalanced")
    assert (alert.state, alert.detail) == (AlertState.OPEN, {"invariants": [2]})
    await add(-5)
    await audit_hourly(shop.app.ctx, Run())
    assert (await the_one(shop, "ledger_unbalanced")).state is AlertState.RESOLVED


async def test_a_rule_that_cannot_be_looked_at_stops_no_other(shop, monkeypatch) -> None:
    await shop.app.db.write(lambda tx: connections.park(tx, a.WHO, shop.connection.id, "401"))

    def broken(_ctx, _tx):
        raise ZeroDivisionError

    monkeypatch.setitem(rules.RULES, "long_verification", broken)
    result = await check_alerts(shop.app.ctx, Run())
    assert result["errors"] == [{"id": "long_verification", "error": "ZeroDivisionError"}]
    assert (result["raised"], result["failed"]) == (1, 1)


class Post:
    """A channel of the test: keeps what it is given, and fails when told to."""

    name = "post"

    def __init__(self) -> None:
        self.got: list[tuple[str, Message]] = []
        self.problem: Exception | None = None

    def addresses(self) -> tuple[str, ...]:
        return ("ann", "bob")

    async def send(self, address: str, message: Message) -> None:
        if self.problem is not None and address == "ann":
            raise self.problem
        self.got.append((address, message))


@pytest.mark.parametrize("problem", [NotSent("no route"), ValueError("a defect of the channel")])
async def test_each_address_is_told_once_and_the_others_do_not_wait_for_a_broken_one(
    shop, clock, problem
) -> None:
    post = Post()
    shop.app.ctx.channels["post"] = post
    await shop.app.db.write(lambda tx: connections.park(tx, a.WHO, shop.connection.id, "401"))
    await look(shop)
    post.problem = problem
    assert await deliver_alerts(shop.app.ctx) == 2  # the log, and Bob
    assert [to for to, _ in post.got] == ["bob"]
    post.problem = None
    assert await deliver_alerts(shop.app.ctx) == 0
    clock.advance(MINUTE)
    assert await deliver_alerts(shop.app.ctx) == 1
    clock.advance(HOUR)
    assert await deliver_alerts(shop.app.ctx) == 0
    assert [to for to, _ in post.got] == ["bob", "ann"]
    [bob, ann] = [message for _, message in post.got]
    assert bob.subject == "[Paystate, critical] sandbox refuses the credentials of Sandbox"
    assert "paystate alerts ack alt_" in bob.text
    assert ann.id != bob.id
    clock.advance(DAY)
    await look(shop)
    assert await deliver_alerts(shop.app.ctx) == 3
    assert "reminder" in post.got[-1][1].subject
