"""Cancels a payment: its checkouts are ended at the providers first; what they answer decides."""

import asyncio
from functools import partial

from paystate.domain.payments import (
    Attempt,
    Patience,
    Payment,
    State,
    Step,
    Trigger,
    attempt_store,
    moves,
    rules,
    store,
)
from paystate.domain.payments.states import ENDED, AttemptState
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.context import Context
from paystate.flows.move_payment import WATCHERS, move_payments
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import monotonic
from paystate.kit.ids import System, Who
from paystate.machinery.db import Tx

PROVIDER_WAIT_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.1


async def cancel_payment(ctx: Context, who: Who, payment_id: str, *, actor: str) -> Payment:
    """Cancel, and wait at most five seconds for the provider.

    The payment comes back CANCELED, or PAID when it turned out so, or with `cancel_requested_at` set while the
    provider is silent: its slot is free at once, its state follows the answer. Cancelling twice changes nothing.
    Raises NotFound, Conflict `invalid_state`.
    """
    payment, open_attempts = await ctx.db.write(partial(_request, ctx.patience, who, payment_id, actor))
    if not open_attempts:
        return payment
    await verify_now(
        ctx, System("ending cancelled checkouts"), open_attempts, Trigger.CANCEL, PROVIDER_WAIT_SECONDS
    )
    return await _outcome(ctx, who, payment_id)


def _request(
    patience: Patience, who: Who, payment_id: str, actor: str, tx: Tx
) -> tuple[Payment, list[Attempt]]:
    """Note the wish; with nothing at a provider the payment is cancelled in this very commit."""
    system = System("cancel of one payment")
    store.get(tx, who, payment_id)
    attempt_store.lock_of_payments(tx, system, [payment_id])
    payment = store.lock(tx, who, [payment_id])[payment_id]
    # Read again: a start that held the payment's lock meanwhile may have added one.
    waiting = [a for a in attempt_store.of_payments(tx, system, [payment_id]) if _needs_end(a)]
    if payment.state is State.CANCELED or (payment.cancel_requested_at is not None and waiting):
        return payment, waiting if payment.state is not State.CANCELED else []
    moves.refuse_unpublished(payment, State.CANCELED)
    rules.refuse_cancel_in_review(payment)
    if not waiting:
        step = Step(payment, State.CANCELED, actor, "cancel_requested")
        return move_payments(tx, who, [step], patience)[0], []
    store.touch(tx, who, [payment], cancel_requested_at=tx.now, slot_key=None)
    attempt_store.make_due(tx, system, waiting, Trigger.CANCEL, close=True)
    tx.wake(VERIFY)
    tx.wake(WATCHERS)
    return store.get(tx, who, payment_id), waiting


def _needs_end(attempt: Attempt) -> bool:
    return attempt.state not in ENDED and attempt.state is not AttemptState.WATCHED


async def _outcome(ctx: Context, who: Who, payment_id: str) -> Payment:
    """Another worker may be asking already: look until the state is decided or the time is over."""
    until = monotonic() + PROVIDER_WAIT_SECONDS
    while True:
        payment = await ctx.db.read(lambda tx: store.get(tx, who, payment_id))
        if (
            payment.state not in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED)
            or monotonic() >= until
        ):
            return payment
        await asyncio.sleep(LOOK_EVERY_SECONDS)
