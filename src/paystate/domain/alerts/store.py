"""All SQL of alerts: raised once for each cause, counted, acknowledged, resolved, listed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.alerts.delivery_store import again, tell
from paystate.domain.alerts.model import alerts
from paystate.domain.alerts.rules import Address, AlertState, NewAlert, Severity
from paystate.kit.clock import DAY, Instant
from paystate.kit.errors import Conflict, NotFound, invalid
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert

REMIND_AFTER = DAY
REMIND_LIMIT = 500
MAX_STANDING = 5_000
"""Alerts of one rule that are compared with what is true now; the rest waits for the next look."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it stands; `count` times its cause was seen between `first_at` and `last_at`."""

    id: str
    merchant_id: MerchantId | None
    rule: str
    fingerprint: str
    severity: Severity
    title: str
    detail: Mapping[str, Any]
    state: AlertState
    count: int
    first_at: Instant
    last_at: Instant
    told_at: Instant
    acknowledged_by: str | None
    acknowledged_at: Instant | None
    ended_by: str | None
    ended_reason: str | None
    ended_at: Instant | None


def raise_alert(tx: Tx, who: Who, new: NewAlert, to: Collection[Address]) -> bool:
    """Tell these addresses of a cause, in this commit; whether it is news.

    One that is told already gets one more on its count, and the words of now; nobody is told again for that.
    """
    if not isinstance(who, System) and new.merchant_id != who:
        raise AssertionError("an alert is raised for its own merchant only")
    a = alerts.c
    detail = msgspec.json.encode(dict(new.detail)).decode()
    told = alerts.update().where(a.fingerprint == new.fingerprint, a.state != AlertState.RESOLVED.value)
    seen = {"count": a.count + 1, "last_at": tx.now, "title": new.title, "detail": detail}
    if tx.execute(told.values(**seen)).rowcount:
        return False
    row = {
        "id": new_id("alt", tx.now),
        "merchant_id": new.merchant_id,
        "rule": new.rule,
        "fingerprint": new.fingerprint,
        "severity": new.severity.value,
        "title": new.title,
        "detail": detail,
        "state": AlertState.OPEN.value,
        "count": 1,
        "first_at": tx.now,
        "last_at": tx.now,
        "told_at": tx.now,
    }
    made = bulk_insert(tx, alerts, [row], skip_existing=(), returning="id")
    tell(tx, who, made, to)
    return bool(made)


def resolve_alert(tx: Tx, who: Who, fingerprint: str, *, by: str) -> bool:
    """The cause is gone; whether there was an alert of it."""
    a = alerts.c
    found = alerts.update().where(
        a.fingerprint == fingerprint, a.state != AlertState.RESOLVED.value, _own(who)
    )
    ended = {"state": AlertState.RESOLVED.value, "ended_by": by, "ended_at": tx.now}
    return tx.execute(found.values(**ended)).rowcount == 1


def standing(tx: Tx, who: Who, rule: str) -> Sequence[Alert]:
    """The alerts of this rule that are not resolved, the oldest first."""
    found = sa.select(alerts).where(
        alerts.c.rule == rule, alerts.c.state != AlertState.RESOLVED.value, _own(who)
    )
    return [_alert(row) for row in tx.rows(found.order_by(alerts.c.id).limit(MAX_STANDING))]


def get_alert(tx: Tx, who: Who, alert_id: str) -> Alert:
    """One alert. Raises NotFound."""
    row = tx.first(sa.select(alerts).where(alerts.c.id == alert_id, _own(who)))
    if row is None:
        raise NotFound("There is no such alert.")
    return _alert(row)


def acknowledge(tx: Tx, who: Who, alert_id: str, *, by: str) -> Alert:
    """Somebody looks after it, so no reminder follows; a second time changes nothing.

    Raises NotFound, Conflict `invalid_state` for a resolved one.
    """
    known = get_alert(tx, who, alert_id)
    if known.state is AlertState.ACKNOWLEDGED:
        return known
    now = {"state": AlertState.ACKNOWLEDGED.value, "acknowledged_by": by, "acknowledged_at": tx.now}
    return _change(tx, who, alert_id, now)


def resolve(tx: Tx, who: Who, alert_id: str, *, by: str, reason: str) -> Alert:
    """A person says that it is over. When the cause still stands, the next look raises a new one.

    Raises Refused `reason_required`, NotFound, Conflict `invalid_state` for a resolved one.
    """
    if not reason.strip():
        raise invalid("/reason", "reason_required", "Resolving an alert needs a reason.")
    ended = {"state": AlertState.RESOLVED.value, "ended_by": by, "ended_reason": reason, "ended_at": tx.now}
    return _change(tx, who, alert_id, ended)


def remind(tx: Tx, who: System, to: Collection[Address]) -> int:
    """Tell again of alerts nobody has acknowledged for a day; answers how many."""
    a = alerts.c
    old = sa.select(a.id).where(a.state == AlertState.OPEN.value, a.told_at <= tx.now - REMIND_AFTER)
    chosen = old.order_by(a.told_at).limit(REMIND_LIMIT).scalar_subquery()
    again_now = alerts.update().where(a.id.in_(chosen)).values(told_at=tx.now).returning(a.id)
    ids = [row.id for row in tx.rows(again_now)]
    tell(tx, who, ids, to)
    again(tx, who, ids)
    return len(ids)


def list_alerts(
    tx: Tx, who: Who, page: PageRequest, *, state: AlertState | None = None, ended: bool = True
) -> Page[Alert]:
    """Alerts, newest first; of one state, or all, or without those that have `ended`."""
    statement = sa.select(alerts).where(_own(who))
    if not ended:
        statement = statement.where(alerts.c.state != AlertState.RESOLVED.value)
    if state is not None:
        statement = statement.where(alerts.c.state == state.value)
    if page.after is not None:
        statement = statement.where(alerts.c.id < page.after)
    rows = [_alert(row) for row in tx.rows(statement.order_by(alerts.c.id.desc()).limit(page.limit + 1))]
    return page_of(rows, [row.id for row in rows], page.limit)


def count_standing(tx: Tx, who: Who) -> Mapping[str, int]:
    """How many alerts are not resolved, by severity."""
    a = alerts.c
    counted = sa.select(a.severity, sa.func.count()).where(a.state != AlertState.RESOLVED.value, _own(who))
    return {str(severity): int(count) for severity, count in tx.rows(counted.group_by(a.severity))}


def _change(tx: Tx, who: Who, alert_id: str, values: Mapping[str, Any]) -> Alert:
    a = alerts.c
    statement = alerts.update().where(a.id == alert_id, a.state != AlertState.RESOLVED.value, _own(who))
    row = tx.first(statement.values(**values).returning(*a))
    if row is None:
        get_alert(tx, who, alert_id)
        raise Conflict("The alert is already resolved.")
    return _alert(row)


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else alerts.c.merchant_id == who


def _alert(row: sa.Row[Any]) -> Alert:
    values = row._asdict()
    return Alert(
        **{
            **values,
            "severity": Severity(values["severity"]),
            "state": AlertState(values["state"]),
            "detail": msgspec.json.decode(values["detail"]),
        }
    )
