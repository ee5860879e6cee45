"""How Flutterwave shows transactions and refunds: JSON numbers of major units, and no status of the link itself."""

from typing import Any

import msgspec

from paystate.kit.clock import MILLISECOND, SECOND, Instant, rfc3339
from paystate.kit.money import major_units
from paystate.simulators.numbers import number_of
from paystate.simulators.till import Checkout, Refund, RefundStatus, Status, Transaction

REFUND_WORDS = {
    RefundStatus.PENDING: "pending",
    RefundStatus.SUCCEEDED: "completed",
    RefundStatus.FAILED: "failed",
}
TRYING = {Status.PROCESSING: "pending", Status.FAILED: "failed"}
"""Where the customer has acted and no money came."""


def number(amount: int, currency: str) -> msgspec.Raw:
    """`100`, `1.4`: a number of major units without needless zeros, written exactly."""
    text = major_units(amount, currency)
    return msgspec.Raw((text.rstrip("0").rstrip(".") if "." in text else text).encode())


def time_of(at: int) -> str:
    """With milliseconds, as Flutterwave writes them."""
    return f"{rfc3339(Instant(at // SECOND * SECOND))[:19]}.{at // MILLISECOND % 1_000:03d}Z"


def transaction_rows(checkout: Checkout) -> list[dict[str, Any]]:
    """Every transaction of this link, oldest first; none before the customer acts."""
    rows = [
        _unpaid(checkout, d.id, "failed", d.at) | {"processor_response": d.code} for d in checkout.declines
    ]
    word = TRYING.get(checkout.status)
    if word is not None and not checkout.transactions:
        rows.append(_unpaid(checkout, checkout.id, word, checkout.updated_at))
    return [*rows, *(paid_row(checkout, paid) for paid in checkout.transactions)]


def paid_row(checkout: Checkout, paid: Transaction) -> dict[str, Any]:
    money = {
        "amount": number(paid.amount, paid.currency),
        "currency": paid.currency,
        "charged_amount": number(paid.amount, paid.currency),
        "app_fee": number(paid.fee, paid.currency),
        "merchant_fee": 0,
        "amount_settled": number(paid.amount - paid.fee, paid.currency),
    }
    return (
        _row(checkout, paid.id, "successful", paid.paid_at)
        | money
        | {
            "tx_ref": paid.reference,
            "payment_type": paid.method,
            "processor_response": "Approved by Financial Institution",
        }
    )


def refund_row(refund: Refund) -> dict[str, Any]:
    """Its currency is that of the transaction, and is not said."""
    return {
        "id": number_of(refund.id),
        "account_id": number_of(refund.owner),
        "tx_id": number_of(refund.transaction),
        "flw_ref": f"URF_{refund.id}",
        "wallet_id": 74639,
        "amount_refunded": number(refund.amount, refund.currency),
        "status": REFUND_WORDS[refund.status],
        "destination": "payment_source",
        "comments": refund.extra.get("comments"),
        "meta": {"source": "availablebalance"},
        "created_at": time_of(refund.created_at),
    }


def as_listed(row: dict[str, Any]) -> dict[str, Any]:
    """Lists write ids as texts, the customer flat, and no amounts before the money is there."""
    customer = row["customer"]
    unsettled = row["status"] == "pending"
    return {
        **{name: value for name, value in row.items() if name != "customer"},
        "id": str(row["id"]),
        "customer_name": customer["name"],
        "customer_email": customer["email"],
        "amount": None if unsettled else row["amount"],
        "charged_amount": None if unsettled else row["charged_amount"],
    }


def _unpaid(checkout: Checkout, object_id: str, word: str, at: int) -> dict[str, Any]:
    asked = number(checkout.amount, checkout.currency)
    money = {"amount": asked, "currency": checkout.currency, "charged_amount": asked, "app_fee": None}
    return _row(checkout, object_id, word, at) | money


def _row(checkout: Checkout, object_id: str, word: str, at: int) -> dict[str, Any]:
    email = checkout.extra.get("email")
    return {
        "id": number_of(object_id),
        "tx_ref": checkout.reference,
        "flw_ref": f"FLW-MOCK-{number_of(object_id)}",
        "device_fingerprint": "N/A",
        "auth_model": "PIN",
        "ip": "::ffff:127.0.0.1",
        "narration": "CARD Transaction ",
        "status": word,
        "payment_type": "card",
        "created_at": time_of(at),
        "account_id": number_of(checkout.account),
        "meta": checkout.extra.get("meta"),
        "customer": {"id": 216519823, "name": "Anonymous customer", "phone_number": "N/A", "email": email},
    }
