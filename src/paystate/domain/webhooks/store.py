"""All SQL of events; every query is fenced by its merchant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from paystate.domain.webhooks.model import event_head, events
from paystate.domain.webhooks.rules import is_event_type
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.machinery.db import Tx, bulk_insert

NUMBER_LIMIT: Final = 5_000
"""Events that one numbering looks at; it may take a few more, to keep a resource's events together."""

EVENTS_LIMIT: Final = 1_000
EVENTS_LOCK: Final = 0x7061_6576
"""PostgreSQL's advisory lock of the numbering: "paev"."""

NEW_EVENTS: Final = "events.new"
"""Signalled when events wait for their position."""

NUMBERED_EVENTS: Final = "events.numbered"
"""Signalled when a feed has something to tell."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened to a resource; `version` is the resource's after the change."""

    merchant_id: MerchantId
    type: str
    resource_id: str
    version: int
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(NewEvent):
    """An event as it stands. `position` is None for the moment between its commit and its numbering."""

    id: str
    commit_id: str
    created_at: Instant
    position: int | None


def record_events(tx: Tx, who: Who, new: Sequence[NewEvent]) -> list[str]:
    """Write the events as one set, in the commit of what they tell about (invariant 14); answers their ids."""
    if not isinstance(who, System) and any(event.merchant_id != who for event in new):
        raise AssertionError("an event is written for its own merchant only")
    if not all(is_event_type(event.type) for event in new):
        raise AssertionError("the type of an event is resource.past_tense")
    ids = sorted(new_id("evt", tx.now) for _ in new)  # events of one call keep their order
    bulk_insert(tx, events, [_row(tx, *pair) for pair in zip(ids, new, strict=True)])
    if new:
        tx.wake(NEW_EVENTS)
    return ids


def number_events(tx: Tx, who: System) -> int:
    """Give the next positions to committed events that have none; answers how many (0: nothing waits).

    Only committed rows are seen, so a late committer simply comes later: positions have no gaps, and none is ever
    given behind one that a reader has passed. Events of one resource keep the order of its versions. Processes take
    turns.
    """
    last = _lock_head(tx)
    count = tx.execute(_numbering(who, last)).rowcount
    if count:
        tx.execute(event_head.update().values(position=last + count))
        tx.wake(NUMBERED_EVENTS)
    return count


def events_after(tx: Tx, who: Who, position: int, limit: int) -> Sequence[Event]:
    """Numbered events after the position, in order, at most EVENTS_LIMIT; System reads every merchant's."""
    statement = sa.select(events).where(events.c.position > position, _own(who)).order_by(events.c.position)
    return [_event(row) for row in tx.rows(statement.limit(min(limit, EVENTS_LIMIT)))]


def get_event(tx: Tx, who: Who, event_id: str) -> Event:
    """One event. Raises NotFound."""
    row = tx.first(sa.select(events).where(events.c.id == event_id, _own(who)))
    if row is None:
        raise NotFound("There is no such event.")
    return _event(row)


def last_position(tx: Tx, who: Who) -> int:  # noqa: ARG001 - a number that says nothing about anybody
    """The position from which a listener that wants only news starts; 0 before the first event."""
    row = tx.first(sa.select(event_head.c.position))
    return 0 if row is None else int(row.position)


def _lock_head(tx: Tx) -> int:
    """Be the only one who numbers until this transaction ends; SQLite has one writer anyway."""
    if not tx.on_sqlite:
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(EVENTS_LOCK)))
    bulk_insert(tx, event_head, [{"id": 1, "position": 0}], skip_existing=["id"])
    return int(tx.execute(sa.select(event_head.c.position)).scalar_one())


def _numbering(who: System, last: int) -> sa.Update:
    """Clocks of two commits may disagree: an event counts as no older than its resource's one before."""
    waiting = (events.c.position.is_(None), _own(who))
    oldest = sa.select(events.c.resource_id).where(*waiting).order_by(events.c.id).limit(NUMBER_LIMIT)
    age = sa.func.max(events.c.id).over(  # ids are time-ordered
        partition_by=events.c.resource_id, order_by=(events.c.version, events.c.id)
    )
    batch = (
        sa.select(events.c.id, events.c.version, age.label("age"))
        .where(*waiting, events.c.resource_id.in_(oldest))
        .subquery()
    )
    order = (batch.c.age, batch.c.version, batch.c.id)
    numbered = sa.select(batch.c.id, (sa.func.row_number().over(order_by=order) + last).label("n")).subquery()
    return events.update().where(events.c.id == numbered.c.id).values(position=numbered.c.n)


def _row(tx: Tx, event_id: str, event: NewEvent) -> dict[str, Any]:
    return {
        "id": event_id,
        "merchant_id": event.merchant_id,
        "type": event.type,
        "resource_id": event.resource_id,
        "version": event.version,
        "data": msgspec.json.encode(dict(event.data)).decode(),
        "commit_id": tx.id,
        "created_at": tx.now,
    }


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else events.c.merchant_id == who


def _event(row: sa.Row[Any]) -> Event:
    values = row._asdict()
    return Event(**{**values, "data": msgspec.json.decode(values["data"], type=dict[str, Any])})
