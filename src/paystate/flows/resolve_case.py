"""Resolves a case: a person decides about a payment, with a reason, once and for ever."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from paystate.domain import audit, cases, ledger
from paystate.domain.audit import AuditEntry
from paystate.domain.cases import Case, CaseState, NewCase
from paystate.domain.payments import (
    Patience,
    Payment,
    State,
    Step,
    Trigger,
    attempt_store,
    by_hand,
    moves,
    proof_store,
    store,
)
from paystate.domain.payments.by_hand import Choice, Ruling
from paystate.domain.payments.records import Received
from paystate.domain.payments.states import FINAL, OFFERED
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.hand_rows import hand_journal, hand_refund, paid_changes
from paystate.flows.move_payment import WATCHERS, move_payments
from paystate.kit.clock import HOUR, Instant
from paystate.kit.errors import Conflict, invalid
from paystate.kit.ids import MerchantId, System, Who
from paystate.machinery.db import Tx

LOCKS = System("locking a payment that a person decides about")
KEEP_HOURS, KEEP_HOURS_MAX = 24, 30 * 24
OPENED_BY_HAND = "opened_by_hand"
NOT_MONEY = ("no_answer", "checkout_not_found", "verification_failed", OPENED_BY_HAND)
"""Cases about no transaction: whatever is decided about their payment answers them too."""

_WORDS = {
    Choice.ACCEPT: "accepted_by_hand",
    Choice.REJECT: "rejected_by_hand",
    Choice.REFUND: "refunded_by_hand",
}


@dataclass(frozen=True, slots=True)
class Person:
    """Who decides, on whose behalf, and from where."""

    who: Who
    actor: str
    patience: Patience
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What the person says. `to`: where a rejected or refunded payment goes; `transactions`: which money is meant.

    `again`: they know that somebody has decided about this payment before, and overrule it.
    """

    choice: Choice
    reason: str
    to: State | None = None
    transactions: tuple[str, ...] = ()
    hours: int = KEEP_HOURS
    again: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """The case as it stands now, and its payment if it is about one."""

    case: Case
    payment: Payment | None


@dataclass(frozen=True, slots=True)
class _Desk:
    """What lies before the person: the case, the payment under its lock, its other open cases, and what came in."""

    case: Case
    payment: Payment
    others: Sequence[Case]
    came: Sequence[Received]

    @property
    def own(self) -> str | None:
        return _transaction(self.case)


def resolve_case(by: Person, case_id: str, order: Order, tx: Tx) -> Resolved:
    """Decide a case, inside the caller's transaction; of two people at once one wins.

    Raises NotFound, Conflict `invalid_state` (also for a case that is decided), Refused `reason_required`,
    `transaction_required`, `transaction_unknown`, `nothing_to_refund`.
    """
    who = by.who
    _refuse_empty(order)
    case = cases.get_case(tx, who, case_id)
    payment = None if case.payment_id is None else _lock(tx, who, case.payment_id)
    case = cases.get_case(tx, who, case_id)
    if case.state is not CaseState.OPEN:
        raise Conflict("The case is already resolved.", resolution=case.resolution)
    if order.choice is Choice.KEEP_WAITING:
        return Resolved(_snooze(tx, case, order, by), payment)
    if payment is None:
        if order.choice is not Choice.NOTE:
            raise Conflict("This case is about no payment: note what was done.")
        return Resolved(_close(tx, case, order, by), None)
    others = [c for c in cases.lock_open(tx, who, payment_id=payment.id) if c.id != case.id]
    return _decide(_desk(tx, who, case, payment, others), order, by, tx)


