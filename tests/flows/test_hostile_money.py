"""Hostile: money that comes twice, late, back, for somebody else, or with an answer that makes no sense."""

from dataclasses import replace
from functools import partial

import pytest
from tests import a

from paystate.domain import cases
from paystate.domain.payments import AttemptState, State, Trigger, proof_store
from paystate.flows import cancel_payment as cancelling
from paystate.flows.apply_answers import apply_answers
from paystate.flows.ask_provider import ask_provider
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.claim_attempts import claim_these
from paystate.flows.edit_payment import retry_payment
from paystate.flows.expire_payments import expire_payments
from paystate.flows.replace_payment import finish_intent
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, rfc3339
from paystate.kit.errors import Conflict
from paystate.kit.ids import new_id

GOLD = {"customer": "ann", "bundle_id": "gold"}


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def _asked(shop, *attempts):
    ctx = shop.app.ctx
    claims = await ctx.db.write(lambda tx: claim_these([x.id for x in attempts], ctx.patience.lease, tx))
    by_id = {c.attempt.id: c for c in claims}
    return [await ask_provider(ctx, by_id[x.id]) for x in attempts]


async def _again(shop, payment) -> None:
    await verify_now(shop.app.ctx, shop.id, await shop.attempts(payment), Trigger.MANUAL, 5)


async def test_money_for_a_payment_under_cancel_whose_slot_was_paid_again_is_a_duplicate(
    shop, clock, monkeypatch
) -> None:
    """Domain: the slot is freed at once, the state follows the answer, later money is `late` or `duplicate`."""
    monkeypatch.setattr(cancelling, "PROVIDER_WAIT_SECONDS", 0.3)
    old, attempt = await shop.opened(**GOLD)
    await shop.sandbox.fault("any", "outage")
    assert (await cancel_payment(shop.app.ctx, shop.id, old.id, actor="key:test")).state is State.OPEN
    await shop.sandbox.heal()
    new, other = await shop.opened(**GOLD)
    await shop.sandbox.outcome(other, "pay")
    clock.advance(2 * SECOND)
    await apply_answers(shop.app.ctx, await _asked(shop, other))
    assert (await shop.now(new)).state is State.PAID
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(MINUTE)
    await shop.look()
    after = await shop.now(old)
    assert after.duplicate or after.late
    assert len(await shop.rows("SELECT id FROM refunds WHERE state = 'PREPARED'")) == 1


