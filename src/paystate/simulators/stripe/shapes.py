"""How Stripe shows what a till keeps: sessions, payment intents, charges, refunds, bookings, with `expand`."""

from collections.abc import Iterable, Mapping
from typing import Any

from paystate.kit.clock import DAY, SECOND
from paystate.simulators.calls import refuse
from paystate.simulators.stripe.units import from_minor
from paystate.simulators.till import Account, Checkout, Refund, RefundStatus, Status, Transaction

API_VERSION = "2026-10-28.endive"
MAX_EXPAND = 4
AVAILABLE_AFTER = 7 * DAY
INTENT = "payment_intent"
METADATA = "metadata"
INTENT_METADATA = "payment_intent_metadata"

_SESSION_STATUS = {
    Status.OPEN: ("open", "unpaid"),
    Status.PROCESSING: ("complete", "unpaid"),
    Status.PAID: ("complete", "paid"),
    Status.REFUNDED: ("complete", "paid"),
    Status.FAILED: ("complete", "unpaid"),
    Status.EXPIRED: ("expired", "unpaid"),
    Status.CLOSED: ("expired", "unpaid"),
}
_INTENT_STATUS = {
    Status.OPEN: "requires_payment_method",
    Status.PROCESSING: "processing",
    Status.PAID: "succeeded",
    Status.REFUNDED: "succeeded",
    Status.FAILED: "requires_payment_method",
    Status.EXPIRED: "canceled",
    Status.CLOSED: "canceled",
}


