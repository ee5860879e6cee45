"""Creates a payment: one pending payment for a customer and bundle, decided by a unique index and never by luck."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import msgspec

from paystate.domain import connections, customers, merchants
from paystate.domain.customers import Identity
from paystate.domain.merchants import Merchant
from paystate.domain.payments import (
    Intent,
    Patience,
    Payment,
    State,
    Trigger,
    attempt_store,
    moves,
    proof_store,
    schedule,
    store,
)
from paystate.domain.payments.states import FLAGS, OFFERED, PENDING
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.context import Context
from paystate.flows.move_payment import record_creation, sweep_payments
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, MINUTE, SECOND, Instant, rfc3339
from paystate.kit.errors import Conflict, Refused, invalid
from paystate.kit.ids import MerchantId, System, new_id, new_short_code
from paystate.kit.money import Money
from paystate.machinery.db import ConstraintRefused, Tx
from paystate.machinery.failpoints import afailpoint, declare

CREATED = declare("payment.created", "the payment is committed, nobody has an answer yet")

OnConflict = Literal["REJECT", "RETURN_EXISTING", "CANCEL_EXISTING"]
CONFLICT_WAIT_SECONDS = 3.0
ROUNDS = 4
INTENT_LIFE = 30 * MINUTE
MAX_EXPIRY = 366 * DAY
WARNINGS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays, as the request said it; phones may be in the national form of the merchant's region."""

    external_id: str | None = None
    phone: str | None = None
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment to be, already checked for form; times in microseconds, money in minor units."""

    money: Money
    description: str
    reference: str | None = None
    customer: Payer | None = None
    customer_id: str | None = None
    bundle_id: str | None = None
    plan_name: str | None = None
    providers: tuple[str, ...] | None = None
    draft: bool = False
    expires_in: int | None = None
    expires_at: Instant | None = None
    return_url: str | None = None
    cancel_url: str | None = None
    late_policy: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_conflict: OnConflict = "REJECT"


@dataclass(frozen=True, slots=True)
class Created:
    """The payment, whether it stood already (RETURN_EXISTING), and what the merchant should know."""

    payment: Payment
    existing: bool
    warnings: Sequence[Mapping[str, Any]]


_NOTHING_YET: dict[str, Any] = dict.fromkeys(Payment.__struct_fields__) | dict.fromkeys(FLAGS, False)
"""Every field of a payment to which nothing has happened."""


class SlotTaken(Exception):
    """The slot that a payment needs is held by this one."""

    def __init__(self, holder: Payment) -> None:
        super().__init__(holder.id)
        self.holder = holder


Keep = Callable[[Tx, Callable[[Tx], Created]], Any]
"""Runs the creation inside an idempotency slot and keeps its answer in the same commit."""


async def create_payment(ctx: Context, who: MerchantId, new: NewPayment, *, actor: str, keep: Keep) -> Any:
    """Create a payment; answers what `keep` makes of it.

    First the customer's stale payments expire (C1). If the slot is taken, the provider is asked about the holder
    for at most three seconds, then `on_conflict` decides. Raises Conflict `PENDING_SAME_BUNDLE` with both ways out,
    `duplicate_reference`, `customer_conflict`; Refused `provider_not_configured`, `validation_failed`.
    """
    for name in new.providers or ():
        ctx.provider(name).check(new.money)
    work = partial(_create, ctx, who, new, actor)
    for round_ in range(ROUNDS):
        try:
            answer = await ctx.db.write(lambda tx: keep(tx, work))
        except ConstraintRefused:
            continue  # somebody was faster: the next round sees what they wrote
        except SlotTaken as taken:
            existing = await _resolve(ctx, who, new, taken.holder, actor, last=round_ == ROUNDS - 1)
            if existing is not None:
                found = Created(existing, existing=True, warnings=[])
                return await ctx.db.write(lambda tx, found=found: keep(tx, lambda _tx: found))  # type: ignore[misc]
            continue
        await afailpoint(CREATED)
        return answer
    raise Conflict(
        "Another payment for the same thing is being created; try again.", code="PENDING_SAME_BUNDLE"
    )


def _create(ctx: Context, who: MerchantId, new: NewPayment, actor: str, tx: Tx) -> Created:
    merchant = merchants.get_merchant(tx, who, who)
    _refuse_unconfigured(tx, who, new.providers)
    _refuse_duplicate_reference(ctx, tx, who, new.reference)
    customer_id = _customer(ctx, tx, who, new, merchant)
    pending = _expire_stale(tx, who, customer_id)
    payment = _payment_of(new, merchant, customer_id, tx.now, ctx.patience)
    if payment.slot_key is not None:
        holder = store.holder_of_slot(tx, who, who, payment.slot_key)
        if holder is not None:
            raise SlotTaken(holder)
    moves.insert(tx, who, payment, actor=actor)
    record_creation(tx, who, payment)
    return Created(payment, existing=False, warnings=_warnings(pending))


def _customer(ctx: Context, tx: Tx, who: MerchantId, new: NewPayment, merchant: Merchant) -> str | None:
    if new.customer_id is not None:
        return customers.get_customer(tx, who, new.customer_id).id
    if new.customer is None:
        return None
    payer = new.customer
    identity = Identity.read(
        external_id=payer.external_id,
        phone=payer.phone,
        email=payer.email,
        region=merchant.default_region or ctx.settings.default_region,
        pointer="/customer",
    )
    return customers.find_or_create(tx, who, identity, name=payer.name).id


def _refuse_unconfigured(tx: Tx, who: MerchantId, providers: Sequence[str] | None) -> None:
    if providers is None:
        return
    ready = {c.provider for c in connections.active_for(tx, who)}
    if not set(providers) <= ready:
        raise Refused(
            "A named provider is not configured for this merchant.",
            code="provider_not_configured",
            available=sorted(ready),
        )


def _refuse_duplicate_reference(ctx: Context, tx: Tx, who: MerchantId, reference: str | None) -> None:
    known = None if reference is None else store.by_reference(tx, who, who, reference)
    if known is not None:
        raise Conflict(
            "Another payment has this reference.",
            code="duplicate_reference",
            conflict=brief(ctx, known, tx.now),
        )


def _expire_stale(tx: Tx, who: MerchantId, customer_id: str | None) -> list[Payment]:
    """Expire the customer's stale payments that no provider holds; make the others due. Answers those still pending."""
    if customer_id is None:
        return []
    pending = store.pending_of_customer(tx, who, customer_id)
    over = [p for p in pending if p.due_at is not None and p.due_at <= tx.now]
    if not over:
        return pending
    system = System("stale payments of a customer who starts another one")
    live = [a for a in attempt_store.lock_of_payments(tx, who, [p.id for p in over]) if a.state in OFFERED]
    attempt_store.make_due(tx, who, live, Trigger.CREATE)
    tx.wake(VERIFY)
    swept = store.lock_due_without_attempt(tx, system, [p.id for p in over])
    if swept:
        sweep_payments(tx, who, swept, State.EXPIRED, actor="create", reason="stale")
    gone = {p.id for p in swept}
    return [p for p in pending if p.id not in gone]


