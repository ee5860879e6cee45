"""How SumUp shows a till's objects: checkouts, transactions with their events, history rows, merchants."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from paystate.kit.clock import SECOND, rfc3339
from paystate.kit.money import major_units
from paystate.simulators.till.objects import Account, Checkout, Refund, RefundStatus, Status, Transaction

SCHEME = "VISA"
USER = "merchant@example.com"
_WORDS = {
    Status.OPEN: "PENDING",
    Status.PROCESSING: "PENDING",
    Status.PAID: "PAID",
    Status.REFUNDED: "PAID",
    Status.FAILED: "FAILED",
    Status.EXPIRED: "EXPIRED",
    Status.CLOSED: "EXPIRED",
}
_EVENT_WORDS = {
    RefundStatus.PENDING: "PENDING",
    RefundStatus.SUCCEEDED: "REFUNDED",
    RefundStatus.FAILED: "FAILED",
}


def major(amount: int, currency: str) -> msgspec.Raw:
    """A JSON number in major units without needless zeros: 1010 EUR is 10.1."""
    text = major_units(amount, currency)
    return msgspec.Raw((text.rstrip("0").rstrip(".") if "." in text else text).encode())


def checkout_status(checkout: Checkout) -> str:
    """A declined try makes it FAILED, although it can be paid still."""
    if checkout.status is Status.OPEN and checkout.declines:
        return "FAILED"
    return _WORDS[checkout.status]


def checkout_wire(checkout: Checkout, page_url: str) -> dict[str, Any]:
    """What was lied about a payment shows here too: whose it is, and for what."""
    paid = checkout.transaction
    shown: dict[str, Any] = {
        "id": checkout.id,
        "checkout_reference": checkout.reference if paid is None else paid.reference,
        "amount": major(checkout.amount, checkout.currency),
        "currency": checkout.currency,
        "merchant_code": checkout.account,
        "merchant_name": f"SumUp ({checkout.owner})",
        "description": checkout.description,
        "purpose": "CHECKOUT",
        "status": checkout_status(checkout),
        "date": rfc3339(checkout.created_at).replace("Z", "+00:00"),
        "valid_until": _valid_until(checkout),
        "transactions": [_failed(checkout, t.id, t.at) for t in checkout.declines] + _later_tries(checkout),
    }
    named = {"return_url": checkout.webhook_url, "redirect_url": checkout.return_url}
    shown |= {name: url for name, url in named.items() if url}
    if checkout.extra.get("hosted"):
        shown |= {"hosted_checkout": {"enabled": True}, "hosted_checkout_url": page_url}
    if paid is not None:
        shown |= {"transaction_id": paid.id, "transaction_code": transaction_code(paid.id)}
    return shown


def _valid_until(checkout: Checkout) -> str | None:
    """One that failed for good is one whose time is over: SumUp has no other word for it."""
    if checkout.status is Status.FAILED:
        return rfc3339(checkout.updated_at - SECOND)
    return None if checkout.expires_at is None else rfc3339(checkout.expires_at)


def _later_tries(checkout: Checkout) -> list[dict[str, Any]]:
    if checkout.status is Status.PROCESSING:
        pending = str(uuid5(NAMESPACE_URL, checkout.id))
        row = _row(checkout, pending, "PENDING", checkout.updated_at)
        return [row | _money(checkout.amount, checkout.currency)]
    return [
        _row(checkout, paid.id, _transaction_status(paid), paid.paid_at) | _money(paid.amount, paid.currency)
        for paid in checkout.transactions
    ]


def _failed(checkout: Checkout, try_id: str, at: int) -> dict[str, Any]:
    return _row(checkout, try_id, "FAILED", at) | _money(checkout.amount, checkout.currency)


def _row(checkout: Checkout, transaction_id: str, status: str, at: int) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "transaction_code": transaction_code(transaction_id),
        "timestamp": rfc3339(at),
        "status": status,
        "payment_type": "ECOM",
        "installments_count": 1,
        "merchant_code": checkout.account,
        "vat_amount": 0,
        "tip_amount": 0,
        "entry_mode": "CUSTOMER_ENTRY",
    }


def _money(amount: int, currency: str) -> dict[str, Any]:
    return {"amount": major(amount, currency), "currency": currency}


def transaction_code(transaction_id: str) -> str:
    return "T" + transaction_id.replace("-", "")[:9].upper()


def transaction_wire(checkout: Checkout, paid: Transaction, refunds: Sequence[Refund]) -> dict[str, Any]:
    """The record of one transaction with its fee and its events."""
    row = _row(checkout, paid.id, _transaction_status(paid), paid.paid_at)
    return {
        **row,
        **_money(paid.amount, paid.currency),
        "simple_status": "CHARGEBACK" if paid.disputed else row["status"],
        "simple_payment_type": "CARD",
        "foreign_transaction_id": paid.reference,
        "client_transaction_id": f"urn:sumup:checkout:{checkout.id}",
        "product_summary": checkout.description,
        "username": USER,
        "fee_amount": major(paid.fee, paid.currency),
        "card": {"last_4_digits": "0091", "type": SCHEME},
        "payouts_total": 1,
        "payouts_received": 0,
        "payout_plan": "SINGLE_PAYMENT",
        "payout_type": "BANK_ACCOUNT",
        "events": [_event(paid, refund) for refund in refunds] + _charge_backs(paid),
        "transaction_events": [_told_again(refund) for refund in refunds],
    }


def _event(paid: Transaction, refund: Refund) -> dict[str, Any]:
    return {
        "id": int(refund.id),
        "transaction_id": paid.id,
        "type": "REFUND",
        "status": _EVENT_WORDS[refund.status],
        "amount": major(refund.amount, refund.currency),
        "timestamp": rfc3339(refund.created_at),
    }


def _told_again(refund: Refund) -> dict[str, Any]:
    """The other of the two shapes in which SumUp tells the same events."""
    return {
        "id": int(refund.id),
        "event_type": "REFUND",
        "status": _EVENT_WORDS[refund.status],
        "amount": major(refund.amount, refund.currency),
        "date": rfc3339(refund.created_at)[:10],
        "timestamp": rfc3339(refund.created_at),
    }


def _charge_backs(paid: Transaction) -> list[Mapping[str, Any]]:
    if not paid.disputed:
        return []
    money = major(paid.amount, paid.currency)
    return [{"id": 1, "transaction_id": paid.id, "type": "CHARGE_BACK", "status": "PENDING", "amount": money}]


def history_row(checkout: Checkout, paid: Transaction) -> dict[str, Any]:
    row = _row(checkout, paid.id, _transaction_status(paid), paid.paid_at)
    del row["merchant_code"], row["vat_amount"], row["tip_amount"], row["entry_mode"]
    return {
        **row,
        **_money(paid.amount, paid.currency),
        "transaction_id": paid.id,
        "client_transaction_id": f"urn:sumup:checkout:{checkout.id}",
        "type": "PAYMENT",
        "card_type": SCHEME,
        "product_summary": checkout.description,
        "user": USER,
        "payouts_total": 1,
        "payouts_received": 0,
        "payout_plan": "SINGLE_PAYMENT",
        "payout_type": "BANK_ACCOUNT",
        "refunded_amount": major(paid.amount_refunded, paid.currency),
    }


def merchant_wire(account: Account, now: int) -> dict[str, Any]:
    return {
        "merchant_code": account.id,
        "alias": account.extra.get("alias", f"SumUp ({account.id})"),
        "country": account.extra.get("country", "DE"),
        "default_currency": account.extra.get("currency", "EUR"),
        "default_locale": "de-DE",
        "sandbox": not account.live,
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": rfc3339(now),
    }


def _transaction_status(paid: Transaction) -> str:
    return "REFUNDED" if 0 < paid.amount <= paid.amount_refunded else "SUCCESSFUL"
