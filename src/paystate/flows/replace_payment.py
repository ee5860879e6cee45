"""Replaces a pending payment: the customer's "Cancel & Start New", finished in one step."""

from collections.abc import Callable

import msgspec

from paystate.domain.payments import AttemptState, Intent, Payment, State, attempt_store, proof_store, store
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.context import Context
from paystate.flows.create_payment import Created, NewPayment, create_payment
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx


async def finish_intent(ctx: Context, intent_id: str) -> Payment:
    """ "Cancel & Start New": end the old one at its provider, then create what was refused; a second click finds it.

    Raises NotFound, Conflict when the old one turned out paid or cannot be ended now.
    """
    system = System("a customer's choice on an action page")
    intent = await ctx.db.read(lambda tx: proof_store.intent(tx, system, intent_id))
    now = await ctx.db.read(lambda tx: tx.now)
    who = MerchantId(intent.merchant_id)
    if intent.payment_id is not None:
        known = intent.payment_id
        return await ctx.db.read(lambda tx: store.get(tx, who, known))
    _refuse_expired(intent, now)
    await _end_old(ctx, who, intent.conflict_id)
    new = msgspec.json.decode(intent.body, type=NewPayment)

    def keep(tx: Tx, work: Callable[[Tx], Created]) -> Created:
        current = proof_store.intent(tx, who, intent_id, lock=True)
        if current.payment_id is not None:
            return Created(store.get(tx, who, current.payment_id), existing=True, warnings=[])
        _refuse_expired(current, tx.now)
        made = work(tx)
        proof_store.finish_intent(tx, who, intent_id, made.payment.id)
        return made

    made: Created = await create_payment(ctx, who, new, actor=intent.actor, keep=keep)
    return made.payment


def _refuse_expired(intent: Intent, now: Instant) -> None:
    """Looked at before anything is ended, and again under the lock: ending the old payment may take its time."""
    if now > intent.expires_at:
        raise Conflict("This offer has expired; please start again.", code="invalid_state")


async def _end_old(ctx: Context, who: MerchantId, payment_id: str) -> None:
    """An end it has come to by itself is fine; money that is there, or may be, stops the replacement."""
    old = await ctx.db.read(lambda tx: store.get(tx, who, payment_id))
    if old.state not in (State.EXPIRED, State.CANCELED):
        old = await cancel_payment(ctx, who, payment_id, actor="customer")
    attempts = await ctx.db.read(lambda tx: attempt_store.of_payments(tx, who, [payment_id]))
    if any(a.state is AttemptState.PROCESSING for a in attempts):
        raise Conflict("The earlier payment is being processed; please wait and do not pay again.")
    if old.state in (State.PAID, State.REVIEW):
        raise Conflict("The earlier payment has been paid in the meantime.", state=old.state.value)
