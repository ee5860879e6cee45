"""All SQL of the audit log but its chain: entries are written, numbered and read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from paystate.domain.audit.model import audit_log
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert

NUMBER_LIMIT: Final = 5_000
"""Entries numbered in one transaction; the caller comes again while a full batch was numbered."""

CHAIN_LOCK: Final = 0x7061_7561
"""PostgreSQL's advisory lock of everything that extends the chain: "paua"."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which thing, and why. `before` and `after` hold what changed, and never a secret."""

    merchant_id: MerchantId | None
    actor: str
    action: str
    resource_id: str
    before: Mapping[str, Any] = field(repr=False)
    after: Mapping[str, Any] = field(repr=False)
    reason: str
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An entry as it stands. `position` is None for the moment between its commit and its numbering."""

    id: str
    commit_id: str
    at: Instant
    position: int | None


def record(tx: Tx, who: Who, entries: Sequence[AuditEntry]) -> None:
    """Write the entries as one set, in the commit of what they tell about (invariant 21)."""
    if not isinstance(who, System) and any(entry.merchant_id != who for entry in entries):
        raise AssertionError("an audit entry is written for its own merchant only")
    ids = sorted(new_id("aud", tx.now) for _ in entries)  # entries of one call keep their order
    bulk_insert(tx, audit_log, [_row(tx, *pair) for pair in zip(ids, entries, strict=True)])


def list_entries(
    tx: Tx, who: Who, page: PageRequest, *, resource_id: str | None = None, actor: str | None = None
) -> Page[AuditRecord]:
    """Entries, newest first; only `System` sees those of the installation itself."""
    statement = sa.select(audit_log).where(_own(who))
    if resource_id is not None:
        statement = statement.where(audit_log.c.resource_id == resource_id)
    if actor is not None:
        statement = statement.where(audit_log.c.actor == actor)
    if page.after is not None:
        statement = statement.where(audit_log.c.id < page.after)
    rows = [_record(row) for row in tx.rows(statement.order_by(audit_log.c.id.desc()).limit(page.limit + 1))]
    return page_of(rows, [row.id for row in rows], page.limit)


def number_entries(tx: Tx, who: System) -> int:
    """Give the next positions to committed entries that have none; answers how many, at most NUMBER_LIMIT.

    Only committed rows are seen, so a late committer simply comes later: positions have no gaps, and none is ever
    given behind one that a reader has passed. Processes take turns.
    """
    lock_chain(tx, who)
    last = tx.execute(sa.select(sa.func.coalesce(sa.func.max(audit_log.c.position), 0))).scalar_one()
    waiting = sa.select(audit_log.c.id).where(audit_log.c.position.is_(None), _own(who))
    batch = waiting.order_by(audit_log.c.id).limit(NUMBER_LIMIT).subquery()
    numbered = sa.select(
        batch.c.id, (sa.func.row_number().over(order_by=batch.c.id) + last).label("n")
    ).subquery()
    statement = audit_log.update().where(audit_log.c.id == numbered.c.id).values(position=numbered.c.n)
    return tx.execute(statement).rowcount


def lock_chain(tx: Tx, who: System) -> None:
    """Be the only one who extends the chain until this transaction ends; SQLite has one writer anyway."""
    del who
    if not tx.on_sqlite:
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(CHAIN_LOCK)))


def _row(tx: Tx, entry_id: str, entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry_id,
        "merchant_id": entry.merchant_id,
        "actor": entry.actor,
        "action": entry.action,
        "resource_id": entry.resource_id,
        "before": _json(entry.before),
        "after": _json(entry.after),
        "reason": entry.reason,
        "address": entry.address,
        "request_id": entry.request_id,
        "commit_id": tx.id,
        "at": tx.now,
    }


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else audit_log.c.merchant_id == who


def _json(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(values)).decode()


def _record(row: sa.Row[Any]) -> AuditRecord:
    values = row._asdict()
    return AuditRecord(
        **{
            **values,
            **{name: msgspec.json.decode(values[name], type=dict[str, Any]) for name in ("before", "after")},
        }
    )
