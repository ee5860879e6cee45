"""Expiry in two phases, and money that comes after it."""

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State
from paystate.flows.expire_payments import expire_one, expire_payments
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, rfc3339


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def _expired(shop, clock, **values):
    payment, attempt = await shop.opened(expires_in=HOUR, **values)
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    after = await shop.now(payment)
    assert after.state is State.EXPIRED
    return payment, attempt


async def test_links_without_a_checkout_expire_by_sets(shop, clock) -> None:
    made = [await shop.payment(expires_in=HOUR) for _ in range(7)]
    other = await shop.payment(expires_in=3 * HOUR)
    clock.advance(HOUR)
    sweep = await expire_payments(shop.app.ctx, actor="job:test", batch=3)
    assert sweep.as_result() == {"found": 7, "expired": 7, "asked": 0, "failed": 0, "errors": []}
    assert {(await shop.now(p)).state for p in made} == {State.EXPIRED}
    assert (await shop.now(other)).state is State.OPEN
    moves = await shop.rows("SELECT actor, reason FROM payment_moves WHERE to_state = 'EXPIRED'")
    assert [(m["actor"], m["reason"]) for m in moves] == [("job:test", "time_is_over")] * 7
    assert len(await shop.rows("SELECT id FROM events WHERE type = 'payment.expired'")) == 7
    again = await expire_payments(shop.app.ctx, actor="job:test")
    assert again.found == 0


async def test_a_checkout_is_asked_about_and_closed_before_the_payment_expires(shop, clock) -> None:
    payment, _ = await shop.opened(expires_in=HOUR)
    clock.advance(HOUR + SECOND)
    before = await expire_payments(shop.app.ctx, actor="job:test")
    assert before.expired == 0
    assert (await shop.now(payment)).state is State.OPEN
    await shop.look()
    assert (await shop.now(payment)).state is State.EXPIRED
    calls = (await shop.sandbox.objects())["calls"]
    assert calls["ask"] >= 1
    assert calls["close"] == 1


async def test_paid_in_the_last_second_is_paid_not_expired(shop, clock) -> None:
    payment, attempt = await shop.opened(expires_in=HOUR)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert (await shop.now(payment)).state is State.PAID


async def test_a_silent_provider_expires_nothing(shop, clock) -> None:
    payment, _ = await shop.opened(expires_in=HOUR)
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * HOUR)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN


async def test_looking_at_a_link_past_its_expiry_expires_it_there_and_then(shop, clock) -> None:
    payment = await shop.payment(expires_in=MINUTE)
    clock.advance(MINUTE)
    assert (await expire_one(shop.app.ctx, a.WHO, payment.id)).state is State.EXPIRED
    other, _ = await shop.opened(expires_in=MINUTE)
    clock.advance(MINUTE)
    assert (await expire_one(shop.app.ctx, a.WHO, other.id)).state is State.OPEN
    await shop.look()
    assert (await shop.now(other)).state is State.EXPIRED


@pytest.mark.parametrize(
    ("policy", "state"), [("accept", State.PAID), ("review", State.REVIEW), ("refund", State.REVIEW)]
)
async def test_late_money_is_never_lost(shop, clock, policy: str, state: State) -> None:
    payment, attempt = await _expired(shop, clock, late_policy=policy)
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(DAY + MINUTE)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.late) == (state, True)
    receipts = await shop.rows("SELECT disposition FROM receipts")
    assert [r["disposition"] for r in receipts] == ["PROOF" if policy == "accept" else "UNAPPLIED"]
    refunds = await shop.rows("SELECT state FROM refunds")
    assert [r["state"] for r in refunds] == (["PREPARED"] if policy == "refund" else [])
    code = "4000" if policy == "accept" else "2300"
    booked = await shop.rows(f"SELECT balance FROM ledger_accounts WHERE code = '{code}'")
    assert [b["balance"] for b in booked] == [1000]


async def test_paid_in_time_but_noticed_late_is_paid(shop, clock) -> None:
    payment, attempt = await _expired(shop, clock, late_policy="review")
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now() - 30 * MINUTE))
    clock.advance(DAY + MINUTE)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.late) == (State.PAID, False)


async def test_late_money_for_a_slot_that_was_paid_again_is_a_duplicate(shop, clock) -> None:
    payment, attempt = await _expired(shop, clock, customer="ann", bundle_id="gold", late_policy="accept")
    second, other = await shop.opened(customer="ann", bundle_id="gold")
    await shop.sandbox.outcome(other, "pay")
    clock.advance(MINUTE)
    await shop.look()
    assert (await shop.now(second)).state is State.PAID
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(DAY)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.duplicate, after.slot_key) == (State.REVIEW, True, None)
    assert len(await shop.rows("SELECT id FROM refunds WHERE state = 'PREPARED'")) == 1


async def test_a_provider_that_cannot_close_is_watched(shop, clock) -> None:
    """Where a checkout cannot be ended the payment expires here, and its attempt stays watched."""
    adapter = shop.app.ctx.providers["sandbox"]
    unclosable = _WithoutClose(adapter)
    shop.app.ctx.providers["sandbox"] = unclosable
    payment, attempt = await _expired(shop, clock, late_policy="review")
    [watched] = await shop.attempts(payment)
    assert watched.state is AttemptState.WATCHED
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(DAY + MINUTE)
    await shop.look()
    assert (await shop.now(payment)).state is State.REVIEW


class _WithoutClose:
    """The sandbox's adapter with a smaller capability: a provider like Paystack."""

    def __init__(self, adapter) -> None:
        self.name = adapter.name
        self.check, self.prepare, self.start, self.ask, self.identify = (
            adapter.check, adapter.prepare, adapter.start, adapter.ask, adapter.identify,
        )  # fmt: skip
