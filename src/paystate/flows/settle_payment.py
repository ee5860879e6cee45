"""Applies what providers answered: a batch of verdicts in one commit, by sets, under the payments' locks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from paystate.domain import cases, ledger
from paystate.domain.cases import NewCase
from paystate.domain.ledger import Journal
from paystate.domain.payments import (
    Attempt,
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
    store,
)
from paystate.domain.payments.port import Verdict
from paystate.domain.payments.records import Received, TransactionKey
from paystate.domain.payments.situation import ReceiptOwner
from paystate.domain.payments.states import OFFERED
from paystate.flows.decide_answer import decide_answer
from paystate.flows.move_payment import move_payments
from paystate.flows.settlement_rows import (
    Asked,
    adoption_row,
    answer_row,
    changes_of_move,
    evidence_of,
    journal_of,
    outcome_word,
    part_row,
    proof_row,
    receipt_row,
    received_of,
    refund_row,
    transaction_key,
    verification_row,
)
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx
from paystate.machinery.failpoints import declare, failpoint

_NONE: Mapping[str, int] = {}
VERIFICATION_FAILED = "verification_failed"
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


def settle_answers(
    batch: Sequence[Asked], patience: Patience, tx: Tx, *, pushing: Mapping[str, int] = _NONE
) -> list[Settled]:
    """Apply the answers of a batch. Those whose claim was lost meanwhile change nothing.

    `pushing` names the providers whose customers send what they like, and how many transfers are added up.

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
    book = _Book(tx, who, patience, payments, attempts, pushing)
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
    pushing: Mapping[str, int]
    slot_paid: set[str] = field(default_factory=set)
    known: dict[TransactionKey, Received] = field(default_factory=dict)
    received: dict[str, list[Received]] = field(default_factory=dict)
    taken: dict[TransactionKey, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    flagged: dict[str, frozenset[str]] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    repeated: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    adoptions: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
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
        self.known = proof_store.known_receipts(self.tx, self.who, [transaction_key(a) for a in money])
        pushed = [a.attempt.payment_id for a in money if a.attempt.provider in self.pushing]
        for one in proof_store.receipts_of(self.tx, self.who, pushed):
            self.received.setdefault(one.payment_id or "", []).append(one)
        unsettled = [self.payments[a.attempt.payment_id] for a in money]
        self.slot_paid = store.slots_with_a_paid_payment(self.tx, self.who, unsettled)

    def take(self, asked: Asked) -> Settled:
        """Decide one answer on what stands now, each transaction it names, and note what it writes."""
        attempt = self.attempts[asked.attempt.id]
        if attempt.provider in self.pushing:
            first, *further = self._judge_transfers(asked)
        else:
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

    def _judge_transfers(self, asked: Asked) -> list[Decision]:
        """What is new first, each knowing what still comes: their order says nothing about what they come to."""
        payment = self.payments[asked.attempt.payment_id]
        transfers = sorted(_transactions(asked), key=lambda one: self._owner(one, payment) == "this_payment")
        new = [self._brings(one, payment) for one in transfers]
        return [self._judge(one, coming=sum(new[place + 1 :])) for place, one in enumerate(transfers)]

    def _brings(self, asked: Asked, payment: Payment) -> int:
        verdict = asked.verdict
        counts = (
            verdict is not None
            and verdict.outcome is Outcome.SUCCEEDED
            and verdict.currency == payment.currency
            and self._owner(asked, payment) == "nobody"
        )
        return (verdict.amount or 0) - verdict.amount_refunded if counts and verdict is not None else 0

    def _judge(self, asked: Asked, *, coming: int = 0) -> Decision:
        attempt = self.attempts[asked.attempt.id]
        payment = self.payments[attempt.payment_id]
        situation = replace(self._situation(asked, payment, attempt), coming=coming)
        decision = decide_answer(situation, asked)
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
        proof_store.adopt_receipts(tx, who, self.adoptions)
        proof_store.add_proofs(tx, who, self.proofs)
        proof_store.add_parts(tx, who, self.parts)
        proof_store.prepare_refunds(tx, who, self.refunds)
        proof_store.add_verifications(tx, who, self.logged, self.repeated)
        attempt_store.write_answers(tx, who, self.answers)
        still_offered = [a for a in self.superseded.values() if self.attempts[a.id].state in OFFERED]
        attempt_store.make_due(tx, who, still_offered, Trigger.CANCEL, close=True)
        self._close_answered_cases()
        cases.open_cases(tx, who, self.new_cases)
        if self.journals:
            ledger.post(tx, who, self.journals)

    def _close_answered_cases(self) -> None:
        """Cases that only waited for what has just happened: an answer that can be applied, a proof after silence."""
        proved = [s.payment.id for s in self.steps if s.to is State.PAID]
        written = [row["id"] for row in self.answers if self.attempts[row["id"]].unwritten]
        close = partial(cases.close_answered, self.tx, self.who)
        close(payment_ids=proved, reasons=("no_answer", "checkout_not_found"), said="PROVED")
        close(attempt_ids=written, reasons=(VERIFICATION_FAILED,), said="VERIFIED")

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
            pushes=len(self.received.get(payment.id, ())) < self.pushing.get(attempt.provider, 0),
            received=sum(part.left for part in self._parts(payment)),
        )

    def _parts(self, payment: Payment) -> list[Received]:
        """What was received for this payment in its currency and settles nothing yet."""
        return [
            one
            for one in self.received.get(payment.id, ())
            if one.disposition == "UNAPPLIED"
            and one.currency == payment.currency
            and one.reason != "reference_mismatch"
            and one.left > 0
        ]

    def _owner(self, asked: Asked, payment: Payment) -> ReceiptOwner:
        """A receipt that came without a payment is nobody's, as long as it says what the verdict says."""
        if asked.verdict is None or not asked.verdict.transaction_id:
            return "nobody"
        key = transaction_key(asked)
        known = self.known.get(key)
        owner = self.taken.get(key) or (known.payment_id if known is not None else None)
        if owner is not None:
            return "this_payment" if owner == payment.id else "other_payment"
        if known is None:
            return "nobody"
        same = (known.merchant_id, known.amount, known.currency)
        told = (payment.merchant_id, asked.verdict.amount, asked.verdict.currency)
        return "nobody" if same == told else "other_payment"

    def _note_money(self, asked: Asked, verdict: Verdict, situation: Situation, decision: Decision) -> None:
        payment, key = situation.payment, transaction_key(asked)
        unmatched = self.known.get(key)
        receipt = receipt_row(asked, verdict, decision, self.tx)
        if unmatched is None:
            self.receipts.append(receipt)
        else:
            receipt["id"] = unmatched.id
            self.adoptions.append(adoption_row(receipt))
        self.taken[key] = payment.id
        parts = self._parts(payment) if situation.pushes and decision.receipt == "PROOF" else []
        if decision.receipt == "PROOF":
            self.proofs.append(proof_row(asked, verdict, receipt, self.tx, pushed=situation.pushes))
            self.parts += [part_row(part, payment) for part in parts]
        journal = journal_of(
            asked, verdict, payment, decision, now=self.tx.now, parts=parts, adopted=unmatched is not None
        )
        if journal is not None:
            self.journals.append(journal)
        if decision.prepare_refund:
            self.refunds.append(refund_row(receipt, decision, self.tx))
        if asked.attempt.provider in self.pushing:
            self.received.setdefault(payment.id, []).append(received_of(receipt, unmatched, verdict))

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
        known = self.flagged.get(payment.id, frozenset()) | decision.flags
        if decision.move is State.PAID:
            known -= {"partial"}  # the sum is complete
        if known:
            self.flagged[payment.id] = known

    def _note_move(self, payment: Payment, attempt: Attempt, asked: Asked, decision: Decision) -> None:
        assert decision.move is not None
        step = Step(
            payment=payment,
            to=decision.move,
            actor=f"verification:{asked.attempt.check_trigger}",
            reason=decision.reason,
            attempt_id=attempt.id,
            changes=changes_of_move(
                asked, decision, self.tx.now, pushed=asked.attempt.provider in self.pushing
            ),
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


def _transactions(asked: Asked) -> list[Asked]:
    """The answer itself, then each further payment of the same checkout that it names."""
    if asked.verdict is None:
        return [asked]
    return [asked, *(replace(asked, verdict=verdict) for verdict in asked.verdict.further)]
