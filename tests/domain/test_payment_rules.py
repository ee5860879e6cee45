"""The pure rules of payments against a small reference model, by Hypothesis; and the published table itself."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paystate.domain.payments import (
    Attempt,
    AttemptState,
    Outcome,
    Patience,
    Payment,
    Situation,
    State,
    Step,
    moves,
    rules,
)
from paystate.domain.payments.port import Verdict
from paystate.domain.payments.states import ENDED, FINAL, MOVES, OFFERED, SLOTLESS, valid_transitions
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, Instant
from paystate.kit.errors import Conflict

NOW = Instant(1_800_000_000_000_000)
PATIENCE = Patience()


def a_payment(**values: Any) -> Payment:
    base: dict[str, Any] = dict.fromkeys(Payment.__struct_fields__)
    base |= {
        "id": "pay_1", "merchant_id": "mer_1", "short_code": "c", "state": State.OPEN, "seq": 1, "version": 1,
        "amount": 1000, "currency": "EUR", "description": "", "late_policy": "review", "last_event_type": "CREATED",
        "last_event_at": NOW, "metadata": "{}", "created_at": NOW - HOUR, "updated_at": NOW, "slot": "bundle:a:b",
        "slot_key": "bundle:a:b", **dict.fromkeys(("late", "partial", "over", "duplicate", "resolved_by_hand", "disputed"), False),
    }  # fmt: skip
    return Payment(**{**base, **values})


def an_attempt(**values: Any) -> Attempt:
    base: dict[str, Any] = dict.fromkeys(Attempt.__struct_fields__)
    base |= {
        "id": "att_1", "payment_id": "pay_1", "merchant_id": "mer_1", "connection_id": "con_1", "provider": "sandbox",
        "state": AttemptState.LIVE, "provider_reference": "ref", "idempotency_key": "k", "start_failures": 0,
        "start_until": NOW + DAY, "close_wanted": False, "check_band": 0, "check_trigger": "poll", "claim_no": 1,
        "hint_no": 0, "unpaid_answers": 0, "silent_count": 0, "created_at": NOW - HOUR,
    }  # fmt: skip
    return Attempt(**{**base, **values})


def a_verdict(outcome: Outcome = Outcome.SUCCEEDED, **values: Any) -> Verdict:
    base: dict[str, Any] = {
        "outcome": outcome, "reference": "ref", "account": "acct", "live": False, "detail": "", "raw_digest": "d",
        "amount": 1000, "currency": "EUR", "transaction_id": "txn", "provider_at": NOW,
    }  # fmt: skip
    return Verdict(**{**base, **values})


def a_situation(payment: Payment, attempt: Attempt | None = None, **values: Any) -> Situation:
    base: dict[str, Any] = {"others": [], "account": "acct", "live": False, "now": NOW, "patience": PATIENCE}
    return Situation(payment, attempt or an_attempt(), **{**base, **values})


states = st.sampled_from([s for s in State if s is not State.DRAFT])
attempt_states = st.sampled_from(list(AttemptState))
times = st.one_of(st.none(), st.integers(-2 * DAY, 2 * DAY).map(lambda d: Instant(NOW + d)))
situations = st.builds(
    lambda state, attempt, others, expires, due, policy, cancel, reason, slot_paid, owner: a_situation(
        a_payment(
            state=state, expires_at=expires, due_at=due, late_policy=policy, cancel_requested_at=cancel,
            review_reason=reason, slot_key=None if state in SLOTLESS else "bundle:a:b",
            pending_since=NOW - HOUR if state is State.PENDING_VERIFICATION else None,
        ),
        an_attempt(state=attempt),
        others=others, slot_paid=slot_paid, receipt_owner=owner,
    ),
    states, attempt_states, st.lists(attempt_states, max_size=3), times, times,
    st.sampled_from(["accept", "review", "refund"]), st.one_of(st.none(), st.just(NOW - MINUTE)),
    st.sampled_from([None, "no_answer", "amount_mismatch"]), st.booleans(),
    st.sampled_from(["nobody", "this_payment", "other_payment"]),
)  # fmt: skip
verdicts = st.builds(
    a_verdict,
    st.sampled_from(list(Outcome)),
    amount=st.sampled_from([1000, 999, 1001, 0, None]),
    currency=st.sampled_from(["EUR", "JPY", None]),
    reference=st.sampled_from(["ref", "other"]),
    account=st.sampled_from(["acct", "other"]),
    live=st.booleans(),
    transaction_id=st.sampled_from(["txn", None]),
    provider_at=times,
)


def exact(verdict: Verdict) -> bool:
    """The reference model's word for proof: every one of the facts equal, none missing."""
    return (
        verdict.outcome is Outcome.SUCCEEDED
        and (verdict.amount, verdict.currency, verdict.reference, verdict.account, verdict.live)
        == (1000, "EUR", "ref", "acct", False)
        and verdict.transaction_id == "txn"
    )


