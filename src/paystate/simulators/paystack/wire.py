"""How Paystack shows transactions, refunds and disputes: in hundredths of every currency, with numbers for ids."""

from typing import Any

from paystate.kit.clock import MILLISECOND, Instant, rfc3339
from paystate.kit.money import exponent
from paystate.simulators.numbers import number_of
from paystate.simulators.till import Checkout, Refund, RefundStatus, Status, Transaction

PLACES = 2
WORDS = {
    Status.OPEN: "abandoned",
    Status.PROCESSING: "processing",
    Status.PAID: "success",
    Status.REFUNDED: "reversed",
    Status.FAILED: "failed",
    Status.EXPIRED: "abandoned",
    Status.CLOSED: "abandoned",
}
SAID = {
    "abandoned": "The transaction was not completed",
    "processing": "Transaction in progress",
    "success": "Successful",
    "reversed": "Successful",
    "failed": "Declined",
}
REFUND_WORDS = {
    RefundStatus.PENDING: "pending",
    RefundStatus.SUCCEEDED: "processed",
    RefundStatus.FAILED: "failed",
}


def subunits(amount: int, currency: str) -> int:
    """Hundredths, of a currency without a minor unit too."""
    return int(amount * 10 ** max(0, PLACES - exponent(currency)))


def minor(number: int, currency: str) -> int | None:
    """The other way round; None for what is no whole count of minor units."""
    whole, rest = divmod(number, 10 ** max(0, PLACES - exponent(currency)))
    return None if rest else whole


def time_of(at: int) -> str:
    """With milliseconds, as Paystack writes them."""
    whole = rfc3339(Instant(at // 1_000_000 * 1_000_000))[:19]
    return f"{whole}.{at // MILLISECOND % 1_000:03d}Z"


def transaction_row(checkout: Checkout, paid: Transaction | None = None) -> dict[str, Any]:
    """A transaction is there from the start. A declined card makes it failed, until another one pays."""
    paid = paid or checkout.transaction
    word = WORDS[checkout.status]
    if checkout.status is Status.OPEN and checkout.declines:
        word = "failed"
    paid_at = None if paid is None else time_of(paid.paid_at)
    created_at = time_of(checkout.created_at)
    return {
        "id": number_of(checkout.id if paid is None else paid.id),
        "domain": "live" if checkout.live else "test",
        "status": word,
        "reference": checkout.reference if paid is None else paid.reference,
        "receipt_number": None,
        "amount": subunits(
            *((checkout.amount, checkout.currency) if paid is None else (paid.amount, paid.currency))
        ),
        "message": None,
        "gateway_response": checkout.decline.code if word == "failed" and checkout.decline else SAID[word],
        "paid_at": paid_at,
        "created_at": created_at,
        "channel": "card" if paid is None else paid.method,
        "currency": checkout.currency if paid is None else paid.currency,
        "ip_address": "127.0.0.1",
        "metadata": checkout.extra.get("metadata", ""),
        "fees": None if paid is None else subunits(paid.fee, paid.currency),
        "fees_split": None,
        "authorization": {} if paid is None else {"last4": "4081", "channel": "card", "reusable": True},
        "customer": {"id": 181873746, "email": checkout.extra.get("email"), "metadata": None},
        "plan": None,
        "order_id": None,
        "paidAt": paid_at,
        "createdAt": created_at,
        "requested_amount": subunits(checkout.amount, checkout.currency),
        "source": {"source": "merchant_api", "type": "api", "entry_point": "transaction_initialize"},
    }


def refund_row(refund: Refund) -> dict[str, Any]:
    """As the list has it: the transaction is only its number."""
    return {
        "id": number_of(refund.id),
        "integration": 412829,
        "transaction": number_of(refund.transaction),
        "domain": refund.extra.get("domain", "test"),
        "currency": refund.currency,
        "amount": subunits(refund.amount, refund.currency),
        "deducted_amount": 0,
        "fully_deducted": False,
        "status": REFUND_WORDS[refund.status],
        "merchant_note": refund.extra.get("merchant_note", "Made on the dashboard"),
        "customer_note": refund.extra.get("customer_note", ""),
        "createdAt": time_of(refund.created_at),
        "updatedAt": time_of(refund.created_at),
    }


def dispute_row(checkout: Checkout, paid: Transaction) -> dict[str, Any]:
    return {
        "id": number_of(f"dispute of {paid.id}"),
        "refund_amount": subunits(paid.amount, paid.currency),
        "currency": paid.currency,
        "status": "awaiting-merchant-feedback",
        "resolution": None,
        "domain": "live" if checkout.live else "test",
        "transaction": transaction_row(checkout, paid),
        "category": "chargeback",
        "resolvedAt": None,
        "createdAt": time_of(checkout.updated_at),
    }
