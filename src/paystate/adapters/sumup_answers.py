"""What SumUp's answers mean: checkouts and transactions as verdicts, events as refunds, messages as names, errors as codes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from paystate.adapters.provider_calls import fee_units, minor_units, text_or_none, time_or_none
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import Account, Named, NoAnswer, RefundAnswer, Verdict
from paystate.kit.clock import from_datetime
from paystate.kit.money import Money
from paystate.machinery.http import Answer

HINT_EVENT = "CHECKOUT_STATUS_CHANGED"
"""The unsigned message; its `id` is the checkout's."""

TRANSACTIONS_READ = 10
WORD_LIMIT = 40
CODE_LIMIT = 80

TAKEN = frozenset({"SUCCESSFUL", "REFUNDED"})
"""Words of transactions that took money, whatever became of it."""

TRANSACTION_OUTCOMES = {
    "SUCCESSFUL": Outcome.SUCCEEDED,
    "REFUNDED": Outcome.SUCCEEDED,  # in full or in part: the events say how much
    "PENDING": Outcome.PROCESSING,
    "CANCELLED": Outcome.CANCELED,
}
DISPUTED = "CHARGEBACK"
PLAIN_WORDS = frozenset({"SUCCESSFUL", "PAID_OUT", "REFUNDED", "PENDING", "CANCELLED", DISPUTED})
"""Words of `simple_status` that leave `status` its meaning; with any other nobody knows where the money is."""

REFUND_OUTCOMES: Mapping[str, Literal["PENDING", "SUCCEEDED", "FAILED"]] = {
    "SUCCESSFUL": "SUCCEEDED",
    "REFUNDED": "SUCCEEDED",
    "PAID_OUT": "SUCCEEDED",
    "RECONCILED": "SUCCEEDED",
    "SCHEDULED": "SUCCEEDED",  # it is the deduction from the merchant's next payout that is scheduled
    "FAILED": "FAILED",
}


class Event(msgspec.Struct):
    id: int | str | None = None
    type: str | None = None
    event_type: str | None = None
    status: str | None = None
    amount: Decimal | None = None

    @property
    def kind(self) -> str | None:
        return self.type or self.event_type


class Transaction(msgspec.Struct):
    id: str
    status: str = ""
    simple_status: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    timestamp: str | None = None
    merchant_code: str | None = None
    payment_type: str | None = None
    simple_payment_type: str | None = None
    fee_amount: Decimal | None = None
    events: list[Event] | None = None
    transaction_events: list[Event] | None = None

    def of_kind(self, kind: str) -> list[Event]:
        """Events of a kind; they are told in two shapes, of which one may be left out."""
        found = [event for event in self.events or () if event.kind == kind]
        return found or [event for event in self.transaction_events or () if event.kind == kind]


class Checkout(msgspec.Struct):
    id: str
    checkout_reference: str
    status: str
    amount: Decimal | None = None
    currency: str | None = None
    merchant_code: str | None = None
    valid_until: str | None = None
    hosted_checkout_url: str | None = None
    transaction_id: str | None = None
    transactions: list[Transaction] | None = None


class Asked(msgspec.Struct):
    """What a stored start asked for."""

    checkout_reference: str
    amount: Decimal
    currency: str


class Merchant(msgspec.Struct):
    merchant_code: str
    alias: str | None = None
    sandbox: bool = False


read_checkout = msgspec.json.Decoder(Checkout).decode
read_checkouts = msgspec.json.Decoder(list[Checkout]).decode
read_transaction = msgspec.json.Decoder(Transaction).decode
read_asked = msgspec.json.Decoder(Asked).decode
read_merchant = msgspec.json.Decoder(Merchant).decode


def unpaid_verdict(account: Account, checkout: Checkout, answer: Answer) -> Verdict:
    """All but the money. SumUp's checkouts do not say whether they are a sandbox's: that is as the key's owner said."""
    outcome, detail = _standing(checkout, answer)
    return Verdict(
        outcome=outcome,
        reference=checkout.checkout_reference,
        account=checkout.merchant_code or account.account,
        live=account.live,
        detail=detail[:WORD_LIMIT],
        raw_digest=hashlib.sha256(answer.body).hexdigest(),
        checkout_id=checkout.id,
    )


def _standing(checkout: Checkout, answer: Answer) -> tuple[Outcome, str]:
    """The checkout's word beside those of its tries: money that is on its way or there keeps it from being over."""
    words = {transaction.status for transaction in checkout.transactions or ()}
    match checkout.status:
        case "PENDING" | "FAILED" | "EXPIRED" if "PENDING" in words:
            return Outcome.PROCESSING, checkout.status
        case "PENDING" | "FAILED" if words & TAKEN:
            return Outcome.PROCESSING, checkout.status
        case "EXPIRED" if words & TAKEN:
            return Outcome.UNKNOWN, "EXPIRED with money"
        case "PENDING":
            return Outcome.PENDING, checkout.status
        case "FAILED":
            return (Outcome.FAILED, "FAILED") if _is_over(checkout, answer) else (Outcome.PENDING, "declined")
        case "EXPIRED":
            return Outcome.EXPIRED, checkout.status
        case "PAID":
            return Outcome.SUCCEEDED, checkout.status
    return Outcome.UNKNOWN, checkout.status