def _payment_of(
    new: NewPayment, merchant: Merchant, customer_id: str | None, now: Instant, patience: Patience
) -> Payment:
    """The row of a new payment; what its clock says is decided here once and carried (docs/reference/payment-states.md)."""
    slot = f"bundle:{customer_id}:{new.bundle_id}" if customer_id and new.bundle_id else None
    state = State.DRAFT if new.draft else State.OPEN
    payment = Payment(
        **(
            _NOTHING_YET
            | {
                "id": new_id("pay", now),
                "merchant_id": merchant.id,
                "short_code": new_short_code(),
                "state": state,
                "seq": 1,
                "version": 1,
                "amount": new.money.amount,
                "currency": new.money.currency,
                "description": new.description,
                "reference": new.reference,
                "customer_id": customer_id,
                "bundle_id": new.bundle_id,
                "plan_name": new.plan_name,
                "providers": None if new.providers is None else msgspec.json.encode(new.providers).decode(),
                "slot": slot,
                "expires_in_us": new.expires_in if new.draft else None,
                "expires_at": new.expires_at,
                "late_policy": new.late_policy or merchant.late_policy,
                "last_event_type": "CREATED",
                "last_event_at": now,
                "return_url": new.return_url,
                "cancel_url": new.cancel_url,
                "metadata": msgspec.json.encode(dict(new.metadata)).decode(),
                "created_at": now,
                "updated_at": now,
            }
        )
    )
    if new.draft:
        return payment
    opened = opened_fields(payment, new.expires_in, merchant.stale_after, now)
    payment = msgspec.structs.replace(payment, slot_key=slot, **opened)
    return msgspec.structs.replace(payment, due_at=schedule.due_at(payment, state, None, patience))


def opened_fields(
    payment: Payment, expires_in: int | None, stale_after_us: int, now: Instant
) -> dict[str, Any]:
    """What opening decides: `expiresIn` counts from here, and so does the staleness of a bundle without `expiresAt`."""
    expires_at = payment.expires_at
    if expires_at is None and expires_in is not None:
        expires_at = Instant(now + expires_in)
    stale = payment.bundle_id is not None and expires_at is None
    return {
        "opened_at": now,
        "expires_at": expires_at,
        "stale_at": Instant(now + stale_after_us) if stale else None,
        "expires_in_us": None,
    }


