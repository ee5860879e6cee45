"""Alerts over HTTP: what somebody should know now; acknowledge and resolve them, or send one for trying."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import ConfigDict
from starlette.responses import Response

from paystate.domain import alerts
from paystate.domain.alerts import Alert, AlertState, Delivery, delivery_store
from paystate.entrypoints.api.answers import PageOut, answer, page_answer, page_request, replayable, text_of
from paystate.entrypoints.api.fields import In, Out, PageQuery, Reference
from paystate.entrypoints.api.guard import OWNER, Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import write_once
from paystate.flows.answer_alert import try_channels
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.ids import System, Who
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

AlertId = Annotated[str, Path(alias="alertId", pattern=r"^alt_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api/alerts", "Alerts")


class AlertsQuery(PageQuery):
    """What a list of alerts may be narrowed by."""

    state: Literal["OPEN", "ACKNOWLEDGED", "RESOLVED"] | None = None


class ResolveIn(In):
    """Why it is over."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The bank has put it right."}]})

    reason: Reference


class DeliveryOut(Out):
    """Who is told of it, and what became of that."""

    channel: str
    address: str
    state: str
    sent_count: int
    tries: int
    last_error: str | None
    sent_at: str | None
    next_try_at: str | None


class AlertOut(Out):
    """An alert; `count` times its cause was seen. `deliveries` only where one alert is asked for."""

    id: str
    rule: str
    severity: str
    title: str
    detail: dict[str, Any]
    state: str
    count: int
    first_at: str
    last_at: str
    acknowledged_by: str | None
    acknowledged_at: str | None
    ended_by: str | None
    ended_reason: str | None
    ended_at: str | None
    deliveries: list[DeliveryOut] | None = None


class TriedOut(Out):
    """How many addresses are told that this is a trial."""

    addresses: int


@routes.get("", **operation("listAlerts", "admin", PageOut[AlertOut]))
async def list_all(call: Current, query: Annotated[AlertsQuery, Query()]) -> Response:
    """The merchant's alerts, newest first; the owner of the installation sees all, its own too."""
    page = page_request(call, "alerts", query)
    state = None if query.state is None else AlertState(query.state)
    found = await call.db.read(lambda tx: alerts.list_alerts(tx, _who(call), page, state=state))
    return page_answer(call, "alerts", found, alert_out)


@routes.get("/{alertId}", **operation("getAlert", "admin", AlertOut, "not_found"))
async def get_one(call: Current, alert_id: AlertId) -> Response:
    """One alert, with who is told of it."""

    def look(tx: Tx) -> AlertOut:
        found = alerts.get_alert(tx, _who(call), alert_id)
        return alert_out(found, delivery_store.of_alerts(tx, _who(call), [alert_id]))

    return answer(await call.db.read(look))


@routes.post(
    "/{alertId}/acknowledge", **operation("acknowledgeAlert", "admin", AlertOut, "not_found", "invalid_state")
)
async def acknowledge(call: Current, alert_id: AlertId) -> Response:
    """Say that somebody looks after it: no reminder follows. A second time changes nothing."""

    def work(tx: Tx) -> Answer:
        before = alerts.get_alert(tx, _who(call), alert_id)
        after = alerts.acknowledge(tx, _who(call), alert_id, by=call.caller.actor)
        if after.state is not before.state:
            call.note(tx, "alert.acknowledged", alert_id, after={"rule": after.rule})
        return Answer(alert_id, 200, text_of(alert_out(after)))

    return replayable(await write_once(call, work))


@routes.post(
    "/{alertId}/resolve", **operation("resolveAlert", "admin", AlertOut, "not_found", "invalid_state")
)
async def resolve(call: Current, alert_id: AlertId, body: ResolveIn) -> Response:
    """Say that it is over, and why. Where its cause still stands, the next look raises a new one."""

    def work(tx: Tx) -> Answer:
        done = alerts.resolve(tx, _who(call), alert_id, by=call.caller.actor, reason=body.reason)
        call.note(tx, "alert.resolved", alert_id, after={"rule": done.rule, "reason": body.reason})
        return Answer(alert_id, 200, text_of(alert_out(done)))

    return replayable(await write_once(call, work))


@routes.post("/test", **operation("testAlerts", OWNER, TriedOut), include_in_schema=False)
async def try_all(call: Current) -> Response:
    """Tell every address that this is a trial; for the owner of the installation."""
    return answer(TriedOut(addresses=await try_channels(call.ctx, actor=call.caller.actor)))


def _who(call: Call) -> Who:
    """The merchant of the key; the owner who names none sees everything."""
    everything = OWNER in call.caller.scopes and call.caller.merchant_id is None
    return System("alerts, for the owner") if everything else call.who


def alert_out(alert: Alert, deliveries: list[Delivery] | None = None) -> AlertOut:
    """The alert as it is shown."""
    return AlertOut(
        id=alert.id,
        rule=alert.rule,
        severity=alert.severity.value,
        title=alert.title,
        detail=dict(alert.detail),
        state=alert.state.value,
        count=alert.count,
        first_at=rfc3339(alert.first_at),
        last_at=rfc3339(alert.last_at),
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=rfc3339_or_none(alert.acknowledged_at),
        ended_by=alert.ended_by,
        ended_reason=alert.ended_reason,
        ended_at=rfc3339_or_none(alert.ended_at),
        deliveries=None if deliveries is None else [_delivery_out(one) for one in deliveries],
    )


def _delivery_out(one: Delivery) -> DeliveryOut:
    return DeliveryOut(
        channel=one.channel,
        address=one.address,
        state=one.state.value,
        sent_count=one.sent_count,
        tries=one.tries,
        last_error=one.last_error,
        sent_at=rfc3339_or_none(one.sent_at),
        next_try_at=rfc3339_or_none(one.next_try_at),
    )
