"""A person decides: accept, reject, refund, keep waiting; with a reason, once, and against whatever comes meanwhile."""

import asyncio

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State, Trigger
from paystate.domain.payments.by_hand import Choice
from paystate.flows.apply_answers import apply_answers
from paystate.flows.ask_provider import ask_provider
from paystate.flows.audit import run_audit
from paystate.flows.claim_attempts import claim_these
from paystate.flows.expire_payments import expire_payments
from paystate.flows.resolve_case import Order, Person, resolve_case, resolve_payment
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, SECOND, rfc3339
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.ids import MerchantId


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


def _by(shop, actor="operator:ann") -> Person:
    return Person(shop.id, actor, shop.app.ctx.patience)


async def _decide(shop, case_id, choice, actor="operator:ann", reason="checked it", **values):
    order = Order(Choice(choice), reason, **values)
    return await shop.app.db.write(lambda tx: resolve_case(_by(shop, actor), case_id, order, tx))


async def _settle(shop, payment, choice="ACCEPT", reason="paid in cash", **values):
    order = Order(Choice(choice), reason, **values)
    return await shop.app.db.write(lambda tx: resolve_payment(_by(shop), payment.id, order, tx))


async def _case(shop, state="OPEN"):
    [case] = await shop.rows(f"SELECT * FROM cases WHERE state = '{state}'")
    return case


async def _wrong_amount(shop, clock, amount=999, **values):
    """A payment of 1000 in review because of what came, and its case."""
    payment, attempt = await shop.opened(1000, **values)
    await shop.sandbox.outcome(attempt, "pay", amount=amount, transaction="t1")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.REVIEW
    return payment, attempt, (await _case(shop))["id"]


async def _silent(shop, clock):
    """A payment in review because its provider said nothing for a day."""
    payment, attempt = await shop.opened(1000, expires_in=HOUR)
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * HOUR)
    await shop.look()
    for _ in range(13):
        clock.advance(2 * HOUR)
        await shop.look()
    assert (await shop.now(payment)).review_reason == "no_answer"
    await shop.sandbox.heal()
    return payment, attempt, (await _case(shop))["id"]


async def _balances(shop) -> dict[str, int]:
    found = await shop.rows("SELECT code, sum(balance) AS b FROM ledger_accounts GROUP BY code")
    return {row["code"]: int(row["b"]) for row in found if row["b"]}


async def _sound(shop) -> None:
    report = await run_audit(shop.app.ctx)
    assert report.sound, report.as_result()


@pytest.mark.parametrize(("amount", "left", "flags"), [(999, 0, (True, False)), (1300, 300, (False, True))])
async def test_accepting_books_what_came_and_marks_the_payment_for_ever(
    shop, clock, amount, left, flags
) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock, amount)
    done = await _decide(shop, case_id, "ACCEPT", reason="the customer is known")
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand, after.review_reason) == (State.PAID, True, None)
    assert (after.transaction_id, after.transaction_amount, after.payment_method) == ("t1", amount, "SANDBOX")
    assert (after.partial, after.over) == flags
    assert (done.case.resolution, done.case.resolution_reason) == ("ACCEPT", "the customer is known")
    expected = {"1100": amount, "4000": amount - left, **({"2300": left} if left else {})}
    assert await _balances(shop) == expected
    told = await shop.rows("SELECT actor, action, resource_id, reason FROM audit_log ORDER BY id")
    assert {(t["actor"], t["action"], t["resource_id"], t["reason"]) for t in told} == {
        ("operator:ann", "case.resolve", case_id, "the customer is known"),
        ("operator:ann", "payment.resolve", payment.id, "the customer is known"),
    }
    [journal] = await shop.rows("SELECT commit_id FROM journals WHERE kind <> 'receipt_unapplied'")
    moved = await shop.rows("SELECT commit_id FROM payment_moves WHERE to_state = 'PAID'")
    assert moved == [journal]
    await _sound(shop)
    with pytest.raises(Exception, match=r"by_hand_for_ever|append-only"):
        await shop.app.db.write(
            lambda tx: tx.conn.exec_driver_sql("UPDATE payments SET resolved_by_hand = FALSE")
        )