def resolve_payment(by: Person, id_or_code: str, order: Order, tx: Tx) -> Resolved:
    """Decide about a payment: by the case that holds it, else, to settle it by hand, by one opened for that.

    Raises as `resolve_case`; Conflict `invalid_state` where there is nothing to decide.
    """
    who = by.who
    _refuse_empty(order)
    payment = _lock(tx, who, store.find_link(tx, who, id_or_code).id)
    waiting = cases.lock_open(tx, who, payment_id=payment.id)
    if not waiting:
        if order.choice is not Choice.ACCEPT:
            raise Conflict("Nothing about this payment waits for a decision.", state=payment.state.value)
        if payment.resolved_by_hand and not order.again:
            raise Conflict("Somebody has decided about this payment already.", state=payment.state.value)
        waiting = [_open_by_hand(tx, who, payment)]
    meant = [c for c in waiting if _transaction(c) in order.transactions]
    holding = [c for c in waiting if c.reason == payment.review_reason]
    case = (meant or holding or waiting)[0]
    return resolve_case(by, case.id, order, tx)


def _lock(tx: Tx, who: Who, payment_id: str) -> Payment:
    store.get(tx, who, payment_id)
    attempt_store.lock_of_payments(tx, LOCKS, [payment_id])
    return store.lock(tx, who, [payment_id])[payment_id]


def _refuse_empty(order: Order) -> None:
    if not order.reason.strip():
        raise invalid("/reason", "reason_required", "A decision needs a reason.")
    if not 1 <= order.hours <= KEEP_HOURS_MAX:
        raise invalid("/hours", "out_of_range", f"From 1 to {KEEP_HOURS_MAX} hours.")


def _open_by_hand(tx: Tx, who: Who, payment: Payment) -> Case:
    new = NewCase(
        merchant_id=MerchantId(payment.merchant_id),
        payment_id=payment.id,
        attempt_id=None,
        reason=OPENED_BY_HAND,
        evidence={"state": payment.state.value, "amount": payment.amount, "currency": payment.currency},
        suggested_action="accept",
    )
    cases.open_cases(tx, who, [new])
    return cases.lock_open(tx, who, payment_id=payment.id)[0]


def _desk(tx: Tx, who: Who, case: Case, payment: Payment, others: Sequence[Case]) -> _Desk:
    """What went back at the provider, as the cases tell, is no longer there to be accepted or given back."""
    gone: dict[str, int] = {}
    for told in (case, *others):
        answered = told.evidence.get("answered") or {}
        if answered.get("transactionId"):
            gone[answered["transactionId"]] = int(answered.get("amountRefunded") or 0)
    came = [
        msgspec.structs.replace(r, given_back=max(r.given_back, gone.get(r.transaction_id, 0)))
        for r in proof_store.receipts_of(tx, who, [payment.id])
    ]
    return _Desk(case, payment, others, came)


def _decide(desk: _Desk, order: Order, by: Person, tx: Tx) -> Resolved:
    who = by.who
    if order.choice is Choice.ACCEPT:
        desk = _without_prepared_refunds(tx, who, desk, order)
    ruling = _ruling(tx, who, desk, order)
    after = _move(desk, ruling, order, by, tx)
    journal = hand_journal(desk.payment, ruling, order.choice, tx.now)
    if journal is not None:
        ledger.post(tx, who, [journal])
    proof_store.prepare_refunds(tx, who, [hand_refund(r, desk.payment, tx.now) for r in ruling.give_back])
    if after.state in FINAL or after.state is State.FAILED:
        _end_checkouts(tx, after)
    closed = _close(tx, desk.case, order, by)
    for other in _answered_too(desk, ruling):
        _close(tx, other, order, by)
    _note(tx, by, desk.payment, after.state, order)
    return Resolved(closed, after)


def _ruling(tx: Tx, who: Who, desk: _Desk, order: Order) -> Ruling:
    payment, named = desk.payment, order.transactions
    match order.choice:
        case Choice.ACCEPT:
            return by_hand.accept(payment, desk.came, named, desk.own)
        case Choice.REJECT:
            return by_hand.reject(payment, _before(tx, who, payment), order.to, tx.now)
        case Choice.REFUND:
            end = (_before(tx, who, payment), order.to, tx.now)
            return by_hand.give_back(payment, desk.came, named, desk.own, end)
        case Choice.NOTE | Choice.KEEP_WAITING:
            return by_hand.note(payment, len(desk.others))


def _before(tx: Tx, who: Who, payment: Payment) -> State | None:
    """The state from which it came into review."""
    return store.moves_of(tx, who, payment.id)[-1].from_state


