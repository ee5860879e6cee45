"""All SQL of the deliveries of alerts: one row for each address, claimed, sent, tried again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from paystate.domain.alerts.model import alert_deliveries, alerts
from paystate.domain.alerts.rules import Address, DeliveryState, wait_after
from paystate.kit.clock import Instant
from paystate.kit.ids import System, Who, new_id
from paystate.machinery.db import Tx, bulk_insert

NEW_ALERTS = "alerts"
"""The channel on which the worker hears that there is something to tell."""

CLAIM_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Delivery:
    """One address that is to be told of one alert, or was."""

    id: str
    alert_id: str
    channel: str
    address: str
    state: DeliveryState
    round: int
    tries: int
    sent_count: int
    next_try_at: Instant | None
    lease_until: Instant | None
    claim_no: int
    last_error: str | None
    sent_at: Instant | None
    created_at: Instant


def tell(tx: Tx, who: Who, alert_ids: Sequence[str], to: Collection[Address]) -> None:
    """A delivery for each alert and address that has none yet."""
    del who
    rows = [
        {
            "id": new_id("ald", tx.now),
            "alert_id": alert_id,
            "channel": one.channel,
            "address": one.address,
            "state": DeliveryState.PENDING.value,
            "round": 0,
            "tries": 0,
            "sent_count": 0,
            "next_try_at": tx.now,
            "claim_no": 0,
            "created_at": tx.now,
        }
        for alert_id in alert_ids
        for one in sorted(to)
    ]
    if rows:
        bulk_insert(tx, alert_deliveries, rows, skip_existing=("alert_id", "channel", "address"))
        tx.wake(NEW_ALERTS)


def again(tx: Tx, who: System, alert_ids: Sequence[str]) -> None:
    """A reminder: whatever was sent, or given up, is sent once more."""
    del who
    d = alert_deliveries.c
    ended = alert_deliveries.update().where(
        tx.any_of(d.alert_id, list(alert_ids), "alert_ids"), d.state != DeliveryState.PENDING.value
    )
    due = {"state": DeliveryState.PENDING.value, "round": d.round + 1, "tries": 0, "next_try_at": tx.now}
    tx.execute(ended.values(**due))


def claim_due(tx: Tx, who: System, lease_us: int) -> list[Delivery]:
    """Take deliveries whose time has come and that nobody is sending."""
    del who
    d = alert_deliveries.c
    free = sa.or_(d.lease_until.is_(None), d.lease_until <= tx.now)
    chosen = sa.select(d.id).where(d.next_try_at <= tx.now, free).order_by(d.next_try_at).limit(CLAIM_LIMIT)
    taken = alert_deliveries.update().where(
        d.id.in_(chosen.with_for_update(skip_locked=True).scalar_subquery())
    )
    held = taken.values(lease_until=tx.now + lease_us, claim_no=d.claim_no + 1).returning(*d)
    return [_delivery(row) for row in tx.rows(held)]


def sent(tx: Tx, who: System, held: Delivery) -> bool:
    """It went out; False when the claim was lost meanwhile."""
    del who
    d = alert_deliveries.c
    done: dict[str, Any] = {
        "state": DeliveryState.SENT.value,
        "sent_at": tx.now,
        "sent_count": d.sent_count + 1,
    }
    done |= {"tries": d.tries + 1, "next_try_at": None, "lease_until": None, "last_error": None}
    return tx.execute(_held(held).values(**done)).rowcount == 1


def not_sent(tx: Tx, who: System, held: Delivery, error: str) -> bool:
    """It did not go out: it is tried again after a growing while, or given up."""
    del who
    d = alert_deliveries.c
    wait = wait_after(held.tries + 1)
    state = DeliveryState.FAILED if wait is None else DeliveryState.PENDING
    later: dict[str, Any] = {"state": state.value, "next_try_at": None if wait is None else tx.now + wait}
    later |= {"tries": d.tries + 1, "lease_until": None, "last_error": error}
    return tx.execute(_held(held).values(**later)).rowcount == 1


def of_alerts(tx: Tx, who: Who, alert_ids: Sequence[str]) -> list[Delivery]:
    """Who is told of these alerts, and what became of it."""
    d = alert_deliveries.c
    own = sa.true() if isinstance(who, System) else alerts.c.merchant_id == who
    found = sa.select(alert_deliveries).join(alerts, alerts.c.id == d.alert_id)
    found = found.where(tx.any_of(d.alert_id, list(alert_ids), "alert_ids"), own)
    return [_delivery(row) for row in tx.rows(found.order_by(d.channel, d.address))]


def _held(held: Delivery) -> sa.Update:
    d = alert_deliveries.c
    return alert_deliveries.update().where(d.id == held.id, d.claim_no == held.claim_no)


def _delivery(row: sa.Row[Any]) -> Delivery:
    values = row._asdict()
    return Delivery(**{**values, "state": DeliveryState(values["state"])})
