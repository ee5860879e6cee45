"""All SQL of the inbox of providers' messages; every query is fenced by its merchant."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from paystate.domain.connections.model import provider_events
from paystate.domain.connections.rules import EventState
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_update

DUE_LIMIT = 1_000
TRACE_KEY = '"trace":"'
"""How a handle to ask with looks inside `named`; rows of most providers have none."""


@dataclass(frozen=True, slots=True)
class NewProviderEvent:
    """A message as it came; the caller makes the `id` first (``pev_``), because the body is sealed for it."""

    id: str
    merchant_id: MerchantId
    connection_id: str
    provider_event_id: str
    type: str
    body: str = field(repr=False)
    body_hash: str
    authentic: bool
    named: Any
    state: EventState = EventState.RECEIVED


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One message of a provider, without its body. `named` is what it names, as the adapter read it."""

    id: str
    merchant_id: MerchantId
    connection_id: str
    provider_event_id: str
    type: str
    body_hash: str
    authentic: bool
    named: Any
    state: EventState
    attempt_id: str | None
    deliveries: int
    retry_at: Instant | None
    received_at: Instant
    handled_at: Instant | None


class Receipt(NamedTuple):
    """What became of a delivery: the row it is in, whether it is the first, whether it now says something else."""

    id: str
    is_new: bool
    body_changed: bool


_COLUMNS = [c for c in provider_events.c if c.name != "body"]
_NAMES = [c.name for c in provider_events.c]

_RECEIVE = sa.text(
    f"INSERT INTO provider_events ({', '.join(_NAMES)}) VALUES ({', '.join(f':{name}' for name in _NAMES)}) "
    "ON CONFLICT (connection_id, provider_event_id) DO UPDATE SET deliveries = provider_events.deliveries + 1 "
    "RETURNING id, body_hash"
)


def receive(tx: Tx, who: Who, new: NewProviderEvent) -> Receipt:
    """Store a message once: a repeat only adds to `deliveries` of the row that stands (invariant 17)."""
    if not isinstance(who, System) and new.merchant_id != who:
        raise AssertionError("a message is stored for its own merchant only")
    values = {
        **{name: getattr(new, name) for name in _NAMES if hasattr(new, name)},
        "state": new.state.value,
        "named": msgspec.json.encode(new.named).decode(),
        "attempt_id": None,
        "deliveries": 1,
        "retry_at": None,
        "received_at": tx.now,
        "handled_at": None,
    }
    row = tx.execute(_RECEIVE, values).one()
    return Receipt(row.id, row.id == new.id, row.body_hash != new.body_hash)


def unsigned_of(tx: Tx, who: Who, attempt_id: str, at_most: int) -> int:
    """How many unsigned messages named this attempt, counted up to `at_most`."""
    c = provider_events.c
    some = sa.select(sa.literal(1)).where(c.attempt_id == attempt_id, ~c.authentic, _own(who)).limit(at_most)
    row = tx.first(sa.select(sa.func.count()).select_from(some.subquery("some")))
    return 0 if row is None else int(row[0])


def mark_handled(tx: Tx, who: Who, attempts: Mapping[str, str | None]) -> int:
    """These messages are dealt with; event id → the attempt it named, if one. Answers how many were found."""
    return _mark(tx, who, [(event, EventState.HANDLED, attempt, None) for event, attempt in attempts.items()])


def mark_ignored(tx: Tx, who: Who, ids: Collection[str]) -> int:
    """These messages are none of our business."""
    return _mark(tx, who, [(event, EventState.IGNORED, None, None) for event in ids])


def mark_unmatched(tx: Tx, who: Who, ids: Collection[str], *, retry_at: Instant | None) -> int:
    """These messages name nothing we know; look again at `retry_at`, or (None) never by ourselves."""
    return _mark(tx, who, [(event, EventState.UNMATCHED, None, retry_at) for event in ids])


def due_unmatched(tx: Tx, who: System, limit: int) -> Sequence[ProviderEvent]:
    """Unmatched messages to be looked at again now, the longest due first."""
    statement = (
        sa.select(*_COLUMNS)
        .where(provider_events.c.retry_at <= tx.now, _own(who))
        .order_by(provider_events.c.retry_at, provider_events.c.id)
    )
    return [_event(row) for row in tx.rows(statement.limit(min(limit, DUE_LIMIT)))]


def get_provider_event(tx: Tx, who: Who, event_id: str) -> ProviderEvent:
    """One message. Raises NotFound."""
    row = tx.first(sa.select(*_COLUMNS).where(provider_events.c.id == event_id, _own(who)))
    if row is None:
        raise _unknown()
    return _event(row)


def sealed_body(tx: Tx, who: Who, event_id: str) -> str:
    """The sealed bytes of one message; `body_aad` says where they open. Raises NotFound."""
    row = tx.first(sa.select(provider_events.c.body).where(provider_events.c.id == event_id, _own(who)))
    if row is None:
        raise _unknown()
    return str(row.body)


def list_provider_events(
    tx: Tx, who: Who, page: PageRequest, *, state: EventState | None = None
) -> Page[ProviderEvent]:
    """Messages, newest first."""
    statement = sa.select(*_COLUMNS).where(_own(who))
    if state is not None:
        statement = statement.where(provider_events.c.state == state)
    if page.after is not None:
        statement = statement.where(provider_events.c.id < page.after)
    rows = [
        _event(row) for row in tx.rows(statement.order_by(provider_events.c.id.desc()).limit(page.limit + 1))
    ]
    return page_of(rows, [row.id for row in rows], page.limit)


def traces_of(tx: Tx, who: System, attempt_ids: Sequence[str], at_most: int) -> dict[str, tuple[str, ...]]:
    """The handles to ask with that messages brought for these attempts, the newest first."""
    del who
    c = provider_events.c
    statement = sa.select(c.attempt_id, c.named).where(
        tx.any_of(c.attempt_id, sorted(attempt_ids), "attempt_ids"), c.named.contains(TRACE_KEY)
    )
    found: dict[str, dict[str, None]] = {}
    for row in tx.rows(statement.order_by(c.received_at.desc(), c.id.desc()).limit(DUE_LIMIT)):
        traces = found.setdefault(row.attempt_id, {})
        for named in msgspec.json.decode(row.named):
            if named.get("trace") and len(traces) < at_most:
                traces[named["trace"]] = None
    return {attempt_id: tuple(traces) for attempt_id, traces in found.items()}


Mark = tuple[str, EventState, str | None, Instant | None]


def _mark(tx: Tx, who: Who, marks: Sequence[Mark]) -> int:
    fence = {} if isinstance(who, System) else {"merchant_id": who}
    rows = [
        {
            "id": event,
            **fence,
            "state": state.value,
            "attempt_id": attempt,
            "retry_at": retry_at,
            "handled_at": None if state is EventState.UNMATCHED else tx.now,
        }
        for event, state, attempt, retry_at in sorted(marks)
    ]
    return bulk_update(tx, provider_events, rows, keys=["id", *fence])


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else provider_events.c.merchant_id == who


def _unknown() -> NotFound:
    return NotFound("There is no such provider event.")


def _event(row: sa.Row[Any]) -> ProviderEvent:
    values = row._asdict()
    return ProviderEvent(
        **{**values, "state": EventState(values["state"]), "named": msgspec.json.decode(values["named"])}
    )
