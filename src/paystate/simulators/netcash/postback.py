"""What Netcash says of one RequestTrace, alike in its postbacks and in the answer of the Check call."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from paystate.kit.money import major_units
from paystate.simulators.till import Checkout, Decline, Status, Transaction

CURRENCY = "ZAR"
CARD, BANK_EFT = "1", "2"
PENDING, CANCELLED, FAILED = "Transaction pending", "Cancelled by customer", "Payment failed"
PAYER_ADDRESS = "197.80.1.2"
LATER_TRY = 0x8000
"""Traces of payments after the first are numbered from here, those of refused tries from 1."""

_TRACE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{8}([0-9a-f]{4})\Z")
_UNPAID_REASONS = {
    Status.PROCESSING: PENDING,
    Status.CLOSED: CANCELLED,
    Status.FAILED: FAILED,
}


@dataclass(frozen=True, slots=True)
class Saying:
    """One try to pay: its trace, whether it was accepted, and of what."""

    trace: str
    accepted: bool
    reason: str
    reference: str
    amount: int
    method: str = CARD


def first_trace(guid: str) -> str:
    """The id of a checkout and the trace of its first try: a GUID whose last four digits are free for counting."""
    return guid[:-4] + "0000"


def trace_number(checkout_id: str, number: int) -> str:
    """The trace of a further try at the same form."""
    return f"{checkout_id[:-4]}{number:04x}"


def checkout_of(trace: str) -> str | None:
    """The id of the checkout that a trace belongs to, if it has the shape of one."""
    return first_trace(trace) if _TRACE.match(trace) else None


def newest(checkout: Checkout) -> Saying | None:
    """What is told of a checkout now; None while nobody has tried."""
    if checkout.transactions:
        return _paid(checkout, checkout.transactions[-1])
    if checkout.status is Status.OPEN and checkout.declines:
        return _declined(checkout, len(checkout.declines), checkout.declines[-1])
    return _unpaid(checkout)


def about(checkout: Checkout, trace: str) -> Saying | None:
    """What is known of this very trace."""
    for paid in checkout.transactions:
        if paid.id == trace:
            return _paid(checkout, paid)
    for number, decline in enumerate(checkout.declines, 1):
        if trace_number(checkout.id, number) == trace:
            return _declined(checkout, number, decline)
    return _unpaid(checkout) if trace == checkout.id and not checkout.transactions else None


def fields(checkout: Checkout, said: Saying) -> dict[str, str]:
    """The form of a postback. Another account than the owner's is a lie on order: the money came over another form."""
    extra2 = checkout.extra.get("m5", "") if checkout.account == checkout.owner else checkout.account
    return {
        "TransactionAccepted": "true" if said.accepted else "false",
        "CardHolderIpAddr": PAYER_ADDRESS,
        "RequestTrace": said.trace,
        "Reference": said.reference,
        "Extra1": checkout.extra.get("m4", ""),
        "Extra2": extra2,
        "Extra3": checkout.extra.get("m6", ""),
        "Amount": major_units(said.amount, CURRENCY),
        "Method": said.method,
        "Reason": said.reason,
    }


def check_answer(checkout: Checkout, said: Saying) -> dict[str, Any]:
    """The same as JSON; the amount is a number with two decimals."""
    text = fields(checkout, said)
    amount = msgspec.Raw(text["Amount"].encode())
    return {**text, "TransactionAccepted": said.accepted, "Amount": amount}


def _paid(checkout: Checkout, paid: Transaction) -> Saying:
    method = BANK_EFT if checkout.was_processing else CARD
    return Saying(
        paid.id, accepted=True, reason="", reference=paid.reference, amount=paid.amount, method=method
    )


def _declined(checkout: Checkout, number: int, decline: Decline) -> Saying:
    reason = decline.code.replace("_", " ").capitalize()
    trace = trace_number(checkout.id, number)
    return Saying(trace, accepted=False, reason=reason, reference=checkout.reference, amount=checkout.amount)


def _unpaid(checkout: Checkout) -> Saying | None:
    reason = _UNPAID_REASONS.get(checkout.status)
    if reason is None:
        return None
    method = BANK_EFT if checkout.was_processing else CARD
    return Saying(
        checkout.id,
        accepted=False,
        reason=reason,
        reference=checkout.reference,
        amount=checkout.amount,
        method=method,
    )
