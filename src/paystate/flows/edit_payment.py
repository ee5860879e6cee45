"""Edits a payment before it is paid: its details, its opening, and the new try of one that failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from paystate.domain import connections, merchants
from paystate.domain.payments import Attempt, Payment, State, Step, attempt_store, schedule, store
from paystate.flows.context import Context
from paystate.flows.create_payment import (
    SlotTaken,
    actions_of,
    ask_about_holder,
    brief,
    check_expiry,
    opened_fields,
)
from paystate.flows.move_payment import WATCHERS, move_payments
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, Refused
from paystate.kit.ids import MerchantId, System
from paystate.kit.money import Money
from paystate.machinery.db import ConstraintRefused, Tx

UNSET: Final = "\0"
"""Stands for a field that a change leaves alone; no clean text contains it."""

ROUNDS = 3
EDITABLE = (State.DRAFT, State.OPEN)
LOCKS = System("locking a payment that is edited")


@dataclass(frozen=True, slots=True)
class PaymentChanges:
    """New values; what is left out stays, None empties. `expires_in` is in microseconds."""

    amount: int | None = None
    currency: str | None = None
    description: str | None = None
    reference: str | None = UNSET
    plan_name: str | None = UNSET
    return_url: str | None = UNSET
    cancel_url: str | None = UNSET
    providers: tuple[str, ...] | None = ()
    late_policy: str | None = None
    metadata: Mapping[str, str] | None = None
    expires_in: int | None = None
    expires_at: Instant | None = None
    clear_expiry: bool = False

    @property
    def moves_clock(self) -> bool:
        return self.clear_expiry or self.expires_in is not None or self.expires_at is not None


def edit(
    ctx: Context,
    who: MerchantId,
    payment_id: str,
    changes: PaymentChanges,
    tx: Tx,
    *,
    version: int | None,
) -> Payment:
    """Change a DRAFT or OPEN payment, inside the caller's transaction.

    Raises NotFound, Conflict `version_conflict`, `invalid_state` (also for a new amount once a checkout was started),
    `duplicate_reference`, Refused `provider_not_configured`, `invalid_expiry`.
    """
    store.get(tx, who, payment_id)
    attempt_store.lock_of_payments(tx, LOCKS, [payment_id])
    payment = store.lock(tx, who, [payment_id])[payment_id]
    attempts = attempt_store.of_payments(tx, LOCKS, [payment_id])
    if version is not None and payment.version != version:
        raise Conflict(
            "The payment has changed since it was read.", code="version_conflict", version=payment.version
        )
    if payment.state not in EDITABLE or payment.cancel_requested_at is not None:
        raise Conflict(f"A payment that is {payment.state} cannot be changed.", state=payment.state.value)
    values = _details(ctx, tx, who, payment, changes)
    if changes.amount is not None or changes.currency is not None:
        values |= _money(ctx, payment, attempts, changes)
    if changes.moves_clock:
        values |= _clock(ctx, tx, who, payment, changes)
    different = {name: value for name, value in values.items() if value != getattr(payment, name)}
    if not different:
        return payment
    store.update_fields(tx, who, payment, different)
    tx.wake(WATCHERS)
    return store.get(tx, who, payment_id)


def _details(
    ctx: Context, tx: Tx, who: MerchantId, payment: Payment, changes: PaymentChanges
) -> dict[str, Any]:
    texts = ("reference", "plan_name", "return_url", "cancel_url")
    values: dict[str, Any] = {n: getattr(changes, n) for n in texts if getattr(changes, n) != UNSET}
    values |= {
        n: v
        for n, v in (("description", changes.description), ("late_policy", changes.late_policy))
        if v is not None
    }
    if changes.metadata is not None:
        values["metadata"] = _json(dict(changes.metadata))
    if changes.providers != ():
        values["providers"] = _providers(ctx, tx, who, payment, changes.providers)
    reference = values.get("reference")
    holder = None if reference is None else store.by_reference(tx, who, who, reference)
    if holder is not None and holder.id != payment.id:
        raise Conflict(
            "Another payment has this reference.",
            code="duplicate_reference",
            conflict=brief(ctx, holder, tx.now),
        )
    return values


def _providers(
    ctx: Context, tx: Tx, who: MerchantId, payment: Payment, names: tuple[str, ...] | None
) -> str | None:
    if names is None:
        return None
    ready = {c.provider for c in connections.active_for(tx, who)} & set(ctx.providers)
    if not set(names) <= ready:
        raise Refused(
            "A named provider is not configured for this merchant.",
            code="provider_not_configured",
            available=sorted(ready),
        )
    for name in names:
        ctx.provider(name).check(payment.money)
    return _json(list(names))


def _money(
    ctx: Context, payment: Payment, attempts: list[Attempt], changes: PaymentChanges
) -> dict[str, Any]:
    """What a provider was asked to collect is never changed behind its back."""
    if attempts:
        raise Conflict("A checkout was started for this amount; cancel the payment and create another.")
    money = Money(changes.amount or payment.amount, changes.currency or payment.currency)
    allowed = [] if payment.providers is None else msgspec.json.decode(payment.providers, type=list[str])
    for name in allowed:
        ctx.provider(name).check(money)
    return {"amount": money.amount, "currency": money.currency}


def _clock(
    ctx: Context, tx: Tx, who: MerchantId, payment: Payment, changes: PaymentChanges
) -> dict[str, Any]:
    """A DRAFT keeps what will count from its opening; an OPEN payment's clock is set anew from now."""
    if not changes.clear_expiry:
        check_expiry(tx.now, expires_in=changes.expires_in, expires_at=changes.expires_at)
    if payment.state is State.DRAFT:
        return {"expires_at": changes.expires_at, "expires_in_us": changes.expires_in}
    bare = msgspec.structs.replace(payment, expires_at=changes.expires_at)
    merchant = merchants.get_merchant(tx, who, who)
    opened = opened_fields(bare, changes.expires_in, merchant.stale_after, tx.now)
    opened.pop("opened_at")
    after = msgspec.structs.replace(bare, **opened)
    due = schedule.due_at(after, payment.state, payment.pending_since, ctx.patience)
    return {**opened, "due_at": due}


