"""A payment on the wire: what a create and a change may say, and how a payment is shown."""

from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, cast

import msgspec
from babel.numbers import format_decimal, get_currency_symbol
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from paystate.domain.merchants import Merchant
from paystate.domain.payments import Payment
from paystate.domain.payments.states import valid_transitions
from paystate.entrypoints.api.fields import (
    Amount,
    Currency,
    CustomerId,
    Description,
    Email,
    In,
    Metadata,
    Moment,
    Name,
    Out,
    Phone,
    Reference,
    ReturnUrl,
    refused,
)
from paystate.flows.create_payment import NewPayment, Payer
from paystate.kit.clock import SECOND, rfc3339, rfc3339_or_none
from paystate.kit.money import Money, exponent, major_units
from paystate.kit.text import parse_public_url

MAX_PROVIDERS = 20
LATE_POLICIES = Literal["ACCEPT", "REVIEW", "REFUND"]
STATES = Literal[
    "DRAFT", "OPEN", "PENDING_VERIFICATION", "PAID", "FAILED", "EXPIRED", "CANCELED", "REQUIRES_MANUAL_REVIEW"
]
CRYPTO = frozenset({"HBAR", "USDC"})
"""Written with all their decimals; the tables of display know only what central banks issue."""


def _providers(value: list[str]) -> list[str]:
    if len(set(value)) != len(value):
        raise refused("invalid_value", "Each provider is named once.")
    return value


def _seconds(value: int) -> int:
    if not 1 <= value <= 366 * 86_400:
        raise refused("invalid_expiry", "Seconds are expected, from 1 to 366 days.")
    return value


Providers = Annotated[
    list[Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]+$")]],
    Field(min_length=1, max_length=MAX_PROVIDERS),
    AfterValidator(_providers),
]
ExpiresIn = Annotated[
    int, AfterValidator(_seconds), Field(json_schema_extra={"minimum": 1, "maximum": 366 * 86_400})
]


class PayerIn(In):
    """Who pays, by any of the merchant's names for them."""

    external_id: Reference | None = None
    phone: Phone | None = None
    email: Email | None = None
    name: Name | None = None

    def payer(self) -> Payer:
        return Payer(self.external_id, self.phone, self.email, self.name)


class PaymentIn(In):
    """A payment to be created."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "amount": 14900,
                    "currency": "ZAR",
                    "description": "Fibre 50, November",
                    "customer": {"externalId": "subscriber-77"},
                    "bundleId": "fibre-50",
                    "planName": "Fibre 50",
                }
            ]
        }
    )

    amount: Amount
    currency: Currency
    description: Description = ""
    reference: Reference | None = None
    customer: PayerIn | None = None
    customer_id: CustomerId | None = None
    bundle_id: Reference | None = None
    plan_name: Name | None = None
    providers: Providers | None = None
    draft: bool = False
    expires_in: ExpiresIn | None = None
    expires_at: Moment | None = None
    return_url: ReturnUrl | None = None
    cancel_url: ReturnUrl | None = None
    late_policy: LATE_POLICIES | None = None
    metadata: Metadata = Field(default_factory=dict)
    on_conflict: Literal["REJECT", "RETURN_EXISTING", "CANCEL_EXISTING"] = "REJECT"

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.customer is not None and self.customer_id is not None:
            raise refused("invalid_combination", "Give customer or customerId, not both.")
        if self.expires_in is not None and self.expires_at is not None:
            raise refused("invalid_expiry", "Give expiresAt or expiresIn, not both.")
        return self

    def new_payment(self) -> NewPayment:
        """The same in the words of the flow."""
        return NewPayment(
            money=Money(self.amount, self.currency),
            description=self.description,
            reference=self.reference,
            customer=None if self.customer is None else self.customer.payer(),
            customer_id=self.customer_id,
            bundle_id=self.bundle_id,
            plan_name=self.plan_name,
            providers=None if self.providers is None else tuple(self.providers),
            draft=self.draft,
            expires_in=None if self.expires_in is None else self.expires_in * SECOND,
            expires_at=self.expires_at,
            return_url=self.return_url,
            cancel_url=self.cancel_url,
            late_policy=None if self.late_policy is None else self.late_policy.lower(),
            metadata=self.metadata,
            on_conflict=self.on_conflict,
        )


def refuse_foreign_urls(merchant: Merchant, production: bool, **urls: str | None) -> None:
    """Raise Refused `url_not_allowed` for an origin that the merchant did not list; http only outside production."""
    for pointer, url in urls.items():
        if url is not None:
            parse_public_url(
                url,
                pointer=f"/{pointer}",
                allowed_origins=merchant.return_origins,
                allow_http_loopback=not production,
            )


class FlagsOut(Out):
    """Independent facts about a payment's money."""

    late: bool
    partial: bool
    over: bool
    duplicate: bool
    resolved_by_hand: bool
    disputed: bool


