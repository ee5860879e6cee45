"""What the hosted page says: a payment's situation in words, colours and permitted next steps, decided on plain values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from types import MappingProxyType

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import NumberPattern, parse_pattern

from paystate.domain.payments import Payment, State, schedule
from paystate.domain.payments.states import FINAL
from paystate.kit.clock import SECOND, Instant, as_datetime
from paystate.kit.money import Money, exponent
from paystate.kit.text import origin_of

LANGUAGE = "en"
PAYABLE = frozenset({State.OPEN, State.PENDING_VERIFICATION, State.FAILED})
REVIEW_POLL_SECONDS = 30
POLL_SECONDS = 3
TITLES: Mapping[str, str] = MappingProxyType({"sumup": "SumUp"})
"""Providers whose own spelling is not their name with a capital."""

NETWORKS = frozenset({"hedera"})
"""Where nobody stands between: the customer pays in the currency, on the network."""

_LETTER_BEFORE_DIGIT = re.compile(r"([^\W\d_])(\d)")


@dataclass(frozen=True, slots=True)
class Words:
    """How a situation looks and reads: a tone (colour), an icon, a label, and sentences that say what to do."""

    tone: str
    icon: str
    label: str
    text: str


CANCELING, CLOSING = "CANCELING", "CLOSING"

SITUATIONS: Mapping[str, Words] = MappingProxyType(
    {
        State.OPEN: Words("blue", "clock", "Awaiting payment", "Choose how to pay."),
        State.PENDING_VERIFICATION: Words(
            "amber",
            "spinner",
            "Processing your payment",
            "We are confirming your payment with the payment provider. Please do not pay again. "
            "You may close this page: we keep checking, and nothing is lost.",
        ),
        State.PAID: Words("green", "tick", "Payment successful", "Thank you. Your payment has arrived."),
        State.FAILED: Words(
            "rose",
            "cross",
            "Payment did not go through",
            "This attempt has failed. You can try again, or pay in another way.",
        ),
        State.EXPIRED: Words(
            "orange",
            "hourglass",
            "Payment link expired",
            "This link can no longer be used. Already paid? We keep asking the payment provider for some days, "
            "and money that arrives is not lost.",
        ),
        State.CANCELED: Words(
            "red", "dash", "Payment canceled", "This payment was canceled and can no longer be paid."
        ),
        State.REVIEW: Words(
            "purple",
            "shield",
            "A person is looking at your payment",
            "Please do not pay again. Something about this payment needs a closer look; we will write to you.",
        ),
        CANCELING: Words(
            "amber",
            "spinner",
            "Canceling your payment",
            "We are ending the checkout at the payment provider. Please do not pay any more.",
        ),
        CLOSING: Words(
            "amber",
            "spinner",
            "The time for this payment is over",
            "We are asking the payment provider whether you have paid. Please do not pay any more.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows of a payment, and what it lets the customer do."""

    words: Words
    state: str
    notes: tuple[str, ...]
    can_pay: bool
    can_cancel: bool
    is_final: bool
    poll_seconds: int
    seconds_left: int | None


def view_of(payment: Payment, now: Instant) -> View:
    """The view of a payment at this time. A DRAFT has none: the caller answers as for an unknown link."""
    situation = _situation(payment, now)
    can_pay = situation in (State.OPEN, State.FAILED)
    deadline = payment.own_deadline
    return View(
        words=SITUATIONS[situation],
        state=payment.state.value,
        notes=tuple(_notes(payment)),
        can_pay=can_pay,
        can_cancel=situation in PAYABLE,
        is_final=payment.state in FINAL,
        poll_seconds=REVIEW_POLL_SECONDS if payment.state is State.REVIEW else POLL_SECONDS,
        seconds_left=max(0, (deadline - now) // SECOND) if deadline is not None and can_pay else None,
    )


def _situation(payment: Payment, now: Instant) -> str:
    if payment.state in PAYABLE and payment.cancel_requested_at is not None:
        return CANCELING
    if payment.state in (State.OPEN, State.FAILED) and not schedule.within_own_time(payment, now):
        return CLOSING
    return payment.state


def _notes(payment: Payment) -> list[str]:
    """Independent facts about the money, each a sentence (colour and label never change because of them)."""
    notes = []
    if payment.partial:
        notes.append("Only part of the amount has arrived so far.")
    if payment.over:
        notes.append("More than the amount has arrived. We will contact you about the rest.")
    if payment.duplicate:
        notes.append("This looks like a second payment for the same thing. We will contact you about it.")
    if payment.disputed:
        notes.append("This payment is disputed.")
    return notes


def provider_title(name: str) -> str:
    """A provider's name as customers know it."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def way_to_pay(name: str, currency: str) -> str:
    """What a button promises: ``Stripe``, or ``USDC on Hedera``."""
    title = provider_title(name)
    return f"{currency} on {title}" if name in NETWORKS else title


def amount_text(money: Money) -> str:
    """``Money(123450, "ZAR")`` → ``ZAR 1,234.50``: with the currency's decimals of our table, not CLDR's."""
    shown = _pattern(exponent(money.currency)).apply(
        Decimal(money.major), _locale(), currency=money.currency, currency_digits=False
    )
    return _LETTER_BEFORE_DIGIT.sub("\\1\u00a0\\2", shown)


@cache
def _locale() -> Locale:
    return Locale.parse(LANGUAGE)


@cache
def _pattern(places: int) -> NumberPattern:
    pattern = parse_pattern(_locale().currency_formats["standard"].pattern)
    pattern.frac_prec = (places, places)
    return pattern


def time_text(at: Instant) -> str:
    """``21 September 2026 at 14:13 UTC``; the page's script may put it into the visitor's own zone."""
    return format_datetime(as_datetime(at), "d MMMM y 'at' HH:mm 'UTC'", locale=_locale())


def web_link(url: str | None) -> str | None:
    """The address if a browser may be sent there (http or https, no user name), else None."""
    if url is None:
        return None
    try:
        origin_of(url.partition("#")[0])
    except ValueError:
        return None
    return url
