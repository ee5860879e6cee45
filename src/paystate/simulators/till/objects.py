"""What a till keeps: accounts, checkouts, transactions, refunds, events; and how the control API shows them."""

from enum import StrEnum
from typing import Any

import msgspec

from paystate.kit.clock import rfc3339

CARD = "card"


class Status(StrEnum):
    """States of a checkout."""

    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    CLOSED = "closed"
    REFUNDED = "refunded"


ENDED_UNPAID = frozenset({Status.FAILED, Status.EXPIRED, Status.CLOSED})


class RefundStatus(StrEnum):
    """States of a refund; what is pending already counts against the rest."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Kept(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Frozen: a change is a new object, so the version before it can still be shown (the `stale` fault)."""


class Account(Kept, frozen=True, kw_only=True):
    """A merchant; several keys may be valid while one is being rotated.

    `webhook_url` is for providers with one address per account; `extra` for what only one provider has.
    """

    id: str
    live: bool
    webhook_secret: str
    keys: tuple[str, ...] = ()
    webhook_url: str | None = None
    extra: dict[str, str] = {}

    def row(self, brand: str) -> dict[str, Any]:
        return {
            "account": self.id,
            "live": self.live,
            "name": f"{brand} ({self.id})",
            "webhookUrl": self.webhook_url,
        }


class Decline(Kept, frozen=True, kw_only=True):
    """A refused try that may be repeated on the same checkout."""

    id: str
    code: str
    at: int


class Transaction(Kept, frozen=True, kw_only=True):
    """Money that arrived."""

    id: str
    amount: int
    currency: str
    reference: str
    fee: int
    paid_at: int
    method: str = CARD
    amount_refunded: int = 0
    disputed: bool = False

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "amount": self.amount,
            "currency": self.currency,
            "reference": self.reference,
            "method": self.method,
            "fee": self.fee,
            "paidAt": rfc3339(self.paid_at),
            "amountRefunded": self.amount_refunded,
            "disputed": self.disputed,
        }


class Checkout(Kept, frozen=True, kw_only=True):
    """`owner` may read it; `account` and `live` are what it claims, which a forced outcome can falsify."""

    id: str
    owner: str
    account: str
    live: bool
    reference: str
    amount: int
    currency: str
    description: str
    status: Status
    return_url: str
    cancel_url: str
    webhook_url: str | None
    created_at: int
    updated_at: int
    expires_at: int | None
    """None: it never expires by itself."""
    declines: tuple[Decline, ...] = ()
    transaction: Transaction | None = None
    further: tuple[Transaction, ...] = ()
    """Paid more than once."""
    settles_at: int | None = None
    was_processing: bool = False
    """It failed or was paid after the customer was done, not before."""
    extra: dict[str, Any] = {}
    """What only one provider keeps with a checkout; JSON values."""

    @property
    def at(self) -> int:
        return self.created_at

    @property
    def decline(self) -> Decline | None:
        return self.declines[-1] if self.declines else None

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        return self.further if self.transaction is None else (self.transaction, *self.further)

    def row(self, url: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "reference": self.reference,
            "amount": self.amount,
            "currency": self.currency,
            "description": self.description,
            "status": self.status,
            "url": url,
            "account": self.account,
            "live": self.live,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            "expiresAt": None if self.expires_at is None else rfc3339(self.expires_at),
            "decline": self.decline and {"code": self.decline.code, "at": rfc3339(self.decline.at)},
            "transaction": self.transaction and self.transaction.row(),
            "further": [paid.row() for paid in self.further],
        }


class PaidIn(Kept, frozen=True, kw_only=True):
    """Where to find a transaction: its place in the list of its owner."""

    checkout: str
    transaction: str
    owner: str
    at: int

    @property
    def id(self) -> str:
        return f"{self.checkout}/{self.transaction}"


class Refund(Kept, frozen=True, kw_only=True):
    """Money sent back; `reference` is the caller's own word for it."""

    id: str
    owner: str
    checkout: str
    transaction: str
    reference: str
    amount: int
    currency: str
    status: RefundStatus
    created_at: int
    extra: dict[str, Any] = {}

    @property
    def at(self) -> int:
        return self.created_at

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "transaction": self.transaction,
            "reference": self.reference,
            "amount": self.amount,
            "currency": self.currency,
            "status": self.status,
            "createdAt": rfc3339(self.created_at),
        }


class Event(Kept, frozen=True, kw_only=True):
    """What was told by webhook, byte for byte; `type` is the provider's word, `happening` ours."""

    id: str
    type: str
    happening: str
    owner: str
    checkout: str
    reference: str
    url: str | None
    body: str
    at: int

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "happening": self.happening,
            "checkout": self.checkout,
            "reference": self.reference,
            "url": self.url,
            "at": rfc3339(self.at),
        }
