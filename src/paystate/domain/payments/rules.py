"""What follows from an answer: pure rules from (payment, attempts, verdict) to a decision (docs/reference/payment-states.md)."""

from collections.abc import Sequence
from dataclasses import replace

from paystate.domain.payments.port import Verdict
from paystate.domain.payments.records import Attempt, Payment
from paystate.domain.payments.schedule import (
    UNPAID_ANSWERS,
    UNPAID_GAP,
    closes_at,
    ends_at,
    is_past,
    silent_since,
    within_own_time,
)
from paystate.domain.payments.situation import Decision, Disposition, Situation
from paystate.domain.payments.states import ENDED, FINAL, MOVES, AttemptState, Outcome, State
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict

MONEY = (Outcome.SUCCEEDED, Outcome.REFUNDED)
"""Outcomes that name money; every other one counts only for the very checkout that was asked about."""


def decide(situation: Situation, verdict: Verdict) -> Decision:
    """The one rule every path ends in. It never takes PAID back and never reads silence as failure."""
    if verdict.outcome not in MONEY and verdict.reference != situation.attempt.provider_reference:
        return Decision("another_checkout", situation.attempt.state)
    match verdict.outcome:
        case Outcome.SUCCEEDED:
            return _succeeded(situation, verdict)
        case Outcome.REFUNDED:
            return _refunded(situation, verdict)
        case Outcome.PROCESSING:
            return _processing(situation)
        case Outcome.PENDING:
            return _pending(situation)
        case Outcome.FAILED:
            return _ended(situation, AttemptState.FAILED)
        case Outcome.EXPIRED:
            return _ended(situation, AttemptState.EXPIRED)
        case Outcome.CANCELED:
            return _ended(situation, AttemptState.CANCELED)
        case Outcome.UNKNOWN:
            return Decision("unknown_status", situation.attempt.state)


def mismatch(situation: Situation, verdict: Verdict) -> str | None:
    """The first of the five facts that differs from what was asked for, or None when all are equal.

    Where customers send what they like, the amount is not a fact to compare but to add up.
    """
    if verdict.account != situation.account:
        return "account_mismatch"
    if verdict.live != situation.live:
        return "live_flag_mismatch"
    if verdict.reference != situation.attempt.provider_reference:
        return "reference_mismatch"
    if verdict.currency != situation.payment.currency:
        return "currency_mismatch"
    if not situation.pushes and verdict.amount != situation.payment.amount:
        return "amount_mismatch"
    return None


def _succeeded(situation: Situation, verdict: Verdict) -> Decision:
    if (
        not verdict.transaction_id
        or verdict.amount is None
        or verdict.amount <= 0
        or verdict.currency is None
    ):
        return _unclear(situation)
    if situation.receipt_owner == "this_payment":
        return _seen_before(situation, refunded=verdict.amount_refunded > 0)
    if situation.receipt_owner == "other_payment":
        return _to_review(situation, "transaction_reused", receipt=None, suggest="reject")
    if verdict.amount_refunded >= verdict.amount:
        return _refunded(situation, verdict)
    wrong = mismatch(situation, verdict)
    if wrong is not None:
        return _mismatched(situation, verdict, wrong)
    decision = _pushed(situation, verdict) if situation.pushes else _matching(situation, verdict)
    if verdict.amount_refunded > 0 and decision.case is None:
        return replace(decision, case="refunded_at_provider", suggest="book_refund")
    return decision


def _unclear(situation: Situation) -> Decision:
    """A success that does not say what was paid: nothing to prove with, and too much to wait in silence."""
    decision = _to_review(situation, "success_without_transaction", receipt=None, suggest="ask_provider")
    return replace(decision, attempt_state=situation.attempt.state)


def _seen_before(situation: Situation, *, refunded: bool) -> Decision:
    """The same transaction again: nothing is new, except money that went back at the provider."""
    waits = situation.pushes and situation.payment.state is not State.PAID
    decision = _waiting(situation) if waits else Decision("already_settled", AttemptState.SUCCEEDED)
    if refunded and decision.case is None:
        return replace(
            decision, label="paid_and_refunded", case="refunded_at_provider", suggest="book_refund"
        )
    return decision