async def test_what_was_accepted_is_not_settled_again_by_the_next_answer(shop, clock) -> None:
    payment, attempt, case_id = await _wrong_amount(shop, clock)
    await _decide(shop, case_id, "ACCEPT")
    clock.advance(DAY)
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.MANUAL, 5)
    after = await shop.now(payment)
    assert (after.state, after.duplicate) == (State.PAID, False)
    assert await _balances(shop) == {"1100": 999, "4000": 999}
    await _sound(shop)


@pytest.mark.parametrize("to", [None, State.FAILED, State.CANCELED, State.EXPIRED])
async def test_rejecting_leads_where_it_was_asked_to(shop, clock, to) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock, customer="ann", bundle_id="gold")
    await _decide(shop, case_id, "REJECT", to=to)
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand, after.slot_key) == (to or State.FAILED, True, None)
    assert await _balances(shop) == {"1100": 999, "2300": 999}
    again = await shop.payment(customer="ann", bundle_id="gold")
    assert again.state is State.OPEN
    await _sound(shop)


async def test_a_late_payment_that_is_rejected_is_what_it_was(shop, clock) -> None:
    payment, attempt = await shop.opened(expires_in=HOUR)
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(DAY)
    await shop.look()
    await _decide(shop, (await _case(shop))["id"], "REJECT")
    assert (await shop.now(payment)).state is State.EXPIRED


async def test_a_refund_is_prepared_exactly_once(shop, clock) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock)
    both = await asyncio.gather(
        *(_decide(shop, case_id, "REFUND", actor=f"operator:{n}") for n in "ab"), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["Conflict", "Resolved"], both
    [refund] = await shop.rows("SELECT amount, state, reason FROM refunds")
    assert refund == {"amount": 999, "state": "PREPARED", "reason": "refunded_by_hand"}
    assert (await shop.now(payment)).state is State.FAILED
    await _sound(shop)


async def test_a_refund_that_policy_prepared_is_not_prepared_again(shop, clock) -> None:
    payment, first = await shop.opened()
    await shop.sandbox.outcome(first, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(first, "pay", transaction="t2")
    clock.advance(5 * SECOND)
    await verify_now(shop.app.ctx, a.WHO, [first], Trigger.MANUAL, 5)
    await _decide(shop, (await _case(shop))["id"], "REFUND")
    assert len(await shop.rows("SELECT id FROM refunds")) == 1
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand) == (State.PAID, False)
    await _sound(shop)


async def test_accepting_withdraws_the_refund_that_policy_prepared(shop, clock) -> None:
    payment, attempt = await shop.opened(expires_in=HOUR, late_policy="refund")
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    clock.advance(DAY)
    await shop.look()
    assert len(await shop.rows("SELECT id FROM refunds WHERE state = 'PREPARED'")) == 1
    await _decide(shop, (await _case(shop))["id"], "ACCEPT")
    assert (await shop.now(payment)).state is State.PAID
    assert [r["state"] for r in await shop.rows("SELECT state FROM refunds")] == ["FAILED"]
    assert await _balances(shop) == {"1100": 1000, "4000": 1000}
    await _sound(shop)


async def test_money_that_went_back_at_the_provider_is_not_accepted_nor_given_back_again(shop, clock) -> None:
    _, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay", transaction="t1")
    await shop.sandbox.outcome(attempt, "refund")
    clock.advance(5 * SECOND)
    await shop.look()
    case = await _case(shop)
    assert case["reason"] == "refunded_before_paid"
    await _decide(shop, case["id"], "REFUND")
    assert await shop.rows("SELECT id FROM refunds") == []
    await _sound(shop)


async def test_keeping_waiting_moves_nothing(shop, clock) -> None:
    payment, _, case_id = await _silent(shop, clock)
    before = await shop.now(payment)
    await _decide(shop, case_id, "KEEP_WAITING", hours=48)
    case = await _case(shop)
    assert (case["snoozed_until"], await shop.now(payment)) == (clock.now() + 48 * HOUR, before)
    assert [e["action"] for e in await shop.rows("SELECT action FROM audit_log")] == ["case.snooze"]


async def test_a_payment_in_review_is_not_left_without_a_case(shop, clock) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock)
    with pytest.raises(Conflict):
        await _decide(shop, case_id, "NOTE")
    await _decide(shop, case_id, "ACCEPT")
    with pytest.raises(Conflict):
        await _decide(shop, case_id, "REJECT")
    with pytest.raises(Conflict):
        await _settle(shop, payment)


