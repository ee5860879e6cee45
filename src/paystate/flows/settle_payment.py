"""Applies what providers answered: a batch of verdicts in one commit, by sets, under the payments' locks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from paystate.domain import cases, ledger
from paystate.domain.cases import NewCase
from paystate.domain.ledger import Journal
from paystate.domain.payments import (
    Attempt,
    AttemptState,
    Decision,
    Outcome,
    Patience,
    Payment,
    Situation,
    State,
    Step,
    Trigger,
    attempt_store,
    moves,
    proof_store,
    rules,
    store,
)
from paystate.domain.payments.port import Verdict
from paystate.domain.payments.proof_store import TransactionKey
from paystate.domain.payments.states import OFFERED
from paystate.flows.move_payment import move_payments
from paystate.flows.settlement_rows import (
    Asked,
    answer_row,
    changes_of_move,
    evidence_of,
    journal_of,
    outcome_word,
    proof_row,
    receipt_row,
    refund_row,
    transaction_key,
    verification_row,
)
from paystate.kit.clock import MINUTE, Instant
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx
from paystate.machinery.failpoints import declare, failpoint

NOT_THERE_GRACE = 10 * MINUTE
"""So long a provider may not know a checkout it has just made (F13)."""

BEFORE_COMMIT = declare("verify.before_commit", "verdicts are applied, the commit has not begun")


@dataclass(frozen=True, slots=True)
class Settled:
    """What was decided about one asking, for logs and for `paystate verify --verbose`."""

    attempt_id: str
    payment_id: str
    trigger: str
    outcome: str
    decision: str
    state: State
    moved: bool


def settle_answers(batch: Sequence[Asked], patience: Patience, tx: Tx) -> list[Settled]:
    """Apply the answers of a batch. Those whose claim was lost meanwhile change nothing.

    Locks attempts, then payments, each in id order, and decides on what it re-reads there.
    """
    who = System("settlement of verdicts")
    payment_ids = [asked.attempt.payment_id for asked in batch]
    attempts = {a.id: a for a in attempt_store.lock_of_payments(tx, who, payment_ids)}
    current = [a for a in batch if attempts[a.attempt.id].claim_no == a.attempt.claim_no]
    payments = store.lock(tx, who, [a.attempt.payment_id for a in current])
    # A start that held the payment's lock meanwhile may have added an attempt.
    attempts |= {
        a.id: a for a in attempt_store.of_payments(tx, who, sorted(payments)) if a.id not in attempts
    }
    book = _Book(tx, who, patience, payments, attempts)
    book.know(current)
    settled = [book.take(asked) for asked in current]
    book.write()
    failpoint(BEFORE_COMMIT)
    return settled


@dataclass(slots=True)
class _Book:
    """What a batch will write, gathered while its answers are decided one after the other."""

    tx: Tx
    who: System
    patience: Patience
    payments: dict[str, Payment]
    attempts: dict[str, Attempt]
    slot_paid: set[str] = field(default_factory=set)
    owners: dict[TransactionKey, str | None] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    flagged: dict[str, frozenset[str]] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    repeated: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    refunds: list[dict[str, Any]] = field(default_factory=list)
    journals: list[Journal] = field(default_factory=list)
    new_cases: list[NewCase] = field(default_factory=list)
    superseded: dict[str, Attempt] = field(default_factory=dict)
    siblings: dict[str, list[str]] = field(default_factory=dict)

    def know(self, batch: Sequence[Asked]) -> None:
        """Read in two statements what the decisions depend on besides the locked rows."""
        for attempt in self.attempts.values():
            self.siblings.setdefault(attempt.payment_id, []).append(attempt.id)
        money = [one for a in batch for one in _transactions(a) if one.verdict and one.verdict.transaction_id]
        if not money:
            return
        self.owners = proof_store.owners_of_receipts(self.tx, self.who, [transaction_key(a) for a in money])
        unsettled = [self.payments[a.attempt.payment_id] for a in money]
        self.slot_paid = store.slots_with_a_paid_payment(self.tx, self.who, unsettled)

    def take(self, asked: Asked) -> Settled:
        """Decide one answer on what stands now, each transaction it names, and note what it writes."""
        attempt = self.attempts[asked.attempt.id]
        first, *further = [self._judge(one) for one in _transactions(asked)]
        decision = next((d for d in further if first.move is None and d.move is not None), first)
        self._note_answer(asked, attempt, decision)
        after = self.payments[attempt.payment_id]
        return Settled(
            attempt.id,
            attempt.payment_id,
            asked.attempt.check_trigger,
            outcome_word(asked),
            decision.label,
            after.state,
            decision.move is not None,
        )

    def _judge(self, asked: Asked) -> Decision:
        attempt = self.attempts[asked.attempt.id]
        payment = self.payments[attempt.payment_id]
        situation = self._situation(asked, payment, attempt)
        decision = _decide(situation, asked)
        if asked.verdict is not None and decision.receipt is not None:
            self._note_money(asked, asked.verdict, situation, decision)
        if decision.case is not None:
            self._note_case(asked, payment, decision)
        self._note_flags(payment, decision)
        if decision.move is not None:
            self._note_move(payment, attempt, asked, decision)
        if decision.move is State.PAID or (decision.move is State.REVIEW and decision.receipt is not None):
            self._supersede(payment, attempt)
        return decision

    def write(self) -> None:
        """Write everything by sets: moves before flags, receipts before proofs, journals last."""
        tx, who = self.tx, self.who
        if self.steps:
            move_payments(tx, who, self.steps, self.patience)
        self._write_flags()
        proof_store.add_receipts(tx, who, self.receipts)
        proof_store.add_proofs(tx, who, self.proofs)
        proof_store.prepare_refunds(tx, who, self.refunds)
        proof_store.add_verifications(tx, who, self.logged, self.repeated)
        attempt_store.write_answers(tx, who, self.answers)
        still_offered = [a for a in self.superseded.values() if self.attempts[a.id].state in OFFERED]
        attempt_store.make_due(tx, who, still_offered, Trigger.CANCEL, close=True)
        cases.open_cases(tx, who, self.new_cases)
        if self.journals:
            ledger.post(tx, who, self.journals)

    def _situation(self, asked: Asked, payment: Payment, attempt: Attempt) -> Situation:
        others = [self.attempts[i].state for i in self.siblings[payment.id] if i != attempt.id]
        return Situation(
            payment=payment,
            attempt=attempt,
            others=others,
            account=asked.account,
            live=asked.live,
            now=self.tx.now,
            patience=self.patience,
            slot_paid=payment.id in self.slot_paid,
            receipt_owner=self._owner(asked, payment),
        )

    def _owner(self, asked: Asked, payment: Payment) -> rules.ReceiptOwner:
        if asked.verdict is None or not asked.verdict.transaction_id:
            return "nobody"
        key = transaction_key(asked)
        if key not in self.owners:
            return "nobody"
        return "this_payment" if self.owners[key] == payment.id else "other_payment"

    def _note_money(self, asked: Asked, verdict: Verdict, situation: Situation, decision: Decision) -> None:
        receipt = receipt_row(asked, verdict, decision, self.tx)
        self.receipts.append(receipt)
        self.owners[transaction_key(asked)] = asked.attempt.payment_id
        if decision.receipt == "PROOF":
            self.proofs.append(proof_row(asked, verdict, receipt, self.tx))
        journal = journal_of(asked, verdict, situation.payment, decision, self.tx.now)
        if journal is not None:
            self.journals.append(journal)
        if decision.prepare_refund:
            self.refunds.append(refund_row(receipt, decision, self.tx))

    def _note_case(self, asked: Asked, payment: Payment, decision: Decision) -> None:
        self.new_cases.append(
            NewCase(
                merchant_id=MerchantId(payment.merchant_id),
                payment_id=payment.id,
                attempt_id=asked.attempt.id,
                reason=decision.case or "",
                evidence=evidence_of(asked, payment),
                suggested_action=decision.suggest,
                fact=asked.verdict.transaction_id if asked.verdict is not None else None,
            )
        )

    def _note_flags(self, payment: Payment, decision: Decision) -> None:
        if decision.flags:
            known = self.flagged.get(payment.id, frozenset())
            self.flagged[payment.id] = known | decision.flags

    def _note_move(self, payment: Payment, attempt: Attempt, asked: Asked, decision: Decision) -> None:
        assert decision.move is not None
        step = Step(
            payment=payment,
            to=decision.move,
            actor=f"verification:{asked.attempt.check_trigger}",
            reason=decision.reason,
            attempt_id=attempt.id,
            changes=changes_of_move(asked, decision, self.tx.now),
        )
        self.steps.append(step)
        self.payments[payment.id] = moves.after(step, self.tx.now, self.patience)
        if decision.move is State.PAID and payment.slot is not None:
            same = (payment.merchant_id, payment.slot)
            self.slot_paid |= {
                p.id for p in self.payments.values() if (p.merchant_id, p.slot) == same and p.id != payment.id
            }

    def _supersede(self, payment: Payment, attempt: Attempt) -> None:
        """Money is there: every other checkout of this payment is to be ended."""
        for other in (self.attempts[i] for i in self.siblings[payment.id]):
            if other.id != attempt.id and other.state in OFFERED:
                self.superseded[other.id] = other

    def _note_answer(self, asked: Asked, attempt: Attempt, decision: Decision) -> None:
        row = answer_row(
            asked,
            attempt,
            self.payments[attempt.payment_id],
            decision,
            now=self.tx.now,
            patience=self.patience,
        )
        self._note_verification(asked, attempt, decision, row)
        self.answers.append(row)
        self.attempts[attempt.id] = msgspec.structs.replace(attempt, state=decision.attempt_state)

    def _note_verification(
        self, asked: Asked, attempt: Attempt, decision: Decision, row: dict[str, Any]
    ) -> None:
        fresh = verification_row(asked, attempt, decision, self.tx.now)
        key = "|".join(
            str(fresh[c]) for c in ("trigger", "outcome", "decision", "detail", "amount", "currency")
        )
        row["verification_key"] = hashlib.blake2s(key.encode(), digest_size=16).hexdigest()
        if attempt.verification_id is not None and row["verification_key"] == attempt.verification_key:
            row["verification_id"] = attempt.verification_id
            self.repeated.append(
                {
                    "id": attempt.verification_id,
                    "count": 1,
                    "last_at": self.tx.now,
                    "duration_us": asked.duration_us,
                }
            )
        else:
            row["verification_id"] = fresh["id"]
            self.logged.append(fresh)

    def _write_flags(self) -> None:
        """Flags that no move of this batch carried along."""
        for payment_id, flags in self.flagged.items():
            payment = self.payments[payment_id]
            missing = sorted(flag for flag in flags if not getattr(payment, flag))
            if missing:
                store.touch(self.tx, self.who, [payment], **dict.fromkeys(missing, True))


def _decide(situation: Situation, asked: Asked) -> Decision:
    if asked.refused is not None:
        return _refusal(situation)
    if asked.verdict is None:
        return _silence(situation, asked) if asked.down_since is None else _down(situation, asked.down_since)
    if asked.verdict.outcome is Outcome.UNKNOWN:
        return replace(rules.silence(situation), label="unknown_status")
    if asked.unclosable and asked.verdict.outcome is Outcome.PENDING:
        return rules.watch(situation)
    return _without_offer(situation, asked, rules.decide(situation, asked.verdict))


def _without_offer(situation: Situation, asked: Asked, decision: Decision) -> Decision:
    """A checkout found at the provider whose way in we never learnt helps no customer: end it, so that a new one starts."""
    attempt = situation.attempt
    lost = attempt.checkout is None and asked.started is None and decision.attempt_state is AttemptState.LIVE
    if lost and situation.now - attempt.created_at > situation.patience.start_deadline:
        return replace(decision, label="no_way_in", close_next=True)
    return decision


def _transactions(asked: Asked) -> list[Asked]:
    """The answer itself, then each further payment of the same checkout that it names."""
    if asked.verdict is None:
        return [asked]
    return [asked, *(replace(asked, verdict=verdict) for verdict in asked.verdict.further)]


def _refusal(situation: Situation) -> Decision:
    """The provider refused the start for good: nothing was made there, the attempt is over."""
    if situation.attempt.state is not AttemptState.CREATED:
        return Decision("start_refused", situation.attempt.state)  # a resend that was overtaken says nothing
    after = [*situation.others, AttemptState.FAILED]
    move, reason = rules.conclude(situation.payment, after, situation.now)
    return Decision("start_refused", AttemptState.FAILED, move=move, reason=reason)


def _down(situation: Situation, opened: Instant) -> Decision:
    """A provider that is down uses up nobody's patience; after a day of it a person decides all the same."""
    attempt = situation.attempt
    since = min(opened, attempt.silent_since or opened)
    if situation.now - since < situation.patience.silent_limit:
        return Decision("provider_down", attempt.state)
    counted = msgspec.structs.replace(attempt, silent_since=since, last_asked_at=situation.now)
    return rules.silence(replace(situation, attempt=counted))


def _silence(situation: Situation, asked: Asked) -> Decision:
    attempt = situation.attempt
    age = situation.now - attempt.created_at
    unwanted = rules.must_close(situation.payment, attempt, situation.now) and age >= NOT_THERE_GRACE
    over = situation.now > attempt.start_until or unwanted
    if asked.not_there and attempt.state is AttemptState.CREATED and over:
        after = [*situation.others, AttemptState.EXPIRED]
        move, reason = rules.conclude(situation.payment, after, situation.now)
        return Decision("never_started", AttemptState.EXPIRED, move=move, reason=reason)
    if asked.not_there and age < NOT_THERE_GRACE:
        return Decision("not_yet", attempt.state)
    decision = rules.silence(situation)
    if asked.not_there and decision.case is None and attempt.checkout_id is not None:
        return Decision("not_there", attempt.state, case="checkout_not_found", suggest="keep_waiting")
    return decision