class Expand:
    """Which ids are to be shown as whole objects: ``a.b`` expands `a`, and in it `b`."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = [path.split(".") for path in paths if path]
        if any(len(path) > MAX_EXPAND for path in self._paths):
            raise refuse("parameter_invalid", "You cannot expand more than 4 levels.", 400, param="expand")

    def inside(self, name: str) -> "Expand | None":
        """What is to be expanded within this field; None: its id only."""
        within = [path[1:] for path in self._paths if path[0] == name]
        return Expand(".".join(path) for path in within) if within else None


NOTHING = Expand()


def session(checkout: Checkout, url: str, expand: Expand = NOTHING) -> dict[str, Any]:
    """If somebody lied about the payment, the session says what arrived."""
    status, payment_status = _SESSION_STATUS[checkout.status]
    paid = checkout.transaction
    currency = checkout.currency if paid is None else paid.currency
    amount = from_minor(checkout.amount if paid is None else paid.amount, currency)
    within = expand.inside(INTENT)
    return {
        "id": checkout.id,
        "object": "checkout.session",
        "amount_subtotal": amount,
        "amount_total": amount,
        "cancel_url": checkout.cancel_url or None,
        "client_reference_id": (checkout.reference if paid is None else paid.reference) or None,
        "client_secret": None,
        "created": checkout.created_at // SECOND,
        "currency": currency.lower(),
        "customer": None,
        "customer_details": None,
        "customer_email": checkout.extra.get("customer_email"),
        "expires_at": None if checkout.expires_at is None else checkout.expires_at // SECOND,
        "livemode": checkout.live,
        "metadata": checkout.extra.get(METADATA, {}),
        "mode": "payment",
        INTENT: intent(checkout, paid, within)
        if within is not None and has_intent(checkout)
        else intent_id(checkout),
        "payment_link": None,
        "payment_method_types": ["card"],
        "payment_status": payment_status,
        "recovered_from": None,
        "setup_intent": None,
        "status": status,
        "submit_type": None,
        "subscription": None,
        "success_url": checkout.return_url,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": url if checkout.status is Status.OPEN else None,
    }


def has_intent(checkout: Checkout) -> bool:
    """A new session has none: it comes with the first try to pay."""
    return checkout.status not in (Status.OPEN, Status.EXPIRED, Status.CLOSED) or bool(checkout.declines)


def intent_id(checkout: Checkout) -> str | None:
    if checkout.transaction is not None:
        return checkout.transaction.id
    own: str | None = checkout.extra.get(INTENT)
    return own if has_intent(checkout) else None


def intent(checkout: Checkout, paid: Transaction | None, expand: Expand = NOTHING) -> dict[str, Any]:
    """Of one transaction, or of the tries so far."""
    currency = checkout.currency if paid is None else paid.currency
    amount = from_minor(checkout.amount if paid is None else paid.amount, currency)
    failed = _failure(checkout) if paid is None else None
    charged = paid is not None or failed is not None
    within = expand.inside("latest_charge")
    own_id = paid.id if paid is not None else str(checkout.extra.get(INTENT))
    status = "succeeded" if paid is not None else _INTENT_STATUS[checkout.status]
    return {
        "id": own_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": amount if paid is not None else 0,
        "canceled_at": checkout.updated_at // SECOND if status == "canceled" else None,
        "cancellation_reason": "automatic" if status == "canceled" else None,
        "capture_method": "automatic",
        "client_secret": f"{own_id}_secret_simulated",
        "confirmation_method": "automatic",
        "created": checkout.created_at // SECOND,
        "currency": currency.lower(),
        "customer": None,
        "description": checkout.description or None,
        "last_payment_error": failed,
        "latest_charge": _latest_charge(checkout, paid, within) if charged else None,
        "livemode": checkout.live,
        "metadata": checkout.extra.get(INTENT_METADATA, {}),
        "next_action": None,
        "payment_method": f"pm_{own_id[3:]}" if charged else None,
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "status": status,
        "statement_descriptor_suffix": None,
    }


def charge_id(transaction_id: str) -> str:
    return f"ch_{transaction_id.removeprefix('pi_')}"


def intent_of_charge(charge: str) -> str:
    return f"pi_{charge.removeprefix('ch_')}"


def charge(checkout: Checkout, paid: Transaction | None, expand: Expand = NOTHING) -> dict[str, Any]:
    """Of one transaction, or of the last try that was declined."""
    own_id = paid.id if paid is not None else str(checkout.extra.get(INTENT))
    currency = checkout.currency if paid is None else paid.currency
    amount = from_minor(checkout.amount if paid is None else paid.amount, currency)
    refunded = 0 if paid is None else from_minor(paid.amount_refunded, currency)
    within = expand.inside("balance_transaction")
    failure = _failure(checkout) if paid is None else None
    return {
        "id": charge_id(own_id),
        "object": "charge",
        "amount": amount,
        "amount_captured": 0 if paid is None else amount,
        "amount_refunded": refunded,
        "balance_transaction": None if paid is None else _booking_shown(paid, within),
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "captured": paid is not None,
        "created": (checkout.updated_at if paid is None else paid.paid_at) // SECOND,
        "currency": currency.lower(),
        "customer": None,
        "description": checkout.description or None,
        "disputed": paid is not None and paid.disputed,
        "failure_code": failure and failure["code"],
        "failure_message": failure and failure["message"],
        "livemode": checkout.live,
        "metadata": checkout.extra.get(INTENT_METADATA, {}),
        "outcome": {"network_status": "approved_by_network", "type": "authorized"},
        "paid": paid is not None,
        INTENT: own_id,
        "payment_method": f"pm_{own_id[3:]}",
        "payment_method_details": {
            "type": "card" if paid is None else paid.method,
            "card": {"brand": "visa", "last4": "4242", "country": "US", "funding": "credit"},
        },
        "receipt_url": None,
        "refunded": paid is not None and refunded >= amount > 0,
        "status": "succeeded" if paid is not None else "failed",
    }


def booking(paid: Transaction) -> dict[str, Any]:
    """The balance transaction of a charge."""
    amount, fee = from_minor(paid.amount, paid.currency), from_minor(paid.fee, paid.currency)
    kind = {"source": charge_id(paid.id), "type": "charge", "reporting_category": "charge"}
    return (
        _booking(f"txn_{paid.id.removeprefix('pi_')}", amount, fee, paid.currency)
        | kind
        | _times(paid.paid_at)
    )


def refund_booking(refund: Refund) -> dict[str, Any]:
    """The balance transaction of a refund: money that left, the fee stays."""
    amount = -from_minor(refund.amount, refund.currency)
    kind = {"source": refund.id, "type": "refund", "reporting_category": "refund"}
    return _booking(f"txn_{refund.id[3:]}", amount, 0, refund.currency) | kind | _times(refund.created_at)


def refund(refund: Refund) -> dict[str, Any]:
    failed = refund.status is RefundStatus.FAILED
    return {
        "id": refund.id,
        "object": "refund",
        "amount": from_minor(refund.amount, refund.currency),
        "balance_transaction": f"txn_{refund.id[3:]}",
        "charge": charge_id(refund.transaction),
        "created": refund.created_at // SECOND,
        "currency": refund.currency.lower(),
        "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        "metadata": refund.extra.get(METADATA, {}),
        INTENT: refund.transaction,
        "reason": refund.extra.get("reason"),
        "receipt_number": None,
        "status": refund.status.value,
    } | ({"failure_reason": "declined"} if failed else {})


def dispute(checkout: Checkout, paid: Transaction, now: int) -> dict[str, Any]:
    return {
        "id": f"dp_{paid.id.removeprefix('pi_')}",
        "object": "dispute",
        "amount": from_minor(paid.amount, paid.currency),
        "charge": charge_id(paid.id),
        "created": now // SECOND,
        "currency": paid.currency.lower(),
        "evidence_details": {"due_by": (now + AVAILABLE_AFTER) // SECOND, "has_evidence": False},
        "is_charge_refundable": False,
        "livemode": checkout.live,
        "metadata": {},
        INTENT: paid.id,
        "reason": "fraudulent",
        "status": "needs_response",
    }


def account(owner: Account, name: str) -> dict[str, Any]:
    return {
        "id": owner.id,
        "object": "account",
        "business_profile": {"name": name, "url": None},
        "charges_enabled": True,
        "country": "DE",
        "default_currency": "eur",
        "details_submitted": True,
        "email": "merchant@example.com",
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": name, "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def balance(owner: Account, totals: Mapping[str, int]) -> dict[str, Any]:
    """Everything counts as still pending."""
    rows = [
        {"amount": from_minor(amount, code), "currency": code.lower(), "source_types": {"card": 0}}
        for code, amount in sorted(totals.items())
    ]
    return {"object": "balance", "available": [], "livemode": owner.live, "pending": rows}


def _latest_charge(checkout: Checkout, paid: Transaction | None, within: Expand | None) -> Any:
    whole = charge(checkout, paid, NOTHING if within is None else within)
    return whole["id"] if within is None else whole


def _booking_shown(paid: Transaction, within: Expand | None) -> Any:
    whole = booking(paid)
    return whole["id"] if within is None else whole


def _failure(checkout: Checkout) -> dict[str, Any] | None:
    """The error of the last try: a decline, or a delayed payment that failed in the end."""
    if checkout.decline is not None:
        code = checkout.decline.code
        message = "Your card was declined."
        return {"type": "card_error", "code": "card_declined", "decline_code": code, "message": message}
    if checkout.status is Status.FAILED:
        return {"type": "card_error", "code": "payment_method_provider_decline", "message": "It failed."}
    return None


def _booking(booking_id: str, amount: int, fee: int, currency: str) -> dict[str, Any]:
    code = currency.lower()
    detail = {
        "amount": fee,
        "application": None,
        "currency": code,
        "description": "fees",
        "type": "stripe_fee",
    }
    return {
        "id": booking_id,
        "object": "balance_transaction",
        "amount": amount,
        "balance_type": "payments",
        "currency": code,
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [detail] if fee else [],
        "net": amount - fee,
        "status": "pending",
    }


def _times(at: int) -> dict[str, int]:
    return {"created": at // SECOND, "available_on": (at + AVAILABLE_AFTER) // SECOND}