async def test_a_reason_is_needed_and_another_merchants_case_is_unknown(shop, clock) -> None:
    _, _, case_id = await _wrong_amount(shop, clock)
    with pytest.raises(Refused):
        await _decide(shop, case_id, "ACCEPT", reason="  ")
    stranger = Person(MerchantId("mer_someone_else"), "key:x", shop.app.ctx.patience)
    order = Order(Choice.ACCEPT, "mine now")
    with pytest.raises(NotFound):
        await shop.app.db.write(lambda tx: resolve_case(stranger, case_id, order, tx))


@pytest.mark.parametrize("choices", [("ACCEPT", "REJECT"), ("REFUND", "ACCEPT"), ("REJECT", "REFUND")])
async def test_of_two_people_at_once_one_wins(shop, clock, choices) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock)
    results = await asyncio.gather(
        *(_decide(shop, case_id, c, actor=f"operator:{c}") for c in choices), return_exceptions=True
    )
    [winner] = [r for r in results if not isinstance(r, Exception)]
    [loser] = [r for r in results if isinstance(r, Exception)]
    assert isinstance(loser, Conflict), loser
    resolved = await _case(shop, "RESOLVED")
    assert resolved["resolved_by"] == f"operator:{winner.case.resolution}"
    moves = await shop.rows("SELECT to_state FROM payment_moves ORDER BY seq")
    assert len(moves) == 3
    assert len(await shop.rows("SELECT id FROM audit_log")) == 2
    assert (await shop.now(payment)).state.value == moves[-1]["to_state"]
    await _sound(shop)


async def test_any_unpaid_payment_is_settled_by_hand_and_its_checkout_is_ended(shop, clock) -> None:
    """E8: paid in cash. Suspense until the money is matched; the provider may not be paid as well."""
    payment, attempt = await shop.opened(customer="ann", bundle_id="gold")
    await _settle(shop, payment)
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand, after.transaction_id) == (State.PAID, True, None)
    assert await _balances(shop) == {"1990": 1000, "4000": 1000}
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.attempts(payment))[0].state is AttemptState.CANCELED
    assert (await _case(shop, "RESOLVED"))["resolution_reason"] == "paid in cash"
    events = [e["type"] for e in await shop.rows("SELECT type FROM events ORDER BY version")]
    assert events == ["payment.created", "payment.review_required", "payment.paid"]
    await _sound(shop)
    assert attempt.payment_id == payment.id


async def test_an_earlier_decision_is_overruled_only_knowingly(shop, clock) -> None:
    payment, _, case_id = await _wrong_amount(shop, clock)
    await _decide(shop, case_id, "REJECT")
    with pytest.raises(Conflict):
        await _settle(shop, payment)
    await _settle(shop, payment, again=True)
    assert (await shop.now(payment)).state is State.PAID
    await _sound(shop)


async def test_only_accepting_settles_what_no_case_is_about(shop) -> None:
    payment = await shop.payment()
    for choice in ("REJECT", "REFUND", "KEEP_WAITING", "NOTE"):
        with pytest.raises(Conflict):
            await _settle(shop, payment, choice)
    draft = await shop.payment(draft=True)
    with pytest.raises(Conflict):
        await _settle(shop, draft)
    assert await shop.rows("SELECT id FROM cases") == []


