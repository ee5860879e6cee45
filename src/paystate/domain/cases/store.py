"""All SQL of cases; every query is fenced by its merchant."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.cases.model import cases
from paystate.domain.cases.rules import CaseState, NewCase, fingerprint
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, NotFound, invalid
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert


@dataclass(frozen=True, slots=True)
class Case:
    """Something a person must decide, or has decided."""

    id: str
    merchant_id: MerchantId
    payment_id: str | None
    attempt_id: str | None
    reason: str
    evidence: Mapping[str, Any]
    suggested_action: str
    state: CaseState
    snoozed_until: Instant | None
    resolution: str | None
    resolution_reason: str | None
    resolved_by: str | None
    created_at: Instant
    resolved_at: Instant | None


OPEN_LIMIT = 100
"""Open cases of one payment that a decision looks at; each has another cause."""

_COLUMNS = [c for c in cases.c if c.name not in ("fingerprint", "lasting")]


def open_cases(tx: Tx, who: Who, new: Sequence[NewCase]) -> list[str]:
    """Open these cases as one set; answers the ids of the fresh ones: a cause that has its case is left out."""
    if not isinstance(who, System) and any(case.merchant_id != who for case in new):
        raise AssertionError("a case is opened for its own merchant only")
    rows = [_row(tx, case) for case in new]
    rows.sort(key=itemgetter("fingerprint"))  # one order for all writers: no two wait for each other
    return bulk_insert(tx, cases, rows, skip_existing=(), returning="id")


def get_case(tx: Tx, who: Who, case_id: str) -> Case:
    """One case. Raises NotFound."""
    row = tx.first(sa.select(*_COLUMNS).where(cases.c.id == case_id, _own(who)))
    if row is None:
        raise NotFound("There is no such case.")
    return _case(row)


def list_cases(
    tx: Tx, who: Who, page: PageRequest, *, state: CaseState | None = None, payment_id: str | None = None
) -> Page[Case]:
    """Cases, newest first."""
    statement = sa.select(*_COLUMNS).where(_own(who))
    if state is not None:
        statement = statement.where(cases.c.state == state)
    if payment_id is not None:
        statement = statement.where(cases.c.payment_id == payment_id)
    if page.after is not None:
        statement = statement.where(cases.c.id < page.after)
    rows = [_case(row) for row in tx.rows(statement.order_by(cases.c.id.desc()).limit(page.limit + 1))]
    return page_of(rows, [row.id for row in rows], page.limit)


def lock_open(tx: Tx, who: Who, *, payment_id: str) -> list[Case]:
    """The open cases of a payment, locked until the commit, newest first; payments come before cases in the lock order."""
    statement = sa.select(*_COLUMNS).where(
        cases.c.payment_id == payment_id, cases.c.state == CaseState.OPEN, _own(who)
    )
    rows = tx.rows(statement.order_by(cases.c.id).limit(OPEN_LIMIT).with_for_update())
    return [_case(row) for row in reversed(rows)]


def count_open(tx: Tx, who: Who) -> int:
    """How many cases wait for a person."""
    statement = (
        sa.select(sa.func.count()).select_from(cases).where(cases.c.state == CaseState.OPEN, _own(who))
    )
    return int(tx.execute(statement).scalar_one())


def open_about(tx: Tx, who: System, reasons: Collection[str], *, limit: int) -> list[Case]:
    """Open cases of these reasons, the oldest first."""
    del who
    c = cases.c
    found = sa.select(*_COLUMNS).where(c.state == CaseState.OPEN, c.reason.in_(sorted(reasons)))
    return [_case(row) for row in tx.rows(found.order_by(c.id).limit(limit))]


def waiting_since(tx: Tx, who: System, *, before: Instant) -> list[tuple[MerchantId, int, Instant]]:
    """Merchants with cases that were opened before that moment, still open and not snoozed: how many, the oldest."""
    del who
    c = cases.c
    awake = sa.or_(c.snoozed_until.is_(None), c.snoozed_until <= tx.now)
    counted = sa.select(c.merchant_id, sa.func.count(), sa.func.min(c.created_at)).where(
        c.state == CaseState.OPEN, c.created_at <= before, awake
    )
    rows = tx.rows(counted.group_by(c.merchant_id).order_by(c.merchant_id))
    return [(MerchantId(row[0]), int(row[1]), Instant(row[2])) for row in rows]


def resolve(tx: Tx, who: Who, case_id: str, *, resolution: str, actor: str, reason: str) -> Case:
    """A person's decision. Raises Refused `reason_required`, NotFound, Conflict `invalid_state` for a decided one."""
    if not reason.strip():
        raise invalid("/reason", "reason_required", "A decision needs a reason.")
    return _change(
        tx,
        who,
        case_id,
        state=CaseState.RESOLVED.value,
        snoozed_until=None,
        resolution=resolution,
        resolution_reason=reason,
        resolved_by=actor,
        resolved_at=tx.now,
    )


def snooze(tx: Tx, who: Who, case_id: str, *, until: Instant) -> Case:
    """Keep waiting: the case stays open and moves nothing. Raises NotFound, Conflict `invalid_state`."""
    return _change(tx, who, case_id, snoozed_until=until)


def close_answered(
    tx: Tx,
    who: System,
    *,
    reasons: Sequence[str],
    said: str,
    payment_ids: Sequence[str] = (),
    attempt_ids: Sequence[str] = (),
) -> int:
    """Resolve the open cases of these payments or attempts that waited for what has happened by itself."""
    c = cases.c
    column, ids = (c.payment_id, payment_ids) if payment_ids else (c.attempt_id, attempt_ids)
    if not ids:
        return 0
    waiting = cases.update().where(
        tx.any_of(column, sorted(set(ids)), "ids"), c.state == CaseState.OPEN, c.reason.in_(list(reasons))
    )
    return tx.execute(
        waiting.values(
            state=CaseState.RESOLVED.value,
            snoozed_until=None,
            resolution=said,
            resolution_reason=who.reason,
            resolved_by="verification",
            resolved_at=tx.now,
        )
    ).rowcount


def _change(tx: Tx, who: Who, case_id: str, **values: Any) -> Case:
    statement = cases.update().where(cases.c.id == case_id, cases.c.state == CaseState.OPEN, _own(who))
    row = tx.first(statement.values(**values).returning(*_COLUMNS))
    if row is None:
        get_case(tx, who, case_id)
        raise Conflict("The case is already resolved.")
    return _case(row)


def _row(tx: Tx, case: NewCase) -> dict[str, Any]:
    return {
        "id": new_id("cas", tx.now),
        "merchant_id": case.merchant_id,
        "payment_id": case.payment_id,
        "attempt_id": case.attempt_id,
        "reason": case.reason,
        "fingerprint": fingerprint(case),
        "lasting": case.fact is not None,
        "evidence": msgspec.json.encode(dict(case.evidence)).decode(),
        "suggested_action": case.suggested_action,
        "state": CaseState.OPEN.value,
        "created_at": tx.now,
    }


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else cases.c.merchant_id == who


def _case(row: sa.Row[Any]) -> Case:
    values = row._asdict()
    evidence = msgspec.json.decode(values["evidence"], type=dict[str, Any])
    return Case(**{**values, "state": CaseState(values["state"]), "evidence": evidence})
