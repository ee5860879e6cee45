"""From a started checkout to what the payment becomes, by the provider's own word alone."""

import asyncio

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State, Trigger
from paystate.flows.apply_answers import apply_answers
from paystate.flows.ask_provider import ask_provider
from paystate.flows.claim_attempts import claim_these
from paystate.flows.take_hint import take_return
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def test_a_paid_checkout_makes_the_payment_paid(shop, clock) -> None:
    payment, attempt = await shop.opened(2500, "EUR")
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.transaction_amount, after.payment_method) == (State.PAID, 2500, "SANDBOX")
    assert [p["payment_id"] for p in await shop.rows("SELECT * FROM proofs")] == [payment.id]
    entries = await shop.rows("SELECT sum(side * amount) AS total, count(*) AS n FROM journal_entries")
    assert (int(entries[0]["total"]), entries[0]["n"]) == (0, 2)
    together = await shop.rows(
        "SELECT m.seq, j.key FROM payment_moves m JOIN events e ON e.resource_id = m.payment_id AND e.version = m.seq "
        "AND e.commit_id = m.commit_id LEFT JOIN journals j ON j.commit_id = m.commit_id ORDER BY m.seq"
    )
    assert [(r["seq"], r["key"]) for r in together] == [(1, None), (2, f"payment:{payment.id}:captured")]
    events = await shop.rows("SELECT type, version FROM events ORDER BY version")
    assert [(e["type"], e["version"]) for e in events] == [("payment.created", 1), ("payment.paid", 2)]


MISMATCHES = {
    "amount too small": ({"amount": 999}, "amount_mismatch"),
    "amount too large": ({"amount": 1001}, "amount_mismatch"),
    "currency": ({"currency": "JPY"}, "currency_mismatch"),
    "reference": ({"transactionReference": "someotherreference01"}, "reference_mismatch"),
    "account": ({"account": "acct_other"}, "account_mismatch"),
    "live flag": ({"live": True}, "live_flag_mismatch"),
    "amount in another currency": ({"amount": 100, "currency": "USD"}, "currency_mismatch"),
}


@pytest.mark.parametrize("case", MISMATCHES)
async def test_a_success_that_does_not_match_goes_to_review(shop, clock, case: str) -> None:
    """T2, T6: one field off at a time; nothing is issued, the money has an account or a case."""
    values, reason = MISMATCHES[case]
    payment, attempt = await shop.opened(1000, "EUR")
    await shop.sandbox.outcome(attempt, "pay", **values)
    clock.advance(5 * SECOND)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.review_reason) == (State.REVIEW, reason)
    assert after.slot_key == payment.slot_key
    assert await shop.rows("SELECT * FROM proofs") == []
    assert [c["reason"] for c in await shop.rows("SELECT reason FROM cases")] == [reason]
    foreign = reason in ("account_mismatch", "live_flag_mismatch")
    receipts = await shop.rows("SELECT disposition FROM receipts")
    assert [r["disposition"] for r in receipts] == ["FOREIGN" if foreign else "UNAPPLIED"]
    journals = await shop.rows("SELECT key FROM journals")
    assert len(journals) == (0 if foreign else 1)
    flags = (after.partial, after.over)
    assert flags == (case == "amount too small", case == "amount too large")


async def test_a_failed_checkout_fails_the_payment_and_frees_its_slot(shop, clock) -> None:
    payment, attempt = await shop.opened(customer="ann", bundle_id="gold")
    assert (await shop.now(payment)).slot_key is not None
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.slot_key) == (State.FAILED, None)
    again = await shop.payment(customer="ann", bundle_id="gold")
    assert again.state is State.OPEN


async def test_a_decline_that_may_be_retried_fails_nothing(shop, clock) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "decline")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN
    assert (await shop.attempts(payment))[0].state is AttemptState.LIVE


