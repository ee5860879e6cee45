"""Tells operators of alerts: claims what is to be told, hands it to its channel, notes what became of it."""

from functools import partial

from paystate.domain import alerts
from paystate.domain.alerts import Alert, AlertState, Delivery, Message, NotSent, delivery_store
from paystate.flows.answer_alert import TRIAL
from paystate.flows.context import Context
from paystate.kit.clock import MINUTE, rfc3339
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.failpoints import afailpoint, declare
from paystate.machinery.logs import get_logger

LEASE = 2 * MINUTE
"""Above the longest that any channel takes: an alert is not sent by two at once."""

MAX_ROUNDS = 100
WHO = System("telling of alerts")
AFTER_SEND = declare("alert.after_send", "an alert went out, its delivery not yet marked")
log = get_logger(__name__)


async def deliver_alerts(ctx: Context) -> int:
    """Send whatever is due; answers how many went out. One that cannot be sent is tried again later, the others go on."""
    total = 0
    for _ in range(MAX_ROUNDS):
        claims = await ctx.db.write(partial(_claim, LEASE))
        if not claims:
            break
        for held, alert in claims:
            total += await _deliver(ctx, held, alert)
    return total


def _claim(lease: int, tx: Tx) -> list[tuple[Delivery, Alert]]:
    held = delivery_store.claim_due(tx, WHO, lease)
    return [(one, alerts.get_alert(tx, WHO, one.alert_id)) for one in held]


async def _deliver(ctx: Context, held: Delivery, alert: Alert) -> bool:
    try:
        await _send(ctx, held, alert)
    except NotSent as problem:
        error = str(problem)
    except Exception as problem:
        # Whatever a channel does, the others are told.
        log.exception("alert_not_sent", delivery_id=held.id)
        error = type(problem).__name__
    else:
        await afailpoint(AFTER_SEND)
        await ctx.db.write(partial(delivery_store.sent, who=WHO, held=held))
        return True
    log.warning("alert_not_sent", delivery_id=held.id, channel=held.channel, reason=error)
    await ctx.db.write(partial(delivery_store.not_sent, who=WHO, held=held, error=error))
    return False


async def _send(ctx: Context, held: Delivery, alert: Alert) -> None:
    channel = ctx.channels.get(held.channel)
    if channel is None:
        raise NotSent("There is no such channel here.")
    await channel.send(held.address, message_of(held, alert))


def message_of(held: Delivery, alert: Alert) -> Message:
    """The words of one telling: what, since when, how often, and where to say that somebody looks after it."""
    over = alert.state is AlertState.RESOLVED
    mark = "reminder" if held.round else alert.severity.value.lower()
    if over:
        mark = "trial" if alert.rule == TRIAL else "over already"
    lines = [
        alert.title,
        "",
        *(f"{name}: {value}" for name, value in alert.detail.items()),
        f"seen: {alert.count} times, first {rfc3339(alert.first_at)}, last {rfc3339(alert.last_at)}",
        *([f"over since {rfc3339(alert.ended_at)}: {alert.ended_by}"] if alert.ended_at else []),
        "",
        *([] if over else [f"Somebody looks after it:  paystate alerts ack {alert.id}"]),
        *([] if over else [f"It is over:  paystate alerts resolve {alert.id} --reason …"]),
    ]
    return Message(f"{held.id}.{held.round}", f"[Paystate, {mark}] {alert.title}", "\n".join(lines))