class TransactionOut(Out):
    """The provider's transaction that paid; amount in minor units."""

    transaction_id: str | None
    payment_method: str | None
    timestamp: str | None
    amount: int | None
    currency: str | None


class PaymentOut(Out):
    """A payment as merchants see it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "pay_06d3p3zv4kqg8c5x2m7w9t1nre",
                    "shortCode": "4b9m2x7k1q8z5w3t6r0y2c8v4h",
                    "payUrl": "https://pay.example.com/pay/4b9m2x7k1q8z5w3t6r0y2c8v4h",
                    "state": "OPEN",
                    "amount": 14900,
                    "currency": "ZAR",
                    "amountDisplay": "ZAR 149.00",
                    "version": 1,
                    "createdAt": "2026-11-20T10:00:00Z",
                }
            ]
        }
    )

    id: str
    short_code: str
    pay_url: str
    state: STATES
    valid_transitions: list[str]
    amount: int
    currency: str
    amount_display: str
    description: str
    reference: str | None
    customer_id: str | None
    bundle_id: str | None
    plan_name: str | None
    providers: list[str] | None
    expires_at: str | None
    stale_at: str | None
    opened_at: str | None
    cancel_requested_at: str | None
    review_reason: str | None
    late_policy: LATE_POLICIES
    flags: FlagsOut
    payment_method: str | None
    transaction_info: TransactionOut | None
    return_url: str | None
    cancel_url: str | None
    metadata: dict[str, str]
    version: int
    created_at: str
    updated_at: str
    warnings: list[dict[str, Any]] | None = None
    """Only in the answer to a create."""

    next_check_at: str | None = None
    """Only in the answer to a verify: when the provider is asked next."""


def payment_out(public_url: str, payment: Payment, **more: Any) -> PaymentOut:
    """The payment as it is shown; `more` are the fields that only some answers have."""
    return PaymentOut.model_construct(
        id=payment.id,
        short_code=payment.short_code,
        pay_url=f"{public_url.rstrip('/')}/pay/{payment.short_code}",
        state=payment.state.value,
        valid_transitions=[to.value for to in valid_transitions(payment.state)],
        amount=payment.amount,
        currency=payment.currency,
        amount_display=display(payment.amount, payment.currency),
        description=payment.description,
        reference=payment.reference,
        customer_id=payment.customer_id,
        bundle_id=payment.bundle_id,
        plan_name=payment.plan_name,
        providers=None if payment.providers is None else msgspec.json.decode(payment.providers),
        expires_at=rfc3339_or_none(payment.expires_at),
        stale_at=rfc3339_or_none(payment.stale_at),
        opened_at=rfc3339_or_none(payment.opened_at),
        cancel_requested_at=rfc3339_or_none(payment.cancel_requested_at),
        review_reason=payment.review_reason,
        late_policy=cast("LATE_POLICIES", payment.late_policy.upper()),
        flags=_flags(payment),
        payment_method=payment.payment_method,
        transaction_info=_transaction(payment),
        return_url=payment.return_url,
        cancel_url=payment.cancel_url,
        metadata=msgspec.json.decode(payment.metadata),
        version=payment.version,
        created_at=rfc3339(payment.created_at),
        updated_at=rfc3339(payment.updated_at),
        **more,
    )


def _flags(payment: Payment) -> FlagsOut:
    return FlagsOut.model_construct(
        late=payment.late,
        partial=payment.partial,
        over=payment.over,
        duplicate=payment.duplicate,
        resolved_by_hand=payment.resolved_by_hand,
        disputed=payment.disputed,
    )


def _transaction(payment: Payment) -> TransactionOut | None:
    if payment.transaction_id is None:
        return None
    return TransactionOut.model_construct(
        transaction_id=payment.transaction_id,
        payment_method=payment.payment_method,
        timestamp=rfc3339_or_none(payment.transaction_at),
        amount=payment.transaction_amount,
        currency=payment.transaction_currency,
    )


@lru_cache(maxsize=4_096)
def display(amount: int, currency: str) -> str:
    """The amount for people, with the currency's own decimals: ``€14.90``, ``¥1,490``."""
    major = major_units(amount, currency)
    if currency in CRYPTO:
        return f"{major} {currency}"
    places = exponent(currency)
    number = format_decimal(
        Decimal(major), format="#,##0." + "0" * places if places else "#,##0", locale="en"
    )
    symbol = get_currency_symbol(currency, locale="en")
    return f"{symbol}\u00a0{number}" if symbol[-1].isalpha() else f"{symbol}{number}"
