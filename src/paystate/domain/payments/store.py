"""All SQL that reads payments, and writes what is not a move; every query is fenced by its merchant."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.attempt_store import unsettled
from paystate.domain.payments.model import attempts, payment_moves, payments
from paystate.domain.payments.records import Payment
from paystate.domain.payments.states import PENDING, State
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import System, Who, is_id, is_short_code
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_update

_COLUMNS = [payments.c[name] for name in Payment.__struct_fields__]
_SELECT = sa.select(*_COLUMNS)

SWEEP_LIMIT = 1_000
PENDING_LIMIT = 200


class PaymentFilter(msgspec.Struct, frozen=True):
    """What a list of payments may be narrowed by; None: not at all."""

    state: State | None = None
    customer_id: str | None = None
    bundle_id: str | None = None
    reference: str | None = None
    provider: str | None = None
    created_from: Instant | None = None
    created_to: Instant | None = None


class Move(msgspec.Struct, frozen=True):
    """One row of a payment's history of states."""

    payment_id: str
    seq: int
    from_state: State | None
    to_state: State
    actor: str
    reason: str
    attempt_id: str | None
    commit_id: str
    at: Instant


def record(row: Any) -> Payment:
    """A row selected by this store as a value."""
    values = list(row)
    values[3] = State(values[3])
    return Payment(*values)


def _fenced(statement: sa.Select[Any], who: Who) -> sa.Select[Any]:
    return statement if isinstance(who, System) else statement.where(payments.c.merchant_id == who)


def get(tx: Tx, who: Who, payment_id: str) -> Payment:
    """One payment by its id. Raises NotFound, also for another merchant's."""
    if not is_id("pay", payment_id):
        raise NotFound("There is no such payment.")
    row = tx.first(_fenced(_SELECT.where(payments.c.id == payment_id), who))
    if row is None:
        raise NotFound("There is no such payment.")
    return record(row)


def get_many(tx: Tx, who: Who, ids: Sequence[str]) -> dict[str, Payment]:
    """The payments by id, unlocked."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {
        row.id: record(row)
        for row in tx.rows(_fenced(_SELECT.where(tx.any_of(payments.c.id, wanted, "ids")), who))
    }


def find_link(tx: Tx, who: Who, id_or_code: str) -> Payment:
    """One payment by its id or its short code. Raises NotFound."""
    if is_short_code(id_or_code):
        row = tx.first(_fenced(_SELECT.where(payments.c.short_code == id_or_code), who))
        if row is not None:
            return record(row)
        raise NotFound("There is no such payment link.")
    return get(tx, who, id_or_code)


def lock(tx: Tx, who: Who, ids: Sequence[str]) -> dict[str, Payment]:
    """The payments by id, locked in id order until the commit; unknown ones are missing."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    statement = _fenced(_SELECT.where(tx.any_of(payments.c.id, wanted, "ids")), who)
    return {row.id: record(row) for row in tx.rows(statement.order_by(payments.c.id).with_for_update())}


def list_page(tx: Tx, who: Who, page: PageRequest, narrowed: PaymentFilter) -> Page[Payment]:
    """Payments, newest first."""
    statement = _fenced(_SELECT, who)
    c = payments.c
    conditions = (
        (narrowed.state, c.state == (narrowed.state or "")),
        (narrowed.customer_id, c.customer_id == narrowed.customer_id),
        (narrowed.bundle_id, c.bundle_id == narrowed.bundle_id),
        (narrowed.reference, c.reference == narrowed.reference),
        (narrowed.provider, c.payment_method == (narrowed.provider or "").upper()),
        (narrowed.created_from, c.created_at >= (narrowed.created_from or 0)),
        (narrowed.created_to, c.created_at < (narrowed.created_to or 0)),
    )
    for value, condition in conditions:
        if value is not None:
            statement = statement.where(condition)
    if page.after is not None:
        statement = statement.where(c.id < page.after)
    found = [record(row) for row in tx.rows(statement.order_by(c.id.desc()).limit(page.limit + 1))]
    return page_of(found, [p.id for p in found], page.limit)


def by_reference(tx: Tx, who: Who, merchant_id: str, reference: str) -> Payment | None:
    """The merchant's payment with this reference of theirs."""
    c = payments.c
    row = tx.first(_fenced(_SELECT.where(c.merchant_id == merchant_id, c.reference == reference), who))
    return None if row is None else record(row)


def holder_of_slot(tx: Tx, who: Who, merchant_id: str, slot: str) -> Payment | None:
    """The payment that holds the slot now."""
    c = payments.c
    row = tx.first(_fenced(_SELECT.where(c.merchant_id == merchant_id, c.slot_key == slot), who))
    return None if row is None else record(row)


def pending_of_customer(tx: Tx, who: Who, customer_id: str) -> list[Payment]:
    """A customer's pending payments, oldest first."""
    c = payments.c
    pending = [s.value for s in sorted(PENDING)]
    statement = _SELECT.where(
        c.customer_id == customer_id, c.state.in_(pending), c.cancel_requested_at.is_(None)
    )
    return [record(row) for row in tx.rows(_fenced(statement, who).order_by(c.id).limit(PENDING_LIMIT))]