def _pushed(situation: Situation, verdict: Verdict) -> Decision:
    """Transfers are added up: the one that completes the sum is the proof, what is less waits for the rest."""
    payment = situation.payment
    brought = (verdict.amount or 0) - verdict.amount_refunded
    total = situation.received + brought
    if payment.state is State.PAID and brought < payment.amount:
        extra = _to_review(situation, "over", receipt="UNAPPLIED", suggest="refund")
        return replace(extra, flags=frozenset({"over"}))
    if payment.state is State.PAID or total >= payment.amount:
        decision = _matching(situation, verdict)
        over = decision.move is State.PAID and total > payment.amount
        return replace(decision, flags=decision.flags | {"over"}) if over else decision
    partial = frozenset({"partial"})
    if total + situation.coming >= payment.amount:
        return Decision("part_received", situation.attempt.state, receipt="UNAPPLIED", flags=partial)
    if payment.state in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED):
        return replace(_waiting(situation), label="part_received", receipt="UNAPPLIED", flags=partial)
    late = payment.state in (State.EXPIRED, State.CANCELED)
    decision = _to_review(situation, "late" if late else "partial", receipt="UNAPPLIED", suggest="refund")
    return replace(
        decision,
        attempt_state=situation.attempt.state,
        flags=partial | {"late"} if late else partial,
        prepare_refund=late and payment.late_policy == "refund",
    )


def _waiting(situation: Situation) -> Decision:
    """Some of the money is there: it waits like an unpaid checkout, and past its time a person decides about it."""
    payment, attempt = situation.payment, situation.attempt
    pending = payment.state in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED)
    wanted_back = payment.cancel_requested_at is not None
    if pending and (wanted_back or is_past(closes_at(payment), situation.now)):
        decision = _to_review(situation, "partial", receipt=None, suggest="refund")
        return replace(decision, attempt_state=AttemptState.WATCHED)
    if attempt.state not in ENDED and must_close(payment, attempt, situation.now):
        return watch(situation)
    return replace(_pending(situation), label="waits_for_the_rest")


def _mismatched(situation: Situation, verdict: Verdict, wrong: str) -> Decision:
    foreign = wrong in ("account_mismatch", "live_flag_mismatch")
    flags: frozenset[str] = frozenset()
    if wrong == "amount_mismatch" and verdict.amount is not None:
        flags = frozenset({"over" if verdict.amount > situation.payment.amount else "partial"})
    decision = _to_review(situation, wrong, receipt="FOREIGN" if foreign else "UNAPPLIED", suggest="refund")
    return replace(decision, flags=flags)


def _to_review(situation: Situation, reason: str, *, receipt: Disposition | None, suggest: str) -> Decision:
    """A case, and the move to review where the state allows one."""
    movable = (situation.payment.state, State.REVIEW) in MOVES
    return Decision(
        reason,
        AttemptState.SUCCEEDED,
        move=State.REVIEW if movable else None,
        reason=reason,
        receipt=receipt,
        case=reason,
        suggest=suggest,
    )


def _matching(situation: Situation, verdict: Verdict) -> Decision:
    match situation.payment.state:
        case State.OPEN | State.PENDING_VERIFICATION | State.FAILED:
            return _duplicate(_paid("proved")) if situation.slot_paid else _paid("proved")
        case State.EXPIRED | State.CANCELED:
            return _late(situation, verdict)
        case State.REVIEW if situation.payment.review_reason == "no_answer":
            return _paid("proved_after_silence")
        case State.PAID if situation.payment.resolved_by_hand and situation.payment.transaction_id is None:
            # Perhaps the very money that a person vouched for, perhaps more of it: the person knows.
            return _to_review(situation, "paid_after_hand", receipt="UNAPPLIED", suggest="accept")
        case State.PAID:
            return _duplicate(_to_review(situation, "duplicate", receipt="UNAPPLIED", suggest="refund"))
        case State.REVIEW | State.DRAFT:
            return _to_review(situation, "paid_in_review", receipt="UNAPPLIED", suggest="accept")