async def test_money_after_a_settlement_by_hand_is_asked_about_and_matched(shop, clock) -> None:
    """Perhaps it is the money the person spoke of: no refund is prepared, and accepting it clears the suspense."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay", transaction="t1")
    await _settle(shop, payment, reason="seen on the provider's page")
    clock.advance(5 * SECOND)
    await shop.look()
    case = await _case(shop)
    assert (case["reason"], await shop.rows("SELECT id FROM refunds")) == ("paid_after_hand", [])
    assert await _balances(shop) == {"1100": 1000, "1990": 1000, "2300": 1000, "4000": 1000}
    await _decide(shop, case["id"], "ACCEPT")
    after = await shop.now(payment)
    assert (after.state, after.transaction_id, after.resolved_by_hand) == (State.PAID, "t1", True)
    assert await _balances(shop) == {"1100": 1000, "4000": 1000}
    await _sound(shop)


async def test_a_proof_that_comes_first_wins_and_answers_the_case(shop, clock) -> None:
    payment, attempt, case_id = await _silent(shop, clock)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(DAY)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand) == (State.PAID, False)
    assert (await _case(shop, "RESOLVED"))["resolution"] == "PROVED"
    with pytest.raises(Conflict):
        await _decide(shop, case_id, "REJECT")


@pytest.mark.parametrize(
    ("to", "state"),
    [(State.FAILED, State.PAID), (State.EXPIRED, State.REVIEW), (State.CANCELED, State.REVIEW)],
)
async def test_a_proof_after_a_rejection_is_not_lost(shop, clock, to, state) -> None:
    payment, attempt, case_id = await _silent(shop, clock)
    await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
    await _decide(shop, case_id, "REJECT", to=to)
    clock.advance(DAY)
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.WEBHOOK, 5)
    after = await shop.now(payment)
    assert (after.state, after.resolved_by_hand) == (state, True)
    await _sound(shop)


@pytest.mark.parametrize("round_", range(4))
async def test_a_proof_at_the_same_moment_and_a_person_leave_one_truth(shop, clock, round_) -> None:
    """Whoever has the lock first; the other one decides on what it reads there."""
    payment, attempt, case_id = await _silent(shop, clock)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(DAY)
    ctx = shop.app.ctx
    [claim] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    answer = await ask_provider(ctx, claim)
    acts = [apply_answers(ctx, [answer]), _decide(shop, case_id, "ACCEPT" if round_ % 2 else "REJECT")]
    results = await asyncio.gather(*(acts if round_ < 2 else reversed(acts)), return_exceptions=True)
    errors = [r for r in results if isinstance(r, Exception)]
    assert all(isinstance(e, Conflict) for e in errors), errors
    after = await shop.now(payment)
    if errors:
        assert (after.state, after.resolved_by_hand) == (State.PAID, False)
    else:
        assert after.resolved_by_hand
        assert after.state in (State.PAID, State.REVIEW)
    assert len(await shop.rows("SELECT id FROM journals WHERE kind <> 'receipt_unapplied'")) <= 1
    assert await shop.rows("SELECT id FROM refunds") == []
    await _sound(shop)


async def test_several_transactions_must_be_named(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    for name, amount in (("t1", 900), ("t2", 1000)):
        await shop.sandbox.outcome(attempt, "pay", amount=amount, transaction=name)
    clock.advance(5 * SECOND)
    await shop.look()
    assert len(await shop.rows("SELECT id FROM receipts WHERE disposition = 'UNAPPLIED'")) == 2
    with pytest.raises(Refused) as refused:
        await _settle(shop, payment, transactions=("t9",))
    assert (refused.value.code, refused.value.help["available"]) == ("transaction_unknown", ["t1", "t2"])
    await _settle(shop, payment, transactions=("t2",), reason="this one is right")
    after = await shop.now(payment)
    assert (after.state, after.transaction_id) == (State.PAID, "t2")
    left = await _case(shop)
    assert left["reason"] == "amount_mismatch"
    await _decide(shop, left["id"], "REFUND")
    assert [r["amount"] for r in await shop.rows("SELECT amount FROM refunds")] == [900]
    assert (await shop.now(payment)).state is State.PAID
    assert await _balances(shop) == {"1100": 1900, "2300": 900, "4000": 1000}
    await _sound(shop)


async def test_foreign_money_is_settled_by_a_persons_word_only(shop, clock) -> None:
    payment, attempt = await shop.opened(1000)
    await shop.sandbox.outcome(attempt, "pay", live=True)
    clock.advance(5 * SECOND)
    await shop.look()
    case = await _case(shop)
    with pytest.raises(Refused):
        await _decide(shop, case["id"], "REFUND")
    await _decide(shop, case["id"], "ACCEPT")
    assert (await shop.now(payment)).transaction_id is None
    assert await _balances(shop) == {"1990": 1000, "4000": 1000}
    await _sound(shop)
