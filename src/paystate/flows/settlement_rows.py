"""What a settlement writes, row by row: pure functions from an asking and its decision to values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from paystate.domain import ledger
from paystate.domain.ledger import Journal
from paystate.domain.payments import (
    Attempt,
    AttemptState,
    Decision,
    Outcome,
    Patience,
    Payment,
    State,
    Trigger,
    schedule,
)
from paystate.domain.payments.port import Started, Verdict
from paystate.domain.payments.records import Received, TransactionKey
from paystate.domain.payments.states import ENDED, FINAL, OFFERED
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, new_id
from paystate.kit.money import Money
from paystate.machinery.db import Tx

DETAIL_LIMIT = 200
OWN_SILENCE = ("adapter_failed", "rate_limited", "conflict", "token_pending", "no_budget")
"""Silence that says nothing about whether the provider is up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One act of asking: the attempt as claimed, whose account it is, and what came back.

    Exactly one of `verdict`, `silence`, `refused` is set. `unclosable`: the checkout had to end and cannot.
    """

    attempt: Attempt
    account: str
    live: bool
    duration_us: int
    verdict: Verdict | None = None
    silence: str | None = None
    refused: str | None = None
    not_there: bool = False
    credentials_refused: bool = False
    server_error: bool = False
    retry_after_us: int | None = None
    started: Started | None = None
    unclosable: bool = False
    down_since: Instant | None = None
    """The provider is known to be down: this silence says nothing about the payment, and uses up no patience."""

    @property
    def is_outage(self) -> bool:
        """Whether nothing usable came back, as when the provider is down."""
        return self.silence is not None and not (
            self.not_there
            or self.credentials_refused
            or self.retry_after_us is not None
            or self.silence in OWN_SILENCE
        )

    @property
    def is_contact(self) -> bool:
        """Whether the provider itself spoke."""
        return (
            self.verdict is not None or self.refused is not None or self.not_there or self.credentials_refused
        )


def transaction_key(asked: Asked) -> TransactionKey:
    verdict = asked.verdict
    assert verdict is not None
    return (asked.attempt.provider, verdict.account, verdict.live, verdict.transaction_id or "")


def outcome_word(asked: Asked) -> str:
    if asked.verdict is not None:
        return asked.verdict.outcome.value
    return "START_REFUSED" if asked.refused is not None else "NO_ANSWER"


def changes_of_move(asked: Asked, decision: Decision, now: Instant, *, pushed: bool) -> dict[str, Any]:
    changes: dict[str, Any] = dict.fromkeys(sorted(decision.flags), True)
    if decision.move is State.REVIEW:
        changes["review_reason"] = decision.reason
    if decision.move is State.PAID and asked.verdict is not None:
        verdict = asked.verdict
        changes |= {
            "review_reason": None,
            "payment_method": asked.attempt.provider.upper(),
            "transaction_id": verdict.transaction_id,
            "transaction_at": verdict.provider_at or now,
            "transaction_amount": verdict.amount,
            "transaction_currency": verdict.currency,
            **({"partial": False} if pushed else {}),
        }
    return changes


def answer_row(
    asked: Asked, attempt: Attempt, payment: Payment, decision: Decision, *, now: Instant, patience: Patience
) -> dict[str, Any]:
    """Everything an asking changes on its attempt, including when to look again."""
    answered = asked.verdict is not None and asked.verdict.outcome is not Outcome.UNKNOWN
    state = decision.attempt_state
    ended = state in ENDED or state is AttemptState.WATCHED
    newly_ended = ended and attempt.ended_at is None
    counted = msgspec.structs.replace(
        attempt,
        ended_at=now if newly_ended else attempt.ended_at,
        watched_until=Instant(now + schedule.WATCH_FOR)
        if newly_ended and state is AttemptState.WATCHED
        else attempt.watched_until,
        silent_since=_silent_since(asked, attempt, now, answered=answered),
        silent_count=0 if answered else attempt.silent_count + (asked.down_since is None),
    )
    look = _next_look(asked, counted, payment, decision, now=now, patience=patience)
    hinted = attempt.hint_no != asked.attempt.hint_no
    return {
        "id": attempt.id,
        "claim_no": asked.attempt.claim_no,
        "state": state.value,
        "checkout_id": _checkout_id(asked, attempt),
        "checkout": msgspec.json.encode(asked.started.offer).decode() if asked.started else attempt.checkout,
        "close_wanted": attempt.close_wanted or decision.close_next,
        "next_check_at": look.at,
        "check_band": look.band,
        "check_trigger": attempt.check_trigger if hinted else Trigger.POLL.value,
        "lease_until": None,
        "last_asked_at": now,
        "last_answer_at": now if answered else attempt.last_answer_at,
        "last_outcome": outcome_word(asked),
        "unpaid_answers": decision.unpaid_answers if decision.count_unpaid else attempt.unpaid_answers,
        "unpaid_answer_at": now if decision.count_unpaid else attempt.unpaid_answer_at,
        "silent_since": counted.silent_since,
        "silent_count": counted.silent_count,
        "watched_until": counted.watched_until,
        "ended_at": counted.ended_at,
        "unwritten": 0,
        "start_failures": attempt.start_failures + (asked.server_error and attempt.checkout_id is None),
    }


def _silent_since(asked: Asked, attempt: Attempt, now: Instant, *, answered: bool) -> Instant | None:
    if answered:
        return None
    return attempt.silent_since if asked.down_since is not None else schedule.silent_since(attempt, now)


def _is_processing(asked: Asked) -> bool:
    return asked.verdict is not None and asked.verdict.outcome is Outcome.PROCESSING


def _checkout_id(asked: Asked, attempt: Attempt) -> str | None:
    if asked.started is not None and asked.started.checkout_id is not None:
        return asked.started.checkout_id
    verdict = asked.verdict
    if (
        attempt.checkout_id is None
        and verdict is not None
        and verdict.reference == attempt.provider_reference
    ):
        return verdict.checkout_id
    return attempt.checkout_id


def _next_look(
    asked: Asked, attempt: Attempt, payment: Payment, decision: Decision, *, now: Instant, patience: Patience
) -> schedule.Look:
    if decision.close_next or attempt.hint_no != asked.attempt.hint_no:
        return schedule.Look(Instant(now + schedule.MIN_GAP), schedule.FRESH)
    state = decision.attempt_state
    if asked.verdict is None and asked.refused is None and state not in ENDED:
        look = schedule.look_after_silence(attempt, now, asked.retry_after_us)
    else:
        expecting = _is_processing(asked) or (state is AttemptState.WATCHED and payment.state not in FINAL)
        as_if = AttemptState.LIVE if expecting else state
        look = schedule.look_after_answer(attempt, as_if, now, patience)
    if (
        (state in OFFERED or state is AttemptState.WATCHED)
        and look.at is not None
        and payment.due_at is not None
        and now < payment.due_at < look.at
    ):
        return schedule.Look(payment.due_at, look.band)
    return look


def verification_row(asked: Asked, attempt: Attempt, decision: Decision, now: Instant) -> dict[str, Any]:
    verdict = asked.verdict
    detail = verdict.detail if verdict is not None else (asked.silence or asked.refused or "")
    return {
        "id": new_id("ver", now),
        "attempt_id": attempt.id,
        "payment_id": attempt.payment_id,
        "merchant_id": attempt.merchant_id,
        "trigger": asked.attempt.check_trigger,
        "outcome": outcome_word(asked),
        "decision": decision.label,
        "detail": detail[:DETAIL_LIMIT],
        "amount": verdict.amount if verdict is not None else None,
        "currency": verdict.currency if verdict is not None else None,
        "raw_digest": verdict.raw_digest if verdict is not None else None,
        "duration_us": asked.duration_us,
        "count": 1,
        "first_at": now,
        "last_at": now,
    }


def receipt_row(asked: Asked, verdict: Verdict, decision: Decision, tx: Tx) -> dict[str, Any]:
    return {
        "id": new_id("rcp", tx.now),
        "merchant_id": asked.attempt.merchant_id,
        "connection_id": asked.attempt.connection_id,
        "attempt_id": asked.attempt.id,
        "payment_id": asked.attempt.payment_id,
        "provider": asked.attempt.provider,
        "account": verdict.account,
        "live": verdict.live,
        "transaction_id": verdict.transaction_id,
        "amount": verdict.amount,
        "currency": verdict.currency,
        "disposition": decision.receipt,
        "reason": decision.reason or decision.label,
        "provider_at": verdict.provider_at,
        "raw_digest": verdict.raw_digest,
        "commit_id": tx.id,
        "created_at": tx.now,
    }


def adoption_row(receipt: Mapping[str, Any]) -> dict[str, Any]:
    names = ("merchant_id", "payment_id", "attempt_id", "commit_id")
    return {"receipt_id": receipt["id"], **{n: receipt[n] for n in names}, "at": receipt["created_at"]}


def part_row(part: Received, payment: Payment) -> dict[str, Any]:
    return {"receipt_id": part.id, "payment_id": payment.id, "merchant_id": payment.merchant_id}


def received_of(receipt: Mapping[str, Any], unmatched: Received | None, verdict: Verdict) -> Received:
    """The receipt as the store will know it."""
    names = [n for n in Received.__struct_fields__ if n not in ("unmatched", "given_back")]
    values = {name: receipt[name] for name in names}
    values["disposition"] = receipt["disposition"] if unmatched is None else unmatched.disposition
    return Received(**values, unmatched=unmatched is not None, given_back=verdict.amount_refunded)


def proof_row(
    asked: Asked, verdict: Verdict, receipt: Mapping[str, Any], tx: Tx, *, pushed: bool
) -> dict[str, Any]:
    shared = (
        "merchant_id",
        "attempt_id",
        "provider",
        "account",
        "live",
        "transaction_id",
        "amount",
        "currency",
    )
    return {
        "payment_id": asked.attempt.payment_id,
        **{name: receipt[name] for name in shared},
        "receipt_id": receipt["id"],
        "reference": verdict.reference,
        "pushed": pushed,
        "raw_digest": verdict.raw_digest,
        "commit_id": tx.id,
        "at": tx.now,
    }


def refund_row(receipt: Mapping[str, Any], decision: Decision, tx: Tx) -> dict[str, Any]:
    return {
        "id": new_id("rfd", tx.now),
        "merchant_id": receipt["merchant_id"],
        "payment_id": receipt["payment_id"],
        "receipt_id": receipt["id"],
        "amount": receipt["amount"],
        "currency": receipt["currency"],
        "state": "PREPARED",
        "reason": decision.case or decision.reason,
        "created_at": tx.now,
        "updated_at": tx.now,
    }


def journal_of(
    asked: Asked,
    verdict: Verdict,
    payment: Payment,
    decision: Decision,
    *,
    now: Instant,
    parts: Sequence[Received],
    adopted: bool,
) -> Journal | None:
    """Money always has a ledger account, except test-mode or foreign money, which is a case.

    An adopted receipt was booked when it came; `parts` are the receipts that settle the payment together with this one.
    """
    assert verdict.amount is not None
    assert verdict.currency is not None
    money = Money(verdict.amount, verdict.currency)
    merchant = MerchantId(payment.merchant_id)
    if decision.receipt == "PROOF":
        held = [(owner_of(part, payment), Money(part.left, part.currency)) for part in parts]
        came = None if adopted else (asked.attempt.connection_id, money)
        if adopted:
            held.append((None, money))
        return _completed(payment, came, held, now)
    if decision.receipt == "UNAPPLIED" and not adopted:
        return ledger.receipt_unapplied(
            merchant_id=merchant,
            connection_id=asked.attempt.connection_id,
            provider=asked.attempt.provider,
            account=verdict.account,
            live=verdict.live,
            transaction_id=verdict.transaction_id or "",
            owner=payment.customer_id or payment.id,
            money=money,
            effective_at=now,
        )
    return None


def _completed(
    payment: Payment, came: tuple[str, Money] | None, held: Sequence[tuple[str | None, Money]], now: Instant
) -> Journal:
    if came is not None and not held and came[1] == payment.money:
        return ledger.payment_captured(
            merchant_id=MerchantId(payment.merchant_id),
            payment_id=payment.id,
            connection_id=came[0],
            money=came[1],
            effective_at=now,
        )
    return ledger.payment_completed(
        merchant_id=MerchantId(payment.merchant_id),
        payment_id=payment.id,
        came=came,
        held=held,
        asked=payment.money,
        owner=payment.customer_id or payment.id,
        effective_at=now,
    )


def owner_of(receipt: Received, payment: Payment) -> str | None:
    """Under whom a receipt stands unapplied; None: it came without a payment, and is nobody's."""
    return None if receipt.unmatched else payment.customer_id or payment.id


def evidence_of(asked: Asked, payment: Payment) -> dict[str, Any]:
    """What a person needs to decide: what was asked for beside what the provider said."""
    evidence: dict[str, Any] = {
        "expected": {
            "amount": payment.amount,
            "currency": payment.currency,
            "reference": asked.attempt.provider_reference,
            "account": asked.account,
            "live": asked.live,
        },
        "state": payment.state.value,
        "provider": asked.attempt.provider,
        "silence": asked.silence,
    }
    if asked.verdict is not None:
        v = asked.verdict
        evidence["answered"] = {
            "outcome": v.outcome.value,
            "amount": v.amount,
            "currency": v.currency,
            "reference": v.reference,
            "account": v.account,
            "live": v.live,
            "transactionId": v.transaction_id,
            "amountRefunded": v.amount_refunded,
            "rawDigest": v.raw_digest,
        }
    return evidence
