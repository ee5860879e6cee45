"""What Stripe's answers say: its units of money, its objects, and a Checkout Session as a verdict."""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from paystate.adapters.provider_calls import parsed, parsed_as
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import NoAnswer, RefundAnswer, Verdict
from paystate.kit.clock import SECOND, Instant
from paystate.kit.money import EXPONENTS, MAX_AMOUNT, Money

DETAIL_LIMIT = 40
METHOD_LIMIT = 40
REFERENCE = "reference"
REFUND_KEY = "refund_key"
"""Names in Stripe's metadata."""

_NO_PLACES = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
_TWO_PLACES = "ISK UGX"
_THREE_PLACES = "BHD JOD KWD OMR TND"
_NOT_TAKEN = "HBAR IQD LYD USDC"

PLACES: dict[str, int] = {
    **{code: 2 for code, places in EXPONENTS.items() if places == 2},
    **dict.fromkeys(_NO_PLACES.split(), 0),
    **dict.fromkeys(_TWO_PLACES.split(), 2),
    **dict.fromkeys(_THREE_PLACES.split(), 3),
}
"""Decimal places in Stripe's units: not always the currency's own (ISK and UGX count hundredths, MGA counts none)."""
for _code in _NOT_TAKEN.split():
    PLACES.pop(_code, None)

REFUND_OUTCOMES: Mapping[str, Literal["PENDING", "SUCCEEDED", "FAILED"]] = {
    "pending": "PENDING",
    "requires_action": "PENDING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "canceled": "FAILED",
}
_DONE_BY_CUSTOMER = {
    "processing": Outcome.PROCESSING,
    "requires_capture": Outcome.PROCESSING,
    "requires_action": Outcome.PROCESSING,
    "requires_confirmation": Outcome.PROCESSING,
    # Succeeded, but the session does not say so yet: it will, and then it is the proof.
    "succeeded": Outcome.PROCESSING,
    "canceled": Outcome.CANCELED,
    "requires_payment_method": Outcome.FAILED,
}
"""A complete session without its money, by the state of its payment intent: it cannot be paid a second time."""
_OPEN = {
    "requires_payment_method": Outcome.PENDING,
    "requires_confirmation": Outcome.PENDING,
    "requires_action": Outcome.PENDING,
    "processing": Outcome.PROCESSING,
    "requires_capture": Outcome.PROCESSING,
    "succeeded": Outcome.PROCESSING,
    "canceled": Outcome.CANCELED,
}
"""An open session, by the state of its payment intent."""


class BalanceTransaction(msgspec.Struct):
    fee: int
    currency: str


class Charge(msgspec.Struct):
    id: str
    amount_refunded: int
    refunded: bool
    created: int
    disputed: bool = False
    balance_transaction: str | BalanceTransaction | None = None
    payment_method_details: dict[str, Any] | None = None


class PaymentIntent(msgspec.Struct):
    id: str
    status: str
    latest_charge: str | Charge | None = None
    last_payment_error: dict[str, Any] | None = None


class Session(msgspec.Struct):
    """A Checkout Session, as far as it matters; what is missing here makes it unreadable."""

    id: str
    status: str
    payment_status: str
    livemode: bool
    created: int
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    payment_intent: str | PaymentIntent | None = None
    url: str | None = None


class Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool


class Refund(msgspec.Struct):
    id: str
    status: str
    amount: int
    currency: str
    metadata: dict[str, Any] | None = None


class Owner(msgspec.Struct):
    id: str
    business_profile: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """As the merchant called it, else its id."""
        dashboard = (self.settings or {}).get("dashboard")
        names = (
            dashboard.get("display_name") if isinstance(dashboard, dict) else None,
            (self.business_profile or {}).get("name"),
        )
        return next((name for name in names if isinstance(name, str) and name), self.id)


class Balance(msgspec.Struct):
    livemode: bool


_read_page = msgspec.json.Decoder(Page).decode


def read_page(body: bytes) -> Page:
    return parsed(_read_page, body)


def read_session(body: bytes | msgspec.Raw) -> Session:
    return parsed_as(Session, body)


def stripe_units(money: Money) -> int | None:
    """Our minor units in Stripe's; None for what Stripe cannot express."""
    places = PLACES.get(money.currency)
    if places is None:
        return None
    shift = places - EXPONENTS[money.currency]
    amount, rest = _shifted(money.amount, shift)
    if rest or (places == 3 and amount % 10):
        return None
    return amount


def _shifted(amount: int, places: int) -> tuple[int, int]:
    """The amount in units so many decimal places smaller (or, below 0, larger), and what is left over."""
    factor: int = 10 ** abs(places)
    return (amount * factor, 0) if places >= 0 else divmod(amount, factor)