async def open_payment(ctx: Context, who: MerchantId, payment_id: str, *, actor: str) -> Payment:
    """DRAFT → OPEN: takes the slot, starts the clock. An OPEN one stays as it is.

    Raises NotFound, Conflict `invalid_state`, `PENDING_SAME_BUNDLE`.
    """
    return await _into_slot(ctx, who, payment_id, partial(_open, ctx, who, payment_id, actor))


async def retry_payment(ctx: Context, who: MerchantId, payment_id: str, *, actor: str) -> Payment:
    """FAILED → OPEN, while its own time lasts; takes the slot again. An OPEN one stays as it is.

    Raises NotFound, Conflict `invalid_state`, `PENDING_SAME_BUNDLE`.
    """
    return await _into_slot(ctx, who, payment_id, partial(_retry, ctx, who, payment_id, actor))


async def _into_slot(
    ctx: Context, who: MerchantId, payment_id: str, work: Callable[[Tx], Payment]
) -> Payment:
    """Before a slot is refused, the provider says how its holder stands (C2)."""
    for round_ in range(ROUNDS):
        try:
            return await ctx.db.write(work)
        except ConstraintRefused:
            continue  # somebody was faster: the next round sees them
        except SlotTaken as taken:
            holder = await ask_about_holder(ctx, who, taken.holder)
            if holder.slot_key is None and holder.state is not State.PAID and round_ < ROUNDS - 1:
                continue
            now = await ctx.db.read(lambda tx: tx.now)
            raise Conflict(
                "This customer already has a pending payment for the same bundle.",
                code="PENDING_SAME_BUNDLE",
                conflict=brief(ctx, holder, now),
                actions=actions_of(ctx, holder, None),
            ) from None
    raise Conflict(
        f"The slot of {payment_id} is being taken by others; try again.", code="PENDING_SAME_BUNDLE"
    )


def _open(ctx: Context, who: MerchantId, payment_id: str, actor: str, tx: Tx) -> Payment:
    payment = _locked(tx, who, payment_id)
    if payment.state is State.OPEN:
        return payment
    if payment.state is not State.DRAFT:
        raise Conflict(f"A payment that is {payment.state} cannot be opened.", state=payment.state.value)
    if payment.expires_at is not None and payment.expires_at <= tx.now:
        raise Conflict("The time of this payment is over.", state=payment.state.value)
    _refuse_taken(tx, who, payment)
    merchant = merchants.get_merchant(tx, who, who)
    opened = opened_fields(payment, payment.expires_in_us, merchant.stale_after, tx.now)
    cleared = {"expires_in_us": opened.pop("expires_in_us")}
    reached = move_payments(
        tx, who, [Step(payment, State.OPEN, actor, "opened", changes=opened)], ctx.patience
    )[0]
    if payment.expires_in_us is not None:
        store.touch(tx, who, [reached], **cleared)
    return store.get(tx, who, payment_id)


def _retry(ctx: Context, who: MerchantId, payment_id: str, actor: str, tx: Tx) -> Payment:
    payment = _locked(tx, who, payment_id)
    if payment.state is State.OPEN:
        return payment
    if payment.state is not State.FAILED:
        raise Conflict(f"A payment that is {payment.state} cannot be retried.", state=payment.state.value)
    if payment.cancel_requested_at is not None or not schedule.within_own_time(payment, tx.now):
        raise Conflict("The time of this payment is over.", state=payment.state.value)
    _refuse_taken(tx, who, payment)
    return move_payments(tx, who, [Step(payment, State.OPEN, actor, "retried")], ctx.patience)[0]


def _locked(tx: Tx, who: MerchantId, payment_id: str) -> Payment:
    store.get(tx, who, payment_id)
    attempt_store.lock_of_payments(tx, LOCKS, [payment_id])
    return store.lock(tx, who, [payment_id])[payment_id]


def _refuse_taken(tx: Tx, who: MerchantId, payment: Payment) -> None:
    holder = None if payment.slot is None else store.holder_of_slot(tx, who, who, payment.slot)
    if holder is not None and holder.id != payment.id:
        raise SlotTaken(holder)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
