"""Looks again at a provider's stored message: what it names is made due once more, and nothing else changes."""

from functools import partial

from paystate.domain.connections import EventState, ProviderEvent, inbox_store
from paystate.domain.payments import Trigger, attempt_store
from paystate.flows.context import Context
from paystate.flows.take_hint import hint_attempts
from paystate.kit.ids import MerchantId
from paystate.machinery.db import Tx


async def reprocess_event(ctx: Context, who: MerchantId, event_id: str) -> ProviderEvent:
    """Match the message against our attempts again. Raises NotFound."""
    return await ctx.db.write(partial(_again, ctx, who, event_id))


def _again(ctx: Context, who: MerchantId, event_id: str, tx: Tx) -> ProviderEvent:
    event = inbox_store.get_provider_event(tx, who, event_id)
    found = attempt_store.named(
        tx,
        who,
        event.connection_id,
        references=[n["reference"] for n in event.named if n.get("reference")],
        checkout_ids=[n["checkoutId"] for n in event.named if n.get("checkoutId")],
    )
    if found:
        hint_attempts(tx, who, found, Trigger.MANUAL, ctx.patience, moves=False)
        inbox_store.mark_handled(tx, who, {event.id: found[0].id})
    elif event.named and event.state is not EventState.UNMATCHED:
        inbox_store.mark_unmatched(tx, who, [event.id], retry_at=None)
    return inbox_store.get_provider_event(tx, who, event_id)