async def test_failed_then_paid_is_paid_and_paid_then_failed_stays_paid(shop, clock) -> None:
    """T9, T10: a failure belongs to its attempt; PAID never leaves PAID."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(attempt, "pay")
    await verify_now(shop.app.ctx, shop.id, await shop.attempts(payment), Trigger.MANUAL, 5)
    assert (await shop.now(payment)).state is State.PAID
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    await verify_now(shop.app.ctx, shop.id, await shop.attempts(payment), Trigger.MANUAL, 5)
    assert (await shop.now(payment)).state is State.PAID
    assert (await shop.attempts(payment))[0].state is AttemptState.SUCCEEDED


@pytest.mark.parametrize(
    "kind",
    [
        "outage",
        "error500",
        "html",
        "truncated",
        "empty",
        "wrong_type",
        "invalid_utf8",
        "rate_limit429",
        "not_found404",
    ],
)
async def test_no_answer_is_never_a_failure(shop, clock, kind: str) -> None:
    payment, attempt = await shop.opened(expires_in=HOUR)
    await shop.sandbox.fault("ask", kind)
    for _ in range(4):
        clock.advance(20 * MINUTE)
        await shop.look()
    assert (await shop.now(payment)).state is State.OPEN
    assert (await shop.attempts(payment))[0].state is AttemptState.LIVE
    await shop.sandbox.heal()
    await shop.sandbox.outcome(attempt, "pay", paidAt=None)
    clock.advance(HOUR)
    await shop.look()
    assert (await shop.now(payment)).state is State.PAID


async def test_an_unknown_status_is_kept_and_never_a_failure(shop, clock) -> None:
    payment, _ = await shop.opened()
    await shop.sandbox.fault("ask", "unknown_status")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN
    log = await shop.rows("SELECT outcome, decision FROM verifications")
    assert [(v["outcome"], v["decision"]) for v in log] == [("UNKNOWN", "unknown_status")]


async def test_a_silent_provider_ends_in_review_after_a_day(shop, clock) -> None:
    payment, attempt = await shop.opened(expires_in=HOUR)
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * HOUR)
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN
    for _ in range(13):
        clock.advance(2 * HOUR)
        await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.review_reason) == (State.REVIEW, "no_answer")
    await shop.sandbox.heal()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(DAY)
    await shop.look()
    assert (await shop.now(payment)).state is State.PAID


async def test_processing_waits_and_then_pays(shop, clock) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "process")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    clock.advance(3 * HOUR)
    await shop.look()
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(DAY)
    await shop.look()
    assert (await shop.now(payment)).state is State.PAID


async def test_returned_but_not_paid_goes_back_to_open(shop, clock) -> None:
    payment, _ = await shop.opened()
    returned = await take_return(shop.app.ctx, payment.short_code, from_cancel=False)
    assert returned.state is State.PENDING_VERIFICATION
    for _ in range(2):
        clock.advance(61 * SECOND)
        await shop.look()
    assert (await shop.now(payment)).state is State.OPEN


async def test_a_return_proves_nothing(shop, clock) -> None:
    """T3: however often the browser comes back, only the provider decides, once per gap."""
    payment, _ = await shop.opened()
    for _ in range(20):
        await take_return(shop.app.ctx, payment.short_code, from_cancel=False)
        await shop.look()
    calls = (await shop.sandbox.objects())["calls"]
    assert calls.get("ask", 0) <= 1
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION


async def test_a_hint_during_the_asking_is_not_lost(shop, clock) -> None:
    payment, attempt = await shop.opened()
    ctx = shop.app.ctx
    clock.advance(5 * SECOND)
    [claim] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    answer = await ask_provider(ctx, claim)
    await take_return(ctx, payment.short_code, from_cancel=False)
    await apply_answers(ctx, [answer])
    [after] = await shop.attempts(payment)
    assert after.next_check_at == clock.now() + SECOND


async def test_hints_that_wait_together_are_one_question(shop, clock) -> None:
    """T19: a second hint finds the first waiting and changes nothing; after the question, or during it, one counts anew."""
    payment, attempt = await shop.opened()
    ctx = shop.app.ctx

    async def hinted() -> int:
        await take_return(ctx, payment.short_code, from_cancel=False)
        return (await shop.attempts(payment))[0].hint_no

    clock.advance(5 * SECOND)
    assert [await hinted(), await hinted(), await hinted()] == [1, 1, 1]
    [claim] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    assert await hinted() == 2
    await apply_answers(ctx, [await ask_provider(ctx, claim)])
    clock.advance(SECOND)
    assert [await hinted(), await hinted()] == [3, 3]


async def test_a_worker_that_lost_its_claim_changes_nothing(shop, clock) -> None:
    payment, attempt = await shop.opened()
    ctx = shop.app.ctx
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    [stale] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    answer = await ask_provider(ctx, stale)
    clock.advance(ctx.patience.lease + SECOND)
    [fresh] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    assert fresh.attempt.claim_no == stale.attempt.claim_no + 1
    assert await apply_answers(ctx, [answer]) == []
    assert (await shop.now(payment)).state is State.OPEN


async def test_equal_answers_share_a_row_of_the_log(shop, clock) -> None:
    await shop.opened()
    for _ in range(5):
        clock.advance(5 * SECOND)
        await shop.look()
    log = await shop.rows('SELECT outcome, decision, "count" AS n FROM verifications ORDER BY id')
    assert [(v["outcome"], v["decision"]) for v in log] == [("PENDING", "wait"), ("PENDING", "wait")]
    assert sum(v["n"] for v in log) == 5


async def test_one_transaction_proves_one_payment(shop, clock) -> None:
    """T4: eight payments whose provider names the same transaction: one winner, seven cases."""
    opened = [await shop.opened() for _ in range(8)]
    for _, attempt in opened:
        await shop.sandbox.outcome(attempt, "pay", transaction="txn_shared")
    clock.advance(5 * SECOND)
    await asyncio.gather(
        *(verify_now(shop.app.ctx, shop.id, [attempt], Trigger.WEBHOOK, 10) for _, attempt in opened)
    )
    states = [(await shop.now(payment)).state for payment, _ in opened]
    assert sorted(states) == sorted([State.PAID] + [State.REVIEW] * 7)
    assert len(await shop.rows("SELECT * FROM proofs")) == 1
    assert {c["reason"] for c in await shop.rows("SELECT reason FROM cases")} == {"transaction_reused"}


async def test_the_same_payment_paid_twice_is_a_duplicate_with_its_refund_prepared(shop, clock) -> None:
    """T5: the second success is kept in 2300, flagged, and its refund prepared; nothing happens twice."""
    payment, first = await shop.opened()
    await shop.sandbox.outcome(first, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(first, "pay", transaction="txn_second")
    clock.advance(5 * SECOND)
    await verify_now(shop.app.ctx, shop.id, await shop.attempts(payment), Trigger.MANUAL, 5)
    after = await shop.now(payment)
    assert after.state is State.PAID
    assert after.duplicate
    assert len(await shop.rows("SELECT * FROM refunds WHERE state = 'PREPARED'")) == 1
    balance = await shop.rows("SELECT balance FROM ledger_accounts WHERE code = '2300'")
    assert [b["balance"] for b in balance] == [1000]