@settings(max_examples=2000, deadline=None)
@given(situations, verdicts)
def test_every_decision_keeps_the_promises(situation: Situation, verdict: Verdict) -> None:
    decision = rules.decide(situation, verdict)
    before = situation.payment.state
    if decision.move is not None:
        assert (before, decision.move) in MOVES
        assert before is not State.PAID
    if decision.move is State.PAID:
        assert exact(verdict)
        assert decision.receipt == "PROOF"
        assert situation.receipt_owner == "nobody"
    assert (decision.receipt == "PROOF") == (decision.move is State.PAID)
    if decision.receipt in ("UNAPPLIED", "FOREIGN"):
        assert decision.case is not None
    if decision.move in (State.FAILED, State.EXPIRED, State.CANCELED):
        assert verdict.outcome in (Outcome.FAILED, Outcome.EXPIRED, Outcome.CANCELED)
        assert all(
            s in ENDED or s is AttemptState.WATCHED for s in [*situation.others, decision.attempt_state]
        )
    if verdict.outcome is Outcome.UNKNOWN:
        assert decision.move is None
        assert decision.attempt_state is situation.attempt.state


@settings(max_examples=1000, deadline=None)
@given(situations)
def test_a_success_is_never_forgotten(situation: Situation) -> None:
    """Invariant 3: a success known to us is a proof, a case, or was settled before."""
    decision = rules.decide(situation, a_verdict())
    assert decision.receipt is not None or decision.case is not None or decision.label == "already_settled"


@settings(max_examples=1000, deadline=None)
@given(situations)
def test_silence_fails_nothing(situation: Situation) -> None:
    decision = rules.silence(situation)
    assert decision.move in (None, State.REVIEW)
    assert decision.attempt_state is situation.attempt.state


@pytest.mark.parametrize("field", ["amount", "currency", "reference", "account", "live"])
def test_each_fact_alone_keeps_a_success_from_being_proof(field: str) -> None:
    other = {"amount": 1001, "currency": "USD", "reference": "x", "account": "x", "live": True}[field]
    decision = rules.decide(a_situation(a_payment()), replace(a_verdict(), **{field: other}))
    assert (decision.move, decision.receipt != "PROOF") == (State.REVIEW, True)


def test_more_than_asked_is_review_with_a_checkout_provider() -> None:
    decision = rules.decide(a_situation(a_payment()), a_verdict(amount=2000))
    assert (decision.move, decision.flags) == (State.REVIEW, frozenset({"over"}))


def test_verification_of_two_hours_ends_open_or_expired() -> None:
    waiting = a_payment(state=State.PENDING_VERIFICATION, pending_since=NOW - 3 * HOUR, due_at=NOW - HOUR)
    ahead = msgspec.structs.replace(waiting, expires_at=NOW + HOUR)
    ended = a_verdict(Outcome.EXPIRED, transaction_id=None)
    assert rules.decide(a_situation(ahead), ended).move is State.OPEN
    assert rules.decide(a_situation(waiting), ended).move is State.EXPIRED
    assert rules.decide(a_situation(waiting), a_verdict(Outcome.PENDING)).close_next
    assert rules.decide(a_situation(waiting), a_verdict(Outcome.PROCESSING)).move is None


def test_two_unpaid_answers_a_minute_apart_bring_a_returned_payment_back() -> None:
    payment = a_payment(state=State.PENDING_VERIFICATION, pending_since=NOW - MINUTE, due_at=NOW + HOUR)
    first = rules.decide(a_situation(payment), a_verdict(Outcome.PENDING))
    assert (first.move, first.unpaid_answers, first.count_unpaid) == (None, 1, True)
    soon = an_attempt(unpaid_answers=1, unpaid_answer_at=NOW - 59 * SECOND)
    assert rules.decide(a_situation(payment, soon), a_verdict(Outcome.PENDING)).move is None
    later = an_attempt(unpaid_answers=1, unpaid_answer_at=NOW - 60 * SECOND)
    assert rules.decide(a_situation(payment, later), a_verdict(Outcome.PENDING)).move is State.OPEN


def test_the_published_targets_of_each_state() -> None:
    assert [s.value for s in valid_transitions(State.DRAFT)] == ["OPEN", "CANCELED"]
    assert valid_transitions(State.PAID) == []
    assert {State.PAID, State.EXPIRED, State.CANCELED} == FINAL
    assert set(valid_transitions(State.EXPIRED)) == {State.PAID, State.REVIEW}


@given(states, states)
def test_a_move_outside_the_table_is_refused(before: State, to: State) -> None:
    step = Step(a_payment(state=before, slot_key=None), to, "test", "test")
    if (before, to) in MOVES:
        after = moves.after(step, NOW, PATIENCE)
        assert (after.state, after.seq) == (to, 2)
        assert after.slot_key is None or after.state not in SLOTLESS
    else:
        with pytest.raises(Conflict):
            moves.after(step, NOW, PATIENCE)


def test_the_slot_is_kept_in_review_only_when_it_was_held() -> None:
    held = a_payment(state=State.OPEN)
    assert moves.after(Step(held, State.REVIEW, "t", "t"), NOW, PATIENCE).slot_key == "bundle:a:b"
    late = a_payment(state=State.EXPIRED, slot_key=None)
    assert moves.after(Step(late, State.REVIEW, "t", "t"), NOW, PATIENCE).slot_key is None
    assert moves.after(Step(held, State.FAILED, "t", "t"), NOW, PATIENCE).slot_key is None
    assert OFFERED.isdisjoint(ENDED)