def _paid(reason: str) -> Decision:
    return Decision("paid", AttemptState.SUCCEEDED, move=State.PAID, reason=reason, receipt="PROOF")


def _duplicate(decision: Decision) -> Decision:
    return replace(
        decision,
        flags=decision.flags | {"duplicate"},
        case="duplicate",
        suggest="refund",
        prepare_refund=True,
    )


def _late(situation: Situation, verdict: Verdict) -> Decision:
    """Money on an expired or cancelled payment is never lost: accepted, or kept for a person."""
    payment = situation.payment
    if situation.slot_paid:
        return _duplicate(_to_review(situation, "duplicate", receipt="UNAPPLIED", suggest="refund"))
    # A bundle's staleness was promised to nobody: only `expiresAt` is a deadline that the customer could meet.
    in_time = (
        payment.state is State.EXPIRED
        and verdict.provider_at is not None
        and payment.expires_at is not None
        and verdict.provider_at <= payment.expires_at
    )
    if in_time:
        return _paid("paid_in_time")
    late = frozenset({"late"})
    if payment.late_policy == "accept":
        return replace(_paid("late_accepted"), flags=late)
    refund = payment.late_policy == "refund"
    decision = _to_review(situation, "late", receipt="UNAPPLIED", suggest="refund" if refund else "accept")
    return replace(decision, flags=late, prepare_refund=refund)


def _refunded(situation: Situation, verdict: Verdict) -> Decision:
    """Paid and given back at the provider: a record beside PAID; before PAID a matter for a person."""
    if (
        not verdict.transaction_id
        or verdict.amount is None
        or verdict.amount <= 0
        or verdict.currency is None
    ):
        return _unclear(situation)
    if situation.receipt_owner == "this_payment":
        return _seen_before(situation, refunded=True)
    if situation.receipt_owner == "other_payment":
        return _to_review(situation, "transaction_reused", receipt=None, suggest="reject")
    foreign = mismatch(situation, verdict) in ("account_mismatch", "live_flag_mismatch")
    return _to_review(
        situation, "refunded_before_paid", receipt="FOREIGN" if foreign else "UNAPPLIED", suggest="reject"
    )


def _processing(situation: Situation) -> Decision:
    """Money is on its way, also where it was no longer expected: such an attempt is watched closely (schedule)."""
    state = situation.attempt.state
    reached = AttemptState.PROCESSING if state in (AttemptState.CREATED, AttemptState.LIVE) else state
    move = State.PENDING_VERIFICATION if situation.payment.state is State.OPEN else None
    return Decision("processing", reached, move=move, reason="provider_processing")


def _pending(situation: Situation) -> Decision:
    """The customer has not finished. Past the payment's time the checkout is ended first, never just forgotten."""
    attempt, payment = situation.attempt, situation.payment
    if attempt.state in ENDED or attempt.state is AttemptState.WATCHED:
        return Decision(
            "still_watched" if attempt.state is AttemptState.WATCHED else "already_ended", attempt.state
        )
    if must_close(payment, attempt, situation.now):
        return Decision("close_first", AttemptState.LIVE, close_next=True)
    counts = attempt.unpaid_answer_at is None or situation.now - attempt.unpaid_answer_at >= UNPAID_GAP
    answers = attempt.unpaid_answers + (1 if counts else 0)
    waiting = Decision("wait", AttemptState.LIVE, unpaid_answers=answers, count_unpaid=counts)
    busy = any(s in (AttemptState.PROCESSING, AttemptState.CREATED) for s in situation.others)
    if payment.state is not State.PENDING_VERIFICATION or busy or answers < UNPAID_ANSWERS:
        return waiting
    if within_own_time(payment, situation.now):
        return replace(waiting, label="back_to_open", move=State.OPEN, reason="not_paid_yet")
    if payment.expires_at is None:
        return waiting  # a bundle's staleness no longer counts once the customer returned: two hours do
    return replace(waiting, label="close_first", close_next=True)