def _is_over(checkout: Checkout, answer: Answer) -> bool:
    """Past `valid_until`, by SumUp's own clock; without either it can still be paid."""
    until = time_or_none(checkout.valid_until)
    try:
        answered = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return False
    return until is not None and answered.tzinfo is not None and from_datetime(answered) > until


def taken(checkout: Checkout) -> Sequence[Transaction]:
    """The transactions that took money, the one the checkout names first."""
    tries = {transaction.id: transaction for transaction in checkout.transactions or ()}
    named = checkout.transaction_id
    first = [tries.get(named) or Transaction(named)] if named else []
    found = first + [t for t in tries.values() if t.status in TAKEN and t.id != named]
    if not 1 <= len(found) <= TRANSACTIONS_READ:
        raise NoAnswer("unreadable")
    return found


def paid_verdict(base: Verdict, transaction: Transaction) -> Verdict:
    """The same with the money of one transaction. Raises NoAnswer when it does not say how much."""
    amount, currency = _minor(transaction.amount, transaction.currency), transaction.currency
    if not transaction.id or amount is None:
        raise NoAnswer("unreadable")
    outcome, detail = _money_standing(transaction)
    refunded = _refunded(transaction, amount)
    if outcome is Outcome.SUCCEEDED and refunded >= amount > 0:
        outcome = Outcome.REFUNDED
    method = transaction.simple_payment_type or transaction.payment_type
    return replace(
        base,
        outcome=outcome,
        detail=detail[:WORD_LIMIT],
        account=transaction.merchant_code or base.account,
        amount=amount,
        currency=currency,
        transaction_id=transaction.id,
        method=None if method is None else method.lower()[:WORD_LIMIT],
        fee=_fee(transaction),
        provider_at=time_or_none(transaction.timestamp),
        amount_refunded=refunded,
        disputed=DISPUTED in (transaction.status, transaction.simple_status)
        or any(event.status != "FAILED" for event in transaction.of_kind("CHARGE_BACK")),
    )


def _money_standing(transaction: Transaction) -> tuple[Outcome, str]:
    """A failed try of a paid checkout, or a word that leaves open where the money is, is UNKNOWN."""
    word = transaction.simple_status
    if word is not None and word not in PLAIN_WORDS:
        return Outcome.UNKNOWN, word
    known = TRANSACTION_OUTCOMES.get(transaction.status, Outcome.UNKNOWN)
    return known, transaction.status if known is Outcome.UNKNOWN else word or transaction.status


def _refunded(transaction: Transaction, amount: int) -> int:
    """The sum of the refund events. REFUNDED counts those under way too; without any it means all of it."""
    said_so = transaction.status == "REFUNDED"
    counted = ("SUCCEEDED", "PENDING") if said_so else ("SUCCEEDED",)
    made = [r.money for r in refund_answers(transaction) if r.outcome in counted]
    total = sum(money.amount for money in made if money is not None)
    return amount if total == 0 and said_so else total


def refund_answers(transaction: Transaction) -> Sequence[RefundAnswer]:
    """SumUp gives refunds no id of their own: ours is the transaction's and the event's."""
    answers = []
    for number, event in enumerate(transaction.of_kind("REFUND")):
        amount = _minor(event.amount, transaction.currency)
        answers.append(
            RefundAnswer(
                f"{transaction.id}/{number if event.id is None else event.id}",
                REFUND_OUTCOMES.get(event.status or "", "PENDING"),
                None if amount is None else Money(abs(amount), transaction.currency or ""),
            )
        )
    return answers


def _minor(value: Decimal | None, currency: str | None) -> int | None:
    return None if value is None or currency is None else minor_units(value, currency)


def _fee(transaction: Transaction) -> int | None:
    """A fee that is no number is left out: it is no part of the proof."""
    if transaction.fee_amount is None or transaction.currency is None:
        return None
    try:
        return fee_units(transaction.fee_amount, transaction.currency)
    except NoAnswer:
        return None


def named_in(message: Mapping[str, Any]) -> Named:
    """What a message of any generation is about: legacy has a payload, the signed events an object."""
    payload, about = message.get("payload"), message.get("object")
    if isinstance(payload, dict):
        return Named(text_or_none(payload.get("reference")), text_or_none(payload.get("checkout_id")))
    if isinstance(about, dict):
        return Named(None, text_or_none(about.get("id")) if about.get("type") == "checkout" else None)
    return Named(None, text_or_none(message.get("id")) if message.get("event_type") == HINT_EVENT else None)


def error_code(body: bytes) -> str:
    """The code in any of SumUp's error shapes: an object, a list of them, `errors` in a problem, or its title."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "refused"
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return "refused"
    errors = first.get("errors")
    inner = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    names = ("error_code", "error_message", "error", "title")
    codes = (text_or_none(inner.get("code")), *(text_or_none(first.get(name)) for name in names))
    code = next((code for code in codes if code), "refused")
    param = text_or_none(first.get("param"))
    return (f"{code} {param}" if param else code)[:CODE_LIMIT]