def our_money(amount: int, currency: str) -> Money:
    """Stripe's units in ours. Raises NoAnswer for a currency we do not know and for parts of a minor unit."""
    code = currency.upper()
    places = PLACES.get(code)
    if places is None or not 0 <= amount <= MAX_AMOUNT * 100:
        raise NoAnswer("unreadable")
    ours, rest = _shifted(amount, EXPONENTS[code] - places)
    if rest:
        raise NoAnswer("unreadable")
    return Money(ours, code)


def refund_answer(refund: Refund) -> RefundAnswer:
    key = (refund.metadata or {}).get(REFUND_KEY)
    return RefundAnswer(
        refund.id,
        REFUND_OUTCOMES.get(refund.status, "PENDING"),
        our_money(refund.amount, refund.currency),
        key if isinstance(key, str) else None,
    )


def verdict(session: Session, account: str, raw: bytes) -> Verdict:
    """A session says nothing of the account it belongs to, so `account` is the one whose key could read it."""
    outcome, detail = _outcome(session)
    digest = hashlib.sha256(raw).hexdigest()
    if outcome not in (Outcome.SUCCEEDED, Outcome.REFUNDED):
        return Verdict(
            outcome=outcome,
            reference=session.client_reference_id or "",
            account=account,
            live=session.livemode,
            detail=detail,
            raw_digest=digest,
            checkout_id=session.id,
        )
    money, charge = _money(session), _charge(session)
    return Verdict(
        outcome=outcome,
        reference=session.client_reference_id or "",
        account=account,
        live=session.livemode,
        detail=detail,
        raw_digest=digest,
        checkout_id=session.id,
        amount=money.amount,
        currency=money.currency,
        transaction_id=_transaction_id(session),
        method=None if charge is None else _method(charge),
        fee=None if charge is None else _fee(charge, money.currency),
        provider_at=None if charge is None else Instant(charge.created * SECOND),
        amount_refunded=0 if charge is None else our_money(charge.amount_refunded, money.currency).amount,
        disputed=charge is not None and charge.disputed,
    )


def _outcome(session: Session) -> tuple[Outcome, str]:
    """Their words as ours, and the word that decided."""
    match session.status, session.payment_status:
        case "complete", "paid" | "no_payment_required":
            charge = _charge(session)
            if charge is not None and charge.refunded:
                return Outcome.REFUNDED, "refunded"
            return Outcome.SUCCEEDED, session.payment_status
        case "complete", "unpaid":
            return _by_intent(session, _DONE_BY_CUSTOMER, Outcome.PROCESSING)
        case "open", "unpaid":
            return _by_intent(session, _OPEN, Outcome.PENDING)
        case "expired", "unpaid":
            return Outcome.EXPIRED, "expired"
        case (("complete" | "open" | "expired"), other):
            return Outcome.UNKNOWN, other[:DETAIL_LIMIT]
        case other, _:
            return Outcome.UNKNOWN, other[:DETAIL_LIMIT]


def _by_intent(session: Session, outcomes: Mapping[str, Outcome], without: Outcome) -> tuple[Outcome, str]:
    intent = session.payment_intent
    if not isinstance(intent, PaymentIntent):
        return without, session.status
    outcome = outcomes.get(intent.status, Outcome.UNKNOWN)
    if outcome is Outcome.PENDING and intent.last_payment_error is not None:
        return outcome, "declined"
    return outcome, intent.status[:DETAIL_LIMIT]


def _charge(session: Session) -> Charge | None:
    intent = session.payment_intent
    charge = intent.latest_charge if isinstance(intent, PaymentIntent) else None
    return charge if isinstance(charge, Charge) else None


def _money(session: Session) -> Money:
    if session.amount_total is None or session.currency is None:
        raise NoAnswer("unreadable")
    return our_money(session.amount_total, session.currency)


def _transaction_id(session: Session) -> str:
    """The payment intent; a session that cost nothing has none and stands for itself. Raises NoAnswer."""
    intent = session.payment_intent
    if intent is None and session.payment_status == "no_payment_required":
        return session.id
    found = intent.id if isinstance(intent, PaymentIntent) else intent
    if not found:
        raise NoAnswer("unreadable")
    return found


def _method(charge: Charge) -> str | None:
    kind = (charge.payment_method_details or {}).get("type")
    return kind[:METHOD_LIMIT] if isinstance(kind, str) else None


def _fee(charge: Charge, currency: str) -> int | None:
    """Known once the money is booked; a fee in the currency of the payout is not one of this payment."""
    booked = charge.balance_transaction
    if not isinstance(booked, BalanceTransaction) or booked.currency.upper() != currency:
        return None
    return our_money(booked.fee, booked.currency).amount