def _without_prepared_refunds(tx: Tx, who: Who, desk: _Desk, order: Order) -> _Desk:
    """Money that is accepted is not given back: a refund that only waits to be sent is withdrawn."""
    meant = [
        r.id
        for r in desk.came
        if r.given_back and (not order.transactions or r.transaction_id in order.transactions)
    ]
    if not meant or not proof_store.withdraw_refunds(tx, who, meant, "withdrawn: accepted"):
        return desk
    return _desk(tx, who, desk.case, desk.payment, desk.others)


def _move(desk: _Desk, ruling: Ruling, order: Order, by: Person, tx: Tx) -> Payment:
    payment, who = desk.payment, by.who
    if ruling.matches:
        store.touch(tx, who, [payment], **paid_changes(payment, ruling.taken))
        tx.wake(WATCHERS)
        return store.get(tx, who, payment.id)
    steps: list[Step] = []
    for state in ruling.path:
        word, changes = _WORDS[order.choice], _changes(payment, state, ruling)
        if state is State.REVIEW:
            word = OPENED_BY_HAND
        steps.append(Step(payment, state, by.actor, word, desk.case.attempt_id, changes))
        payment = moves.after(steps[-1], tx.now, by.patience)
    return move_payments(tx, who, steps, by.patience)[-1] if steps else payment


def _changes(payment: Payment, state: State, ruling: Ruling) -> Mapping[str, Any]:
    if state is State.REVIEW:
        return {"review_reason": OPENED_BY_HAND}
    decided = {"review_reason": None, "resolved_by_hand": True}
    return decided | paid_changes(payment, ruling.taken) if state is State.PAID else decided


def _end_checkouts(tx: Tx, payment: Payment) -> None:
    """Nothing more is to be paid there; what comes all the same is late or a duplicate, never lost."""
    offered = [a for a in attempt_store.of_payments(tx, LOCKS, [payment.id]) if a.state in OFFERED]
    attempt_store.make_due(tx, LOCKS, offered, Trigger.CANCEL, close=True)
    tx.wake(VERIFY)


def _answered_too(desk: _Desk, ruling: Ruling) -> list[Case]:
    """Other cases about the same money, or about no money at all, once the payment has left its review."""
    if not ruling.path and not ruling.matches:
        return []
    touched = {r.transaction_id for r in (*ruling.taken, *ruling.give_back)} | {desk.own}
    return [c for c in desk.others if c.reason in NOT_MONEY or _transaction(c) in touched - {None}]


def _transaction(case: Case) -> str | None:
    return (case.evidence.get("answered") or {}).get("transactionId")


def _snooze(tx: Tx, case: Case, order: Order, by: Person) -> Case:
    snoozed = cases.snooze(tx, by.who, case.id, until=Instant(tx.now + order.hours * HOUR))
    _record(tx, by, case, ("case.snooze", {"hours": order.hours}), order)
    return snoozed


def _close(tx: Tx, case: Case, order: Order, by: Person) -> Case:
    closed = cases.resolve(
        tx, by.who, case.id, resolution=order.choice.value, actor=by.actor, reason=order.reason
    )
    _record(tx, by, case, ("case.resolve", {"resolution": order.choice.value}), order)
    return closed


def _record(tx: Tx, by: Person, case: Case, told: tuple[str, Mapping[str, Any]], order: Order) -> None:
    action, after = told
    before = {"state": case.state.value, "reason": case.reason, "paymentId": case.payment_id}
    _write(tx, by, AuditEntry(case.merchant_id, by.actor, action, case.id, before, after, order.reason))


def _note(tx: Tx, by: Person, payment: Payment, after: State, order: Order) -> None:
    merchant = MerchantId(payment.merchant_id)
    states = ({"state": payment.state.value}, {"state": after.value, "choice": order.choice.value})
    _write(tx, by, AuditEntry(merchant, by.actor, "payment.resolve", payment.id, *states, order.reason))


def _write(tx: Tx, by: Person, entry: AuditEntry) -> None:
    told = replace(entry, address=by.address, request_id=by.request_id)
    audit.record(tx, System("a person's decision"), [told])