DuePosition = tuple[Instant, str]
"""(when its clock ran out, id): where a sweep stands."""

_HELD = sa.exists().where(attempts.c.payment_id == payments.c.id, unsettled())
"""A provider may still take money for it."""


class PastDue(msgspec.Struct, frozen=True):
    """A payment whose clock ran out; `held` by an attempt that must be asked about first, `ends` when nothing holds it."""

    due_at: Instant
    id: str
    held: bool
    ends: bool

    @property
    def position(self) -> DuePosition:
        return self.due_at, self.id


def _ends(tx: Tx) -> sa.ColumnElement[bool]:
    """Two hours of verification end in OPEN while `expiresAt` lies ahead; everything else past its clock ends."""
    c = payments.c
    still_open = sa.and_(c.state == State.PENDING_VERIFICATION.value, c.expires_at > tx.now)
    return ~sa.func.coalesce(still_open, sa.false())


def past_due(tx: Tx, who: System, *, after: DuePosition | None, limit: int) -> list[PastDue]:
    """Payments whose clock ran out, the longest due first; each page costs the same, however many there are."""
    del who
    c = payments.c
    statement = sa.select(c.due_at, c.id, _HELD, _ends(tx)).where(c.due_at <= tx.now)
    if after is not None:
        statement = statement.where(
            sa.tuple_(c.due_at, c.id) > sa.tuple_(sa.literal(after[0]), sa.literal(after[1]))
        )
    found = tx.rows(statement.order_by(c.due_at, c.id).limit(limit))
    return [PastDue(Instant(row[0]), row[1], bool(row[2]), bool(row[3])) for row in found]


def lock_due_without_attempt(tx: Tx, who: System, ids: Sequence[str]) -> list[Payment]:
    """Those of these payments that are still past due now, locked in id order.

    First the locks, then the look: what a start committed while we waited for its lock is seen.
    """
    del who
    named = tx.any_of(payments.c.id, sorted(set(ids)), "ids")
    if not tx.on_sqlite:
        tx.rows(sa.select(payments.c.id).where(named).order_by(payments.c.id).with_for_update())
    over = sa.and_(payments.c.due_at <= tx.now, _ends(tx), ~_HELD)
    return [record(row) for row in tx.rows(_SELECT.where(named, over).order_by(payments.c.id))]


def of_orders(tx: Tx, who: System, order_ids: Sequence[str]) -> list[Payment]:
    """Every payment for these orders, in any state, by id."""
    del who
    wanted = tx.any_of(payments.c.order_id, sorted(order_ids), "order_ids")
    return [record(row) for row in tx.rows(_SELECT.where(wanted).order_by(payments.c.id))]


_TAKE_SLOTS = sa.text(
    "SELECT pg_advisory_xact_lock(h) FROM "
    "(SELECT hashtextextended(s, 0) AS h FROM unnest(CAST(:slots AS text[])) AS s ORDER BY 1) AS sorted"
)


def slots_with_a_paid_payment(tx: Tx, who: System, candidates: Sequence[Payment]) -> set[str]:
    """Ids of those candidates whose slot another payment has paid since they were opened (a renewal is no duplicate).

    On PostgreSQL the slots are taken first, so that two payments of one slot cannot both be the first to be paid.
    """
    del who
    slots = sorted({p.slot for p in candidates if p.slot is not None})
    if not slots:
        return set()
    if not tx.on_sqlite:
        tx.rows(_TAKE_SLOTS, {"slots": slots})
    c = payments.c
    found = tx.rows(
        sa.select(c.merchant_id, c.slot, c.id, c.transaction_at).where(
            tx.any_of(c.slot, slots, "slots"), c.state == State.PAID.value
        )
    )
    paid = {(row.merchant_id, row.slot, row.id, row.transaction_at) for row in found}
    return {
        p.id
        for p in candidates
        for merchant_id, slot, payment_id, at in paid
        if (merchant_id, slot) == (p.merchant_id, p.slot)
        and payment_id != p.id
        and (at or 0) >= (p.opened_at or 0)
    }


def touch(tx: Tx, who: Who, changed: Sequence[Payment], **values: Any) -> None:
    """Write these same values to each payment, as a change a client can see; never the state."""
    del who
    if "state" in values or "seq" in values:
        raise AssertionError("a state changes only by a move")
    rows = [{"id": p.id, **values, "version": p.version + 1, "updated_at": tx.now} for p in changed]
    bulk_update(tx, payments, rows, keys=["id"])


def update_fields(tx: Tx, who: Who, payment: Payment, values: Mapping[str, Any]) -> None:
    """Write these values to one payment, as a change a client can see; never the state."""
    touch(tx, who, [payment], **values)


def moves_of(tx: Tx, who: Who, payment_id: str) -> list[Move]:
    """A payment's history, oldest first."""
    columns = [payment_moves.c[name] for name in Move.__struct_fields__]
    statement = sa.select(*columns).where(payment_moves.c.payment_id == payment_id)
    if not isinstance(who, System):
        statement = statement.where(payment_moves.c.merchant_id == who)
    return [
        Move(row[0], row[1], None if row[2] is None else State(row[2]), State(row[3]), *row[4:])
        for row in map(tuple, tx.rows(statement.order_by(payment_moves.c.seq)))
    ]
