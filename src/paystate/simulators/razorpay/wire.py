"""How Razorpay shows what a till keeps: payment links, payments with fee and tax, refunds, lists."""

from collections.abc import Sequence
from typing import Any

from paystate.kit.clock import SECOND
from paystate.simulators.till import Checkout, Refund, RefundStatus, Status, Transaction

CALLBACK, EXPIRE_BY, NOTES, PAYMENT, ORDER, RECEIPT, SPEED, SIGNER = (
    "callback_url",
    "expire_by",
    "notes",
    "payment_id",
    "order_id",
    "receipt",
    "speed",
    "key_secret",
)
"""What only Razorpay keeps with a checkout or a refund."""

LINK_STATUS = {
    Status.OPEN: "created",
    Status.PROCESSING: "created",
    Status.FAILED: "created",
    Status.PAID: "paid",
    Status.REFUNDED: "paid",
    Status.EXPIRED: "expired",
    Status.CLOSED: "cancelled",
}
"""A link knows only captured money: a payment that is authorized or failed leaves it as it was."""

REFUND_STATUS = {
    RefundStatus.PENDING: "pending",
    RefundStatus.SUCCEEDED: "processed",
    RefundStatus.FAILED: "failed",
}


def link(checkout: Checkout, url: str) -> dict[str, Any]:
    """If somebody lied about the payment, the link says what arrived."""
    paid = checkout.transaction
    ended = checkout.updated_at // SECOND
    shown = {
        "accept_partial": False,
        "amount": checkout.amount,
        "amount_paid": 0 if paid is None else paid.amount,
        "callback_method": "get" if checkout.extra.get(CALLBACK) else "",
        "callback_url": checkout.extra.get(CALLBACK, ""),
        "cancelled_at": ended if checkout.status is Status.CLOSED else 0,
        "created_at": checkout.created_at // SECOND,
        "currency": checkout.currency if paid is None else paid.currency,
        "customer": {},
        "description": checkout.description,
        "expire_by": checkout.extra.get(EXPIRE_BY, 0),
        "expired_at": ended if checkout.status is Status.EXPIRED else 0,
        "first_min_partial_amount": 0,
        "id": checkout.id,
        "notes": checkout.extra.get(NOTES) or None,
        "notify": {"email": False, "sms": False, "whatsapp": False},
        "payments": [_listed(checkout, one) for one in checkout.transactions] or None,
        "reference_id": checkout.reference if paid is None else paid.reference,
        "reminder_enable": False,
        "reminders": [],
        "short_url": url,
        "status": LINK_STATUS[checkout.status],
        "updated_at": ended,
        "upi_link": False,
        "user_id": "",
        "whatsapp_link": False,
    }
    return shown if paid is None else shown | {"order_id": checkout.extra[ORDER]}


def _listed(checkout: Checkout, paid: Transaction) -> dict[str, Any]:
    at = paid.paid_at // SECOND
    return {
        "amount": paid.amount,
        "created_at": at,
        "method": paid.method,
        "payment_id": paid.id,
        "plink_id": checkout.id,
        "status": "captured",
        "updated_at": at,
    }


def captured(checkout: Checkout, paid: Transaction) -> dict[str, Any]:
    """Money that came, and how much of it went back."""
    whole = 0 < paid.amount <= paid.amount_refunded
    return _payment(checkout, paid.id, paid.paid_at) | {
        "amount": paid.amount,
        "base_amount": paid.amount,
        "currency": paid.currency,
        "status": "refunded" if whole else "captured",
        "captured": True,
        "method": paid.method,
        "amount_refunded": paid.amount_refunded,
        "refund_status": "full" if whole else "partial" if paid.amount_refunded else None,
        "fee": paid.fee,
        "tax": paid.fee * 18 // 118,
        "acquirer_data": {"rrn": "322398320067"},
    }


def authorized(checkout: Checkout) -> dict[str, Any]:
    """The customer is done, the money is not here yet."""
    return _payment(checkout, checkout.extra[PAYMENT], checkout.updated_at) | {"status": "authorized"}


def failed(checkout: Checkout, payment_id: str, code: str) -> dict[str, Any]:
    """A try that the bank refused; it may still be captured later."""
    return _payment(checkout, payment_id, checkout.updated_at) | {
        "status": "failed",
        "error_code": "BAD_REQUEST_ERROR",
        "error_description": "Your payment was not completed.",
        "error_source": "bank",
        "error_step": "payment_authorization",
        "error_reason": code,
    }


def _payment(checkout: Checkout, payment_id: str, at: int) -> dict[str, Any]:
    return {
        "id": payment_id,
        "entity": "payment",
        "amount": checkout.amount,
        "currency": checkout.currency,
        "base_amount": checkout.amount,
        "order_id": checkout.extra[ORDER],
        "invoice_id": None,
        "international": False,
        "method": "card",
        "amount_refunded": 0,
        "refund_status": None,
        "captured": False,
        "description": f"#{checkout.id.removeprefix('plink_')}",
        "card_id": None,
        "bank": None,
        "wallet": None,
        "vpa": None,
        "email": None,
        "contact": "+919000090000",
        "notes": [],
        "fee": None,
        "tax": None,
        "error_code": None,
        "error_description": None,
        "error_source": None,
        "error_step": None,
        "error_reason": None,
        "acquirer_data": {},
        "created_at": at // SECOND,
    }


def order(checkout: Checkout) -> dict[str, Any]:
    """As a webhook shows it: without the prefix of its id."""
    return {
        "id": checkout.extra[ORDER].removeprefix("order_"),
        "entity": "order",
        "amount": checkout.amount,
        "currency": checkout.currency,
        "receipt": checkout.reference,
        "status": "paid",
    }


def refund(refund: Refund) -> dict[str, Any]:
    return {
        "id": refund.id,
        "entity": "refund",
        "amount": refund.amount,
        "receipt": refund.extra.get(RECEIPT),
        "currency": refund.currency,
        "payment_id": refund.transaction,
        "notes": refund.extra.get(NOTES) or [],
        "acquirer_data": {"arn": None},
        "created_at": refund.created_at // SECOND,
        "batch_id": None,
        "status": REFUND_STATUS[refund.status],
        "speed_processed": "normal",
        "speed_requested": refund.extra.get(SPEED, "normal"),
    }


def dispute(paid: Transaction, now: int) -> dict[str, Any]:
    return {
        "id": f"disp_{paid.id.removeprefix('pay_')}",
        "entity": "dispute",
        "payment_id": paid.id,
        "amount": paid.amount,
        "currency": paid.currency,
        "phase": "chargeback",
        "status": "open",
        "created_at": now // SECOND,
    }


def collection(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every list but that of payment links."""
    return {"entity": "collection", "count": len(items), "items": list(items)}