async def test_two_payments_of_one_slot_in_one_batch_are_not_both_accepted(shop, clock) -> None:
    """The second decision of a batch must see that the first one paid the slot."""
    late, attempt = await shop.opened(expires_in=HOUR, late_policy="accept", **GOLD)
    clock.advance(HOUR + SECOND)
    await shop.look()
    assert (await shop.now(late)).state is State.EXPIRED
    fresh, other = await shop.opened(**GOLD)
    for one in (other, attempt):
        await shop.sandbox.outcome(one, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(2 * SECOND)
    await apply_answers(shop.app.ctx, await _asked(shop, other, attempt))
    assert (await shop.now(fresh)).state is State.PAID
    after = await shop.now(late)
    assert (after.state, after.duplicate) == (State.REVIEW, True)


async def test_the_second_paid_payment_of_a_slot_is_flagged(shop, clock) -> None:
    """P1 fails, the customer starts P2 for the same thing, P1's money comes after all, then P2's: paid twice."""
    first, one = await shop.opened(**GOLD)
    await shop.sandbox.outcome(one, "fail")
    clock.advance(5 * SECOND)
    await shop.look()
    second, two = await shop.opened(**GOLD)
    await shop.sandbox.outcome(one, "pay", paidAt=rfc3339(clock.now()))
    await _again(shop, first)
    assert (await shop.now(first)).state is State.PAID
    await shop.sandbox.outcome(two, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    after = await shop.now(second)
    assert (after.state, after.duplicate) == (State.PAID, True)


async def test_the_same_bundle_bought_again_next_month_is_no_duplicate(shop, clock) -> None:
    """A slot names customer and bundle for ever; last month's purchase was no second payment of this one."""
    _, one = await shop.opened(**GOLD)
    await shop.sandbox.outcome(one, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    clock.advance(30 * DAY)
    renewal, two = await shop.opened(expires_in=HOUR, **GOLD)
    await shop.sandbox.outcome(two, "expire")
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert (await shop.now(renewal)).state is State.EXPIRED
    await shop.sandbox.outcome(two, "pay", paidAt=rfc3339(clock.now() - 30 * MINUTE))
    clock.advance(MINUTE)
    await _again(shop, renewal)
    after = await shop.now(renewal)
    assert (after.state, after.duplicate) == (State.PAID, False)


async def test_a_second_transaction_of_the_same_checkout_is_seen(shop, clock) -> None:
    """T5: the sandbox says so under `further`; two payments on one checkout, one fulfilment, one refund prepared."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(attempt, "pay", transaction="txn_second")
    clock.advance(5 * SECOND)
    await _again(shop, payment)
    assert (await shop.now(payment)).duplicate
    assert len(await shop.rows("SELECT id FROM receipts")) == 2


async def test_money_that_went_back_before_we_looked_issues_nothing(shop, clock) -> None:
    """A provider that keeps saying "succeeded" beside `amountRefunded`: REFUNDED before PAID is for a person."""
    payment, attempt = await shop.opened(1000)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    [answer] = await _asked(shop, attempt)
    await apply_answers(
        shop.app.ctx, [replace(answer, verdict=replace(answer.verdict, amount_refunded=1000))]
    )
    assert (await shop.now(payment)).state is State.REVIEW


async def test_money_that_went_back_in_part_before_we_looked_is_told(shop, clock) -> None:
    _, attempt = await shop.opened(1000)
    await shop.sandbox.outcome(attempt, "pay")
    await shop.sandbox.outcome(attempt, "refund", amount=400)
    clock.advance(5 * SECOND)
    await shop.look()
    assert len(await shop.rows("SELECT reason FROM cases")) == 1


async def test_a_refunded_transaction_of_another_payment_goes_to_review(shop, clock) -> None:
    """Invariant 5 from the other side: the answer must be decided, not stay a poison item for ever."""
    _, one = await shop.opened()
    await shop.sandbox.outcome(one, "pay", transaction="txn_shared")
    clock.advance(5 * SECOND)
    await shop.look()
    second, two = await shop.opened()
    await shop.sandbox.outcome(two, "pay", transaction="txn_shared")
    await shop.sandbox.outcome(two, "refund")
    for _ in range(5):
        clock.advance(2 * MINUTE)
        await shop.look()
    assert (await shop.now(second)).state is State.REVIEW


async def test_a_success_without_a_transaction_becomes_a_case(shop, clock) -> None:
    """Invariant 3: every provider success known to us is a proof, a case or an unmatched receipt."""
    payment, attempt = await shop.opened(expires_in=HOUR)
    await shop.sandbox.outcome(attempt, "pay")
    for _ in range(4):
        clock.advance(DAY)
        await expire_payments(shop.app.ctx, actor="job:test")
        [answer] = await _asked(shop, attempt)
        bare = replace(answer.verdict, transaction_id=None)
        await apply_answers(shop.app.ctx, [replace(answer, verdict=bare)])
    assert len(await shop.rows("SELECT reason FROM cases")) == 1
    assert (await shop.now(payment)).state is State.REVIEW


async def test_a_receipt_without_a_payment_is_not_somebody_elses(shop, clock) -> None:
    """Reconciliation saw the transaction first (payment unknown); the payment it belongs to comes later."""
    payment, attempt = await shop.opened(1000)
    await shop.sandbox.outcome(attempt, "pay", transaction="txn_early")

    def unmatched(tx):
        row = {
            "id": new_id("rcp", tx.now), "merchant_id": shop.merchant.id, "connection_id": shop.connection.id,
            "attempt_id": None, "payment_id": None, "provider": "sandbox", "account": "acct_sandbox",
            "live": False, "transaction_id": "txn_early", "amount": 1000, "currency": "EUR",
            "disposition": "UNAPPLIED", "reason": "unmatched", "provider_at": None, "raw_digest": "x",
            "commit_id": tx.id, "created_at": tx.now,
        }  # fmt: skip
        proof_store.add_receipts(tx, a.WHO, [row])

    await shop.app.db.write(unmatched)
    clock.advance(5 * SECOND)
    await shop.look()
    reasons = [c["reason"] for c in await shop.rows("SELECT reason FROM cases")]
    assert "transaction_reused" not in reasons, (await shop.now(payment)).state


async def test_an_old_failure_does_not_fail_a_payment_that_is_tried_again(shop, clock) -> None:
    """T10: the failure belongs to its attempt and was counted once."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.FAILED
    await retry_payment(shop.app.ctx, shop.id, payment.id, actor="key:test")
    await _again(shop, payment)
    assert (await shop.now(payment)).state is State.OPEN


async def test_a_decided_fact_opens_no_second_case(shop, clock) -> None:
    """A refund made at the provider is decided by a person once; the next webhook about it changes nothing."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(attempt, "refund")
    await _again(shop, payment)
    [case] = await shop.rows("SELECT id FROM cases")
    resolve = partial(cases.resolve, resolution="book_refund", actor="operator:x", reason="booked")
    await shop.app.db.write(lambda tx: resolve(tx, shop.id, case["id"]))
    clock.advance(5 * SECOND)
    await _again(shop, payment)
    assert len(await shop.rows("SELECT id FROM cases")) == 1


async def test_cancel_and_start_new_stops_while_money_is_processing(shop, clock) -> None:
    """`_end_old`: money that is there, or may be, stops the replacement."""
    _, attempt = await shop.opened(**GOLD)
    await shop.sandbox.outcome(attempt, "process")
    clock.advance(5 * SECOND)
    await shop.look()
    with pytest.raises(Conflict) as refused:
        await shop.payment(**GOLD)
    intent_id = refused.value.help["actions"]["cancel"]["url"].rpartition("=")[2]
    with pytest.raises(Conflict):
        await finish_intent(shop.app.ctx, intent_id)


async def test_processing_after_an_end_never_expires(shop, clock) -> None:
    """A bank transfer arrives at a checkout that was over: PROCESSING is newer, and never expires."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "expire")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.attempts(payment))[0].state is AttemptState.EXPIRED
    await shop.sandbox.outcome(attempt, "process")
    await _again(shop, payment)
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    clock.advance(3 * HOUR)
    await shop.look()
    await expire_payments(shop.app.ctx, actor="job:test")
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