def must_close(payment: Payment, attempt: Attempt, now: Instant) -> bool:
    """Whether this checkout has to be ended at the provider: superseded, cancelled, or its payment's time is over."""
    if attempt.close_wanted or payment.cancel_requested_at is not None or payment.state in FINAL:
        return True
    return is_past(closes_at(payment), now)


def _ended(situation: Situation, state: AttemptState) -> Decision:
    """The checkout can no longer be paid. A failure belongs to its attempt; PAID is never touched."""
    before = situation.attempt.state
    reached = before if before in (AttemptState.SUCCEEDED, *ENDED) else state
    over = is_past(ends_at(situation.payment), situation.now)
    waits = situation.payment.cancel_requested_at is None and not over
    if before in ENDED and waits:
        # What it said before it was decided then; a payment that was tried again since is not failed by it.
        return Decision("already_ended", before)
    after = [*situation.others, reached]
    move, reason = conclude(situation.payment, after, situation.now, failed=state is AttemptState.FAILED)
    return Decision(f"attempt_{reached.lower()}", reached, move=move, reason=reason)


def conclude(
    payment: Payment, attempts: Sequence[AttemptState], now: Instant, *, failed: bool = False
) -> tuple[State | None, str]:
    """Where a payment goes when one of its attempts has ended unpaid; `attempts` are all of its states now."""
    if payment.state not in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED):
        return None, ""
    settled = all(s in ENDED or s is AttemptState.WATCHED for s in attempts)
    if AttemptState.SUCCEEDED in attempts:
        return None, ""
    if payment.cancel_requested_at is not None:
        return (State.CANCELED, "cancel_requested") if settled else (None, "")
    if is_past(ends_at(payment), now):
        return (State.EXPIRED, "time_is_over") if settled else (None, "")
    return _within_time(payment, attempts, failed=failed, settled=settled)


def _within_time(
    payment: Payment, attempts: Sequence[AttemptState], *, failed: bool, settled: bool
) -> tuple[State | None, str]:
    if payment.state is State.FAILED:
        return None, ""
    if failed and settled:
        return State.FAILED, "attempt_failed"
    busy = any(s in (AttemptState.PROCESSING, AttemptState.CREATED) for s in attempts)
    if payment.state is State.PENDING_VERIFICATION and not busy:
        return State.OPEN, "attempt_ended_unpaid"
    return None, ""


def watch(situation: Situation) -> Decision:
    """A checkout that must end but cannot be closed: no longer offered, still watched."""
    if situation.attempt.state in ENDED:
        return Decision("already_ended", situation.attempt.state)
    after = [*situation.others, AttemptState.WATCHED]
    move, reason = conclude(situation.payment, after, situation.now)
    return Decision("watched", AttemptState.WATCHED, move=move, reason=reason)


def silence(situation: Situation) -> Decision:
    """No answer is never a failure: it is retried, and past the payment's time and a day of it a person decides."""
    attempt, payment = situation.attempt, situation.payment
    since = silent_since(attempt, situation.now)
    over = payment.due_at is not None and payment.due_at <= situation.now
    waiting_to_end = over or payment.cancel_requested_at is not None
    pending = payment.state in (State.OPEN, State.PENDING_VERIFICATION)
    if not (pending and waiting_to_end and situation.now - since >= situation.patience.silent_limit):
        return Decision("no_answer", attempt.state)
    return Decision(
        "no_answer",
        attempt.state,
        move=State.REVIEW,
        reason="no_answer",
        case="no_answer",
        suggest="keep_waiting",
    )


def refuse_cancel_in_review(payment: Payment) -> None:
    """Raise Conflict `invalid_state`: money may be there, so a person resolves the case instead."""
    if payment.state is State.REVIEW:
        raise Conflict("This payment is in review; resolve its case instead.")
