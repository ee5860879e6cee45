"""What a person's decision writes: its journal, its refunds, the columns of a payment it makes PAID; pure functions."""

from collections.abc import Sequence
from typing import Any

from paystate.domain import ledger
from paystate.domain.ledger import Journal
from paystate.domain.payments import Payment
from paystate.domain.payments.by_hand import Choice, Ruling
from paystate.domain.payments.records import Received
from paystate.flows.settlement_rows import owner_of
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, new_id
from paystate.kit.money import Money


def hand_journal(payment: Payment, ruling: Ruling, choice: Choice, now: Instant) -> Journal | None:
    """How an accepted payment is booked: out of what stood unapplied, else against suspense until one is matched."""
    if choice is not Choice.ACCEPT:
        return None
    merchant = MerchantId(payment.merchant_id)
    if ruling.matches:
        return ledger.hand_settlement_matched(
            merchant_id=merchant,
            payment_id=payment.id,
            transaction_id=ruling.taken[0].transaction_id,
            owner=owner_of(ruling.taken[0], payment),
            money=payment.money,
            effective_at=now,
        )
    if not ruling.taken:
        return ledger.settled_by_hand(
            merchant_id=merchant, payment_id=payment.id, money=payment.money, effective_at=now
        )
    total = Money(sum(r.left for r in ruling.taken), ruling.taken[0].currency)
    return ledger.payment_completed(
        merchant_id=merchant,
        payment_id=payment.id,
        came=None,
        held=[(owner_of(r, payment), Money(r.left, r.currency)) for r in ruling.taken],
        asked=payment.money if total.currency == payment.currency else total,
        owner=payment.customer_id or payment.id,
        effective_at=now,
    )


def hand_refund(receipt: Received, payment: Payment, now: Instant) -> dict[str, Any]:
    """A refund of all that is left of a receipt; prepared, not sent."""
    return {
        "id": new_id("rfd", now),
        "merchant_id": payment.merchant_id,
        "payment_id": payment.id,
        "receipt_id": receipt.id,
        "amount": receipt.left,
        "currency": receipt.currency,
        "state": "PREPARED",
        "reason": "refunded_by_hand",
        "created_at": now,
        "updated_at": now,
    }


def paid_changes(payment: Payment, taken: Sequence[Received]) -> dict[str, Any]:
    """What a payment says about the money that a person accepted; nothing where only the person's word stands."""
    if not taken:
        return {}
    last = taken[-1]
    total = sum(r.left for r in taken)
    same = last.currency == payment.currency
    return {
        "payment_method": last.provider.upper(),
        "transaction_id": last.transaction_id,
        "transaction_at": last.provider_at,
        "transaction_amount": last.amount,
        "transaction_currency": last.currency,
        "over": payment.over or (same and total > payment.amount),
        "partial": same and total < payment.amount,
    }
