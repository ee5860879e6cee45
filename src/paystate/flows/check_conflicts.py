"""Checks conflicts: what a customer has pending, whether another payment may start, and the cleanup of what is stale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paystate.domain import customers, merchants
from paystate.domain.customers import Customer, Identity
from paystate.domain.payments import Payment, store
from paystate.flows.context import Context
from paystate.flows.create_payment import Payer, actions_of, brief
from paystate.flows.expire_payments import expire_one
from paystate.kit.clock import MINUTE, Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, is_id
from paystate.machinery.db import Tx

SAME_BUNDLE = "same_bundle"
COMPLETE_EXISTING, PROCEED = "complete_existing", "proceed"


@dataclass(frozen=True, slots=True)
class Pending:
    """A customer's pending payments at one moment, oldest first."""

    customer: Customer | None
    payments: Sequence[Payment]
    now: Instant

    def is_stale(self, payment: Payment) -> bool:
        """Whether its clock has run out: the next create or cleanup ends it."""
        return payment.due_at is not None and payment.due_at <= self.now

    def age_minutes(self, payment: Payment) -> int:
        return max(0, (self.now - payment.created_at) // MINUTE)

    def minutes_left(self, payment: Payment) -> int | None:
        """Whole minutes, never negative; None where no clock runs."""
        return None if payment.due_at is None else max(0, (payment.due_at - self.now) // MINUTE)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether a customer may start another payment, and what stands in the way (C4)."""

    can_proceed: bool
    message: str
    conflicts: Sequence[Mapping[str, Any]]
    recommendation: str


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What became of a customer's stale payments: expired here, or asked about at their providers first."""

    found: int
    expired: Sequence[str]
    asked: Sequence[str]


async def pending_of(ctx: Context, who: MerchantId, text: str) -> Pending:
    """The pending payments of the customer whom an id, a phone, an e-mail address or the merchant's own id names.

    Somebody unknown has none. Raises NotFound for an id of ours that is nobody's, Refused `invalid_phone`.
    """

    def look(tx: Tx) -> Pending:
        region = merchants.get_merchant(tx, who, who).default_region or ctx.settings.default_region
        customer = customers.find(tx, who, text, region=region)
        if customer is None and is_id("cus", text):
            raise NotFound("There is no such customer.")
        return _pending(tx, who, customer)

    return await ctx.db.read(look)


async def can_proceed(
    ctx: Context, who: MerchantId, payer: Payer, customer_id: str | None, bundle_id: str | None
) -> Eligibility:
    """Whether a payment for this bundle would be accepted now; stale ones do not count, a create ends them."""

    def look(tx: Tx) -> Pending:
        if customer_id is not None:
            return _pending(tx, who, customers.get_customer(tx, who, customer_id))
        return _pending(tx, who, _named(ctx, tx, who, payer))

    pending = await ctx.db.read(look)
    fresh = [p for p in pending.payments if not pending.is_stale(p)]
    same = [p for p in fresh if bundle_id is not None and p.bundle_id == bundle_id]
    if same:
        return Eligibility(
            can_proceed=False,
            message="This customer already has a pending payment for the same bundle.",
            conflicts=[_conflict(ctx, p, pending.now) for p in same],
            recommendation=COMPLETE_EXISTING,
        )
    others = f" There are {len(fresh)} other pending payments." if fresh else ""
    return Eligibility(
        can_proceed=True,
        message=f"The customer can start this payment.{others}",
        conflicts=[],
        recommendation=PROCEED,
    )


async def cleanup_stale(ctx: Context, who: MerchantId, text: str) -> Cleanup:
    """End the customer's stale payments: those that a provider still holds are asked about first (X2)."""
    pending = await pending_of(ctx, who, text)
    stale = [p for p in pending.payments if pending.is_stale(p)]
    after = [await expire_one(ctx, who, p.id) for p in stale]
    expired = [p.id for p in after if p.state.value == "EXPIRED"]
    return Cleanup(len(stale), expired, [p.id for p in after if p.id not in expired])


def _pending(tx: Tx, who: MerchantId, customer: Customer | None) -> Pending:
    found = [] if customer is None else store.pending_of_customer(tx, who, customer.id)
    return Pending(customer, found, tx.now)


def _named(ctx: Context, tx: Tx, who: MerchantId, payer: Payer) -> Customer | None:
    """The customer by the strongest name that is given; nobody is made here."""
    region = merchants.get_merchant(tx, who, who).default_region or ctx.settings.default_region
    identity = Identity.read(
        external_id=payer.external_id,
        phone=payer.phone,
        email=payer.email,
        region=region,
        pointer="/customer",
    )
    for text in identity.identifiers().values():
        found = customers.find(tx, who, text, region=region)
        if found is not None:
            return found
    return None


def _conflict(ctx: Context, payment: Payment, now: Instant) -> Mapping[str, Any]:
    return {
        "type": SAME_BUNDLE,
        "payment": brief(ctx, payment, now),
        "actions": actions_of(ctx, payment, None),
    }
