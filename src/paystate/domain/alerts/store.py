"""All SQL of alerts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.alerts.model import alerts
from paystate.domain.alerts.rules import AlertState, NewAlert, Severity
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert


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
    ended_by: str | None
    ended_at: Instant | None


def raise_alert(tx: Tx, who: Who, new: NewAlert) -> bool:
    """Tell of a cause; whether it is news. One that is told already gets one more on its count."""
    if not isinstance(who, System) and new.merchant_id != who:
        raise AssertionError("an alert is raised for its own merchant only")
    a = alerts.c
    told = alerts.update().where(a.fingerprint == new.fingerprint, a.state != AlertState.RESOLVED.value)
    if tx.execute(told.values(count=a.count + 1, last_at=tx.now)).rowcount:
        return False
    row = {
        "id": new_id("alt", tx.now),
        "merchant_id": new.merchant_id,
        "rule": new.rule,
        "fingerprint": new.fingerprint,
        "severity": new.severity.value,
        "title": new.title,
        "detail": msgspec.json.encode(dict(new.detail)).decode(),
        "state": AlertState.OPEN.value,
        "count": 1,
        "first_at": tx.now,
        "last_at": tx.now,
        "ended_by": None,
        "ended_at": None,
    }
    return bool(bulk_insert(tx, alerts, [row], skip_existing=(), returning="id"))


def resolve_alert(tx: Tx, who: Who, fingerprint: str, *, by: str) -> bool:
    """The cause is gone; whether there was an alert of it."""
    a = alerts.c
    found = alerts.update().where(
        a.fingerprint == fingerprint, a.state != AlertState.RESOLVED.value, _own(who)
    )
    ended = {"state": AlertState.RESOLVED.value, "ended_by": by, "ended_at": tx.now}
    return tx.execute(found.values(**ended)).rowcount == 1


def list_alerts(tx: Tx, who: Who, page: PageRequest, *, state: AlertState | None = None) -> Page[Alert]:
    """Alerts, newest first."""
    statement = sa.select(alerts).where(_own(who))
    if state is not None:
        statement = statement.where(alerts.c.state == state.value)
    if page.after is not None:
        statement = statement.where(alerts.c.id < page.after)
    rows = [_alert(row) for row in tx.rows(statement.order_by(alerts.c.id.desc()).limit(page.limit + 1))]
    return page_of(rows, [row.id for row in rows], page.limit)


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
