"""Operations on alerts: list, acknowledge, resolve, and send one for trying."""

from typing import Any, Literal

from paystate.app import App
from paystate.domain import alerts
from paystate.domain.alerts import Alert, AlertState, delivery_store
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.answer_alert import acknowledge_alert, end_alert, try_channels
from paystate.flows.deliver_alerts import deliver_alerts
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.ids import System
from paystate.kit.paging import MAX_LIMIT, PageRequest
from paystate.machinery.db import Tx

WHO = System("the owner of the installation")
ACTOR = "owner"


class ListAlerts(Order, frozen=True, kw_only=True):
    """Without a state: those that are not resolved."""

    state: Literal["OPEN", "ACKNOWLEDGED", "RESOLVED", "ALL"] | None = None


class OneAlert(Order, frozen=True, kw_only=True):
    alert: str


class EndAlert(Order, frozen=True, kw_only=True):
    alert: str
    reason: str


@operation("alerts.list", ListAlerts)
async def list_(app: App, order: ListAlerts) -> Answer:
    wanted = order.state
    state = AlertState(wanted) if wanted not in (None, "ALL") else None
    page = await app.db.read(
        lambda tx: alerts.list_alerts(
            tx, WHO, PageRequest(limit=MAX_LIMIT), state=state, ended=wanted is not None
        )
    )
    return {"data": [_told(one) for one in page.rows], "hasMore": page.next_position is not None}


@operation("alerts.show", OneAlert)
async def show(app: App, order: OneAlert) -> Answer:
    def read(tx: Tx) -> Answer:
        found = alerts.get_alert(tx, WHO, order.alert)
        sent = delivery_store.of_alerts(tx, WHO, [found.id])
        told = [
            {
                "channel": one.channel,
                "address": one.address,
                "state": one.state.value,
                "sentCount": one.sent_count,
                "sentAt": rfc3339_or_none(one.sent_at),
                "nextTryAt": rfc3339_or_none(one.next_try_at),
                "lastError": one.last_error,
            }
            for one in sent
        ]
        return {**_told(found), "deliveries": told}

    return await app.db.read(read)


@operation("alerts.ack", OneAlert)
async def ack(app: App, order: OneAlert) -> Answer:
    return _told(await acknowledge_alert(app.ctx, order.alert, actor=ACTOR))


@operation("alerts.resolve", EndAlert)
async def resolve(app: App, order: EndAlert) -> Answer:
    return _told(await end_alert(app.ctx, order.alert, order.reason, actor=ACTOR))


@operation("alerts.test", Order)
async def test(app: App, order: Order) -> Answer:
    """Sent here and now, so that whoever tries it sees what became of it."""
    del order
    await try_channels(app.ctx, actor=ACTOR)
    await deliver_alerts(app.ctx)

    def read(tx: Tx) -> list[dict[str, Any]]:
        newest = alerts.list_alerts(tx, WHO, PageRequest(limit=MAX_LIMIT), state=AlertState.RESOLVED).rows
        trial = next(one for one in newest if one.rule == "trial")
        return [
            {"channel": d.channel, "address": d.address, "state": d.state.value, "lastError": d.last_error}
            for d in delivery_store.of_alerts(tx, WHO, [trial.id])
        ]

    found = await app.db.read(read)
    return {"ok": all(one["lastError"] is None for one in found), "deliveries": found}


def _told(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "merchantId": alert.merchant_id,
        "rule": alert.rule,
        "severity": alert.severity.value,
        "title": alert.title,
        "detail": dict(alert.detail),
        "state": alert.state.value,
        "count": alert.count,
        "firstAt": rfc3339(alert.first_at),
        "lastAt": rfc3339(alert.last_at),
        "acknowledgedBy": alert.acknowledged_by,
        "endedBy": alert.ended_by,
        "endedReason": alert.ended_reason,
        "endedAt": rfc3339_or_none(alert.ended_at),
    }
