"""What Razorpay's answers say: its currencies, a payment link with its payments as a verdict, refunds, refusals."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec

from paystate.adapters.provider_calls import parsed_as, text_or_none
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import Account, NoAnswer, RefundAnswer, Verdict
from paystate.kit.clock import SECOND, Instant
from paystate.kit.money import EXPONENTS, MAX_AMOUNT, Money, exponent

WORD_LIMIT, TEXT_LIMIT = 40, 80
LATEST_SECONDS = 2**36
REFUND_KEY = "refund_key"
"""Name in the notes of a refund."""

_TAKEN = (
    "AED ALL AMD AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BZD CAD CHF CLP CNY COP CRC CUP CVE "
    "CZK DJF DKK DOP DZD EGP ETB EUR FJD GBP GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD ISK JMD JOD JPY "
    "KES KGS KHR KMF KRW KWD KYD KZT LAK LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD OMR PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SCR SEK SGD SOS SVC SZL THB TND TRY TTD TWD TZS "
    "UAH UGX USD UYU UZS VND VUV XAF XCD XOF XPF YER ZAR ZMW"
)
CURRENCIES = frozenset(_TAKEN.split())
"""Those whose decimals Razorpay publishes and we know; they are the same, so its units are our minor units."""

NEVER_PAID = {"created": Outcome.PENDING, "expired": Outcome.EXPIRED, "cancelled": Outcome.CANCELED}
"""A link without payments; `partially_paid` waits for the rest, and every word not named here is UNKNOWN."""

PAYMENTS = {
    "authorized": Outcome.PROCESSING,
    "captured": Outcome.SUCCEEDED,
    "refunded": Outcome.REFUNDED,
}
"""A payment that its link lists; `created` and `failed` contradict that, and are UNKNOWN like every other word."""

REFUNDS: Mapping[str, Literal["SUCCEEDED", "FAILED"]] = {"processed": "SUCCEEDED", "failed": "FAILED"}
MONEY = frozenset({Outcome.SUCCEEDED, Outcome.REFUNDED})
RETRIED = frozenset({"GATEWAY_ERROR", "SERVER_ERROR"})

Units = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]


class LinkPayment(msgspec.Struct):
    """A payment as its link lists it, once it is captured."""

    payment_id: str
    status: str = ""


class Link(msgspec.Struct):
    """A payment link, as far as it matters; what is missing here makes it unreadable."""

    id: str
    status: str
    amount: Units
    amount_paid: Units
    currency: str
    reference_id: str | None = None
    short_url: str = ""
    payments: list[LinkPayment] | None = None


class Links(msgspec.Struct):
    payment_links: list[Link]


class Payment(msgspec.Struct):
    id: str
    status: str
    amount: Units
    currency: str
    created_at: int
    fee: Units | None = None
    method: str | None = None
    amount_refunded: Units | None = None


class Refund(msgspec.Struct):
    id: str
    status: str
    amount: Units
    currency: str
    payment_id: str
    created_at: int
    notes: Any = None


class Rows(msgspec.Struct):
    """Every list but that of payment links."""

    items: list[msgspec.Raw]


class Reason(msgspec.Struct):
    code: str
    description: str = ""

    @property
    def words(self) -> str:
        return (self.description or self.code)[:TEXT_LIMIT]


class _Refusal(msgspec.Struct):
    error: Reason


def refusal(body: bytes) -> Reason:
    """Why a call was refused for good. Raises NoAnswer for what is none of its refusals, or passes."""
    reason = parsed_as(_Refusal, body).error
    if reason.code in RETRIED:
        raise NoAnswer(reason.code.lower(), server_error=True)
    return reason


def listed_payments(link: Link) -> list[str]:
    """Ids of the payments that say how the link stands; none where the link's own word decides."""
    known = link.status == "paid" or link.status in NEVER_PAID
    found = [row.payment_id for row in link.payments or [] if row.status != "failed"] if known else []
    if link.status == "paid" and not found:
        raise NoAnswer("unreadable")
    return found


def link_verdict(account: Account, link: Link, raw: bytes) -> Verdict:
    """A link by its own word; it names neither account nor mode: the key that may read it decides both."""
    partly = Outcome.PROCESSING if link.status == "partially_paid" else Outcome.UNKNOWN
    declined = link.status == "created" and any(row.status == "failed" for row in link.payments or [])
    return Verdict(
        outcome=NEVER_PAID.get(link.status, partly),
        reference=link.reference_id or "",
        account=account.account,
        live=account.live,
        detail="declined" if declined else link.status[:WORD_LIMIT],
        raw_digest=hashlib.sha256(raw).hexdigest(),
        checkout_id=link.id,
    )


def paid_verdict(verdict: Verdict, link: Link, payments: Sequence[Payment]) -> Verdict:
    """The link by the payments it lists, the oldest with money first and any other with money beside it."""
    inner = sorted(payments, key=lambda payment: (payment.created_at, payment.id))
    found = [_payment_verdict(verdict, link, payment, alone=len(inner) == 1) for payment in inner]
    money = [one for one in found if one.outcome in MONEY]
    return replace(money[0], further=tuple(money[1:])) if money else found[0]


def _payment_verdict(verdict: Verdict, link: Link, payment: Payment, *, alone: bool) -> Verdict:
    _known_currency(link.currency)
    _known_currency(payment.currency)
    back = payment.amount_refunded or 0
    outcome = PAYMENTS.get(payment.status, Outcome.UNKNOWN)
    if outcome is Outcome.SUCCEEDED and 0 < payment.amount <= back:
        outcome = Outcome.REFUNDED
    verdict = replace(verdict, outcome=outcome, detail=payment.status[:WORD_LIMIT])
    if outcome not in MONEY:
        return verdict
    amount = _collected(link, payment) if alone else payment.amount
    return replace(
        verdict,
        amount=amount,
        currency=payment.currency,
        transaction_id=payment.id,
        method=text_or_none(payment.method),
        fee=payment.fee,
        provider_at=_instant(payment.created_at),
        amount_refunded=amount if outcome is Outcome.REFUNDED else back,
    )


def _collected(link: Link, payment: Payment) -> int:
    """What was paid for the order: without the fee where exactly the fee came on top, else all that was charged."""
    on_top = payment.fee is not None and payment.amount == link.amount_paid + payment.fee
    return link.amount_paid if on_top and payment.currency == link.currency else payment.amount


def refund_answer(refund: Refund) -> RefundAnswer:
    """`notes` may be an object, an empty list or null."""
    _known_currency(refund.currency)
    key = refund.notes.get(REFUND_KEY) if isinstance(refund.notes, dict) else None
    money = Money(refund.amount, refund.currency)
    return RefundAnswer(refund.id, REFUNDS.get(refund.status, "PENDING"), money, text_or_none(key))


def expressible(money: Money) -> bool:
    """Of three decimals the last one must be 0."""
    return exponent(money.currency) < 3 or money.amount % 10 == 0


def _known_currency(code: str) -> None:
    if code not in EXPONENTS:
        raise NoAnswer("unreadable")


def _instant(seconds: int) -> Instant | None:
    """A time that was never set is 0."""
    return Instant(seconds * SECOND) if 0 < seconds < LATEST_SECONDS else None
