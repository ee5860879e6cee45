"""Customers who send the money themselves: more, less, in parts, in any order, twice, late."""

from itertools import permutations

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State, Trigger
from paystate.flows.audit import run_audit
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.expire_payments import expire_payments
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, SECOND, rfc3339


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        opened.app.ctx.providers["sandbox"] = _Pushing(opened.app.ctx.providers["sandbox"])
        yield opened


class _Unclosable:
    """The sandbox without its means to end a checkout."""

    def __init__(self, adapter) -> None:
        self.name = adapter.name
        self.check, self.prepare, self.start, self.ask, self.identify = (
            adapter.check, adapter.prepare, adapter.start, adapter.ask, adapter.identify,
        )  # fmt: skip


class _Pushing(_Unclosable):
    """The sandbox as a wallet: any amount may come, and in parts."""

    transfers_counted = 5


async def _send(shop, clock, attempt, amount, transaction, **values) -> None:
    await shop.sandbox.outcome(attempt, "pay", amount=amount, transaction=transaction, **values)
    clock.advance(5 * SECOND)
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.MANUAL, 5)


async def _balances(shop) -> dict[str, int]:
    found = await shop.rows("SELECT code, sum(balance) AS b FROM ledger_accounts GROUP BY code")
    return {row["code"]: int(row["b"]) for row in found if row["b"]}


async def _sound(shop) -> None:
    report = await run_audit(shop.app.ctx)
    assert report.sound, report.as_result()


async def test_more_is_paid_and_over_and_the_surplus_is_kept(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    await _send(shop, clock, attempt, 1200, "t1")
    after = await shop.now(payment)
    assert (after.state, after.over, after.partial) == (State.PAID, True, False)
    assert await _balances(shop) == {"1100": 1200, "2300": 200, "4000": 1000}
    await _sound(shop)


@pytest.mark.parametrize("order", list(permutations((300, 450, 250))))
async def test_parts_in_any_order_add_up(shop, clock, order) -> None:
    """Each part stands in 2300; the one that completes the sum is the proof and names the others."""
    payment, attempt = await shop.opened(1000)
    for number, amount in enumerate(order[:2]):
        await _send(shop, clock, attempt, amount, f"t{number}")
        after = await shop.now(payment)
        assert (after.state, after.partial) == (State.OPEN, True)
        assert (await _balances(shop))["2300"] == sum(order[: number + 1])
        assert (await shop.attempts(payment))[0].state is AttemptState.LIVE
    await _send(shop, clock, attempt, order[2], "t2")
    after = await shop.now(payment)
    assert (after.state, after.partial, after.over, after.transaction_id) == (State.PAID, False, False, "t2")
    assert await _balances(shop) == {"1100": 1000, "4000": 1000}
    assert len(await shop.rows("SELECT receipt_id FROM proof_parts")) == 2
    assert await shop.rows("SELECT id FROM cases") == []
    await _sound(shop)


async def test_parts_seen_all_at_once_add_up_also_past_the_time(shop, clock) -> None:
    """Nobody looked while they came: that one of them is not enough alone must not send it to a person."""
    payment, attempt = await shop.opened(1000, expires_in=HOUR)
    for name, amount in (("t1", 400), ("t2", 700)):
        await shop.sandbox.outcome(attempt, "pay", amount=amount, transaction=name)
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.over, after.partial) == (State.PAID, True, False)
    assert await _balances(shop) == {"1100": 1100, "2300": 100, "4000": 1000}
    await _sound(shop)


async def test_the_same_part_twice_counts_once(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    for _ in range(3):
        await _send(shop, clock, attempt, 500, "t1")
    after = await shop.now(payment)
    assert (after.state, after.partial) == (State.OPEN, True)
    assert await _balances(shop) == {"1100": 500, "2300": 500}
    await _sound(shop)


async def test_what_is_not_enough_past_its_time_goes_to_a_person(shop, clock) -> None:
    payment, attempt = await shop.opened(1000, expires_in=HOUR)
    await _send(shop, clock, attempt, 500, "t1")
    clock.advance(HOUR + SECOND)
    for _ in range(3):
        await expire_payments(shop.app.ctx, actor="job:test")
        await shop.look()
        clock.advance(HOUR)
    after = await shop.now(payment)
    assert (after.state, after.review_reason, after.partial) == (State.REVIEW, "partial", True)
    assert [c["reason"] for c in await shop.rows("SELECT reason FROM cases")] == ["partial"]
    await _sound(shop)


async def test_a_cancel_finds_what_was_sent(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    await _send(shop, clock, attempt, 500, "t1")
    clock.advance(5 * SECOND)
    after = await cancel_payment(shop.app.ctx, shop.id, payment.id, actor="key:test")
    assert (after.state, after.review_reason) == (State.REVIEW, "partial")


@pytest.mark.parametrize(
    ("policy", "state", "refunds"),
    [("accept", State.PAID, 0), ("review", State.REVIEW, 0), ("refund", State.REVIEW, 1)],
)
async def test_late_money_follows_the_policy(shop, clock, policy, state, refunds) -> None:
    payment, attempt = await shop.opened(1000, expires_in=HOUR, late_policy=policy)
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert (await shop.now(payment)).state is State.EXPIRED
    await _send(shop, clock, attempt, 1000, "t1", paidAt=rfc3339(clock.now()))
    after = await shop.now(payment)
    assert (after.state, after.late) == (state, True)
    assert len(await shop.rows("SELECT id FROM refunds")) == refunds
    await _sound(shop)


async def test_late_and_not_enough_is_never_paid(shop, clock) -> None:
    payment, attempt = await shop.opened(1000, expires_in=HOUR, late_policy="accept")
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    await _send(shop, clock, attempt, 999, "t1", paidAt=rfc3339(clock.now()))
    after = await shop.now(payment)
    assert (after.state, after.late, after.partial) == (State.REVIEW, True, True)
    await _sound(shop)


async def test_money_after_it_was_paid_is_over_or_a_duplicate(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    await _send(shop, clock, attempt, 1000, "t1")
    await _send(shop, clock, attempt, 100, "t2")
    after = await shop.now(payment)
    assert (after.state, after.over, after.duplicate) == (State.PAID, True, False)
    await _send(shop, clock, attempt, 1000, "t3")
    assert (await shop.now(payment)).duplicate
    assert len(await shop.rows("SELECT id FROM refunds")) == 1
    assert sorted(c["reason"] for c in await shop.rows("SELECT reason FROM cases")) == ["duplicate", "over"]
    assert await _balances(shop) == {"1100": 2100, "2300": 1100, "4000": 1000}
    await _sound(shop)


async def test_more_transfers_than_are_counted_go_to_a_person(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    for number in range(6):
        await _send(shop, clock, attempt, 10, f"t{number}")
    after = await shop.now(payment)
    assert (after.state, after.review_reason) == (State.REVIEW, "amount_mismatch")
    await _sound(shop)


async def test_a_checkout_stays_exact(shop, clock) -> None:
    """The same money at a provider that does not push is for a person."""
    shop.app.ctx.providers["sandbox"] = _Unclosable(shop.app.ctx.providers["sandbox"])
    payment, attempt = await shop.opened(1000)
    await _send(shop, clock, attempt, 1200, "t1")
    assert (await shop.now(payment)).state is State.REVIEW


async def test_money_of_another_day_completes_it(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    await _send(shop, clock, attempt, 999, "t1")
    clock.advance(DAY)
    await _send(shop, clock, attempt, 1, "t2")
    assert (await shop.now(payment)).state is State.PAID
    assert await _balances(shop) == {"1100": 1000, "4000": 1000}
    await _sound(shop)