def check_expiry(now: Instant, *, expires_in: int | None, expires_at: Instant | None) -> None:
    """Raise Refused `invalid_expiry` unless at most one is given and it lies within a year ahead."""
    if expires_in is not None and expires_at is not None:
        raise invalid("/expiresAt", "invalid_expiry", "Give expiresAt or expiresIn, not both.")
    if expires_at is not None and not now < expires_at <= now + MAX_EXPIRY:
        raise invalid("/expiresAt", "invalid_expiry", "It must lie ahead, by at most 366 days.")
    if expires_in is not None and not SECOND <= expires_in <= MAX_EXPIRY:
        raise invalid("/expiresIn", "invalid_expiry", "It is in seconds, from 1 to 366 days.")


def _warnings(pending: Sequence[Payment]) -> list[dict[str, Any]]:
    """A different bundle is allowed, with a warning that names the other pending ones (C2)."""
    if not pending:
        return []
    named = [{"id": p.id, "planName": p.plan_name, "bundleId": p.bundle_id} for p in pending[:WARNINGS_SHOWN]]
    plans = ", ".join(p.plan_name or p.bundle_id or p.id for p in pending[:WARNINGS_SHOWN])
    return [
        {
            "code": "OTHER_PENDING",
            "message": f"This customer has other pending payments: {plans}.",
            "payments": named,
        }
    ]


async def _resolve(
    ctx: Context, who: MerchantId, new: NewPayment, holder: Payment, actor: str, *, last: bool
) -> Payment | None:
    """Ask about the holder, then follow `on_conflict`. None: the slot may be free now, try again."""
    holder = await ask_about_holder(ctx, who, holder)
    if holder.slot_key is None and holder.state is not State.PAID and not last:
        return None
    if new.on_conflict == "RETURN_EXISTING":
        return holder
    if new.on_conflict == "CANCEL_EXISTING" and holder.state in PENDING and not last:
        ended = await cancel_payment(ctx, who, holder.id, actor=actor)
        if ended.state is not State.PAID:
            return None
        holder = ended
    raise await same_bundle_conflict(ctx, who, new, holder, actor)


async def ask_about_holder(ctx: Context, who: MerchantId, holder: Payment) -> Payment:
    """Before anything is refused, the provider says how the conflicting payment stands (at most three seconds)."""
    attempts = await ctx.db.read(lambda tx: attempt_store.of_payments(tx, who, [holder.id]))
    live = [a for a in attempts if a.state in OFFERED]
    if live:
        await verify_now(ctx, who, live, Trigger.CREATE, CONFLICT_WAIT_SECONDS)
    return await ctx.db.read(lambda tx: store.get(tx, who, holder.id))


async def same_bundle_conflict(
    ctx: Context, who: MerchantId, new: NewPayment, holder: Payment, actor: str
) -> Conflict:
    """The published 409 with both ways out; the refused create is kept, so that one click can finish it (C5)."""
    if holder.state is State.PAID:
        now = await ctx.db.read(lambda tx: tx.now)
        return Conflict(
            "This has just been paid.",
            code="PENDING_SAME_BUNDLE",
            conflict=brief(ctx, holder, now),
            alreadyPaid=True,
        )
    intent = await ctx.db.write(partial(_keep_intent, who, new, holder, actor))
    return Conflict(
        "This customer already has a pending payment for the same bundle.",
        code="PENDING_SAME_BUNDLE",
        conflict=brief(ctx, holder, intent.created_at),
        actions=actions_of(ctx, holder, intent),
    )


def _keep_intent(who: MerchantId, new: NewPayment, holder: Payment, actor: str, tx: Tx) -> Intent:
    intent = Intent(
        id=new_short_code(),
        merchant_id=who,
        conflict_id=holder.id,
        body=msgspec.json.encode(new).decode(),
        actor=actor,
        payment_id=None,
        created_at=tx.now,
        expires_at=Instant(tx.now + INTENT_LIFE),
    )
    proof_store.keep_intent(tx, who, intent)
    return intent


def actions_of(ctx: Context, holder: Payment, intent: Intent | None) -> dict[str, dict[str, str]]:
    """Pages with a button each: a GET never acts."""
    base = ctx.settings.public_url.rstrip("/")
    cancel = f"{base}/pay/{holder.short_code}/cancel"
    if intent is not None:
        cancel = f"{base}/pay/{holder.short_code}/replace?intent={intent.id}"
    return {
        "complete": {"url": f"{base}/pay/{holder.short_code}", "label": "Complete Existing Payment"},
        "cancel": {"url": cancel, "label": "Cancel & Start New"},
    }


def brief(ctx: Context, payment: Payment, now: Instant) -> dict[str, Any]:
    """What a conflict says about the payment in the way."""
    base = ctx.settings.public_url.rstrip("/")
    left = None if payment.due_at is None else max(0, (payment.due_at - now) // MINUTE)
    return {
        "id": payment.id,
        "state": payment.state.value,
        "amount": payment.amount,
        "currency": payment.currency,
        "planName": payment.plan_name,
        "payUrl": f"{base}/pay/{payment.short_code}",
        "ageInMinutes": (now - payment.created_at) // MINUTE,
        "timeRemaining": left,
        "createdAt": rfc3339(payment.created_at),
    }
