"""All SQL of attempts: recording one, claiming those that are due, making one due, writing what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from paystate.domain.payments.model import attempts, payments
from paystate.domain.payments.records import Attempt
from paystate.domain.payments.schedule import FRESH, LONG_TAIL, OLDER, look_after_hint
from paystate.domain.payments.states import OFFERED, PENDING, AttemptState, Outcome, Trigger
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import System, Who, is_id
from paystate.machinery.db import Tx, bulk_update

_COLUMNS = [attempts.c[name] for name in Attempt.__struct_fields__]
_SELECT = sa.select(*_COLUMNS)
_OFFERED = [s.value for s in sorted(OFFERED)]

ATTEMPTS_PER_PAYMENT = 50
"""More checkouts for one payment than any customer needs; a bound on lists and on abuse."""

CONNECTIONS_LIMIT = 1_000
BANDS = (FRESH, OLDER, LONG_TAIL)


def record(row: Any) -> Attempt:
    """A row selected by this store as a value."""
    values = list(row)
    values[5] = AttemptState(values[5])
    return Attempt(*values)


def _fenced(statement: sa.Select[Any], who: Who) -> sa.Select[Any]:
    return statement if isinstance(who, System) else statement.where(attempts.c.merchant_id == who)


def insert(tx: Tx, who: Who, attempt: Attempt, request: bytes, request_hash: str) -> None:
    """Record an attempt with the exact bytes it will send, before anything is sent.

    Raises IntegrityError when the payment has an offered attempt at this connection already.
    """
    del who
    row = {name: getattr(attempt, name) for name in Attempt.__struct_fields__}
    tx.execute(
        attempts.insert(),
        [row | {"state": attempt.state.value, "request": request, "request_hash": request_hash}],
    )


def get(tx: Tx, who: Who, attempt_id: str) -> Attempt:
    """One attempt by its id. Raises NotFound."""
    row = (
        tx.first(_fenced(_SELECT.where(attempts.c.id == attempt_id), who))
        if is_id("att", attempt_id)
        else None
    )
    if row is None:
        raise NotFound("There is no such attempt.")
    return record(row)


def request_of(tx: Tx, who: Who, ids: Sequence[str]) -> dict[str, bytes]:
    """The stored request bytes of these attempts."""
    c = attempts.c
    rows = tx.rows(_fenced(sa.select(c.id, c.request).where(tx.any_of(c.id, list(ids), "ids")), who))
    return {row.id: bytes(row.request) for row in rows}


def of_payments(tx: Tx, who: Who, payment_ids: Sequence[str]) -> list[Attempt]:
    """Every attempt of these payments, oldest first."""
    if not payment_ids:
        return []
    match = tx.any_of(attempts.c.payment_id, sorted(set(payment_ids)), "payment_ids")
    return [record(row) for row in tx.rows(_fenced(_SELECT.where(match), who).order_by(attempts.c.id))]


def offered(tx: Tx, who: Who, payment_id: str, connection_id: str) -> Attempt | None:
    """The attempt that occupies (payment, connection)."""
    c = attempts.c
    found = _SELECT.where(c.payment_id == payment_id, c.connection_id == connection_id, c.state.in_(_OFFERED))
    row = tx.first(_fenced(found, who))
    return None if row is None else record(row)


def lock_of_payments(tx: Tx, who: Who, payment_ids: Sequence[str]) -> list[Attempt]:
    """Every attempt of these payments, locked in id order: attempts come before payments in the lock order."""
    wanted = sorted(set(payment_ids))
    if not wanted:
        return []
    statement = _fenced(_SELECT.where(tx.any_of(attempts.c.payment_id, wanted, "payment_ids")), who)
    return [record(row) for row in tx.rows(statement.order_by(attempts.c.id).with_for_update())]


def named(
    tx: Tx, who: Who, connection_id: str, *, references: Sequence[str], checkout_ids: Sequence[str]
) -> list[Attempt]:
    """Attempts at this connection that a message names by our reference or by the provider's id."""
    c = attempts.c
    match = sa.or_(
        c.provider_reference.in_(list(references)) if references else sa.false(),
        c.checkout_id.in_(list(checkout_ids)) if checkout_ids else sa.false(),
    )
    statement = _fenced(_SELECT.where(c.connection_id == connection_id, match), who)
    return [record(row) for row in tx.rows(statement.order_by(c.id).limit(ATTEMPTS_PER_PAYMENT))]


def connections_with_due(
    tx: Tx, who: System, *, active: sa.Select[Any], at_most: int
) -> list[tuple[str, int]]:
    """Connections (of those active) that have attempts due and unleased, and how many, counted up to `at_most`."""
    del who
    c = attempts.c
    free = sa.or_(c.lease_until.is_(None), c.lease_until <= tx.now)
    listed = active.subquery("active")
    # Naming the bands lets the index answer: it is (connection, band, time).
    due = sa.select(sa.literal(1)).where(
        c.connection_id == listed.c.id, c.check_band.in_(BANDS), c.next_check_at <= tx.now, free
    )
    some = due.limit(at_most).correlate(listed).subquery("some")
    count = sa.select(sa.func.count()).select_from(some).scalar_subquery().correlate(listed)
    statement = sa.select(listed.c.id, count).where(sa.exists(due)).limit(CONNECTIONS_LIMIT)
    return [(row[0], row[1]) for row in tx.rows(statement)]


def claim(
    tx: Tx, who: System, connection_id: str, *, limit: int, lease_us: int, hinted: bool = False
) -> list[Attempt]:
    """Lease up to `limit` due attempts of a connection, the freshest band first, each with a new claim number.

    With `hinted` only those that somebody asked for, not those whose time on the schedule has come.
    """
    del who
    c = attempts.c
    free = sa.or_(c.lease_until.is_(None), c.lease_until <= tx.now)
    claimed: list[Attempt] = []
    for band in BANDS:
        if len(claimed) < limit:
            due = (
                sa.select(c.id)
                .where(
                    c.connection_id == connection_id,
                    c.check_band == band,
                    c.next_check_at <= tx.now,
                    free,
                    _asked_for() if hinted else sa.true(),
                )
                .order_by(c.next_check_at)
                .limit(limit - len(claimed))
                .with_for_update(skip_locked=True)
            )
            claimed += _lease(tx, due, lease_us)
    return claimed


def _asked_for() -> sa.ColumnElement[bool]:
    """Somebody wants to know now, or a start has to be made up for: nothing that a list could answer in time."""
    c = attempts.c
    scheduled = (Trigger.POLL.value, Trigger.START.value)
    return sa.or_(c.check_trigger.not_in(scheduled), c.state == AttemptState.CREATED.value)


def claim_these(tx: Tx, who: Who, ids: Sequence[str], *, lease_us: int) -> list[Attempt]:
    """Lease those of these attempts that nobody else is asking about, due or not."""
    c = attempts.c
    free = sa.or_(c.lease_until.is_(None), c.lease_until <= tx.now)
    chosen = sa.select(c.id).where(c.id.in_(list(ids)), free)
    if not isinstance(who, System):
        chosen = chosen.where(c.merchant_id == who)
    return _lease(tx, chosen.with_for_update(skip_locked=True), lease_us)


def claim_listed(
    tx: Tx,
    who: System,
    connection_id: str,
    *,
    references: Sequence[str],
    checkout_ids: Sequence[str],
    before: Instant,
    lease_us: int,
) -> list[Attempt]:
    """Lease the due attempts that a page of a list names, unless something new was heard of them since `before`."""
    del who
    c = attempts.c
    named = sa.or_(
        c.provider_reference.in_(list(references)) if references else sa.false(),
        c.checkout_id.in_(list(checkout_ids)) if checkout_ids else sa.false(),
    )
    chosen = sa.select(c.id).where(
        c.connection_id == connection_id,
        named,
        c.state != AttemptState.CREATED.value,
        c.next_check_at <= tx.now,
        c.created_at <= before,
        sa.or_(c.hinted_at.is_(None), c.hinted_at <= before),
        sa.or_(c.lease_until.is_(None), c.lease_until <= tx.now),
    )
    return _lease(tx, chosen.with_for_update(skip_locked=True), lease_us)


def oldest_due(tx: Tx, who: System, connection_id: str, *, since: Instant) -> Instant | None:
    """When the oldest attempt was made that is due by the schedule and no older than `since`."""
    del who
    c = attempts.c
    statement = sa.select(sa.func.min(c.created_at)).where(
        c.connection_id == connection_id,
        c.check_band.in_(BANDS),
        c.next_check_at <= tx.now,
        c.created_at >= since,
        c.state != AttemptState.CREATED.value,
    )
    found: int | None = tx.execute(statement).scalar_one()
    return None if found is None else Instant(found)


def _lease(tx: Tx, chosen: sa.Select[Any], lease_us: int) -> list[Attempt]:
    c = attempts.c
    statement = (
        attempts.update()
        .where(c.id.in_(chosen.scalar_subquery()))
        .values(lease_until=tx.now + lease_us, claim_no=c.claim_no + 1)
        .returning(*_COLUMNS)
    )
    return [record(row) for row in tx.rows(statement)]


def unsettled() -> sa.ColumnElement[bool]:
    """An attempt that keeps its payment from ending: offered, or watched and not asked (or processing) since its clock ran out."""
    c = attempts.c
    unasked = sa.or_(
        c.last_outcome == Outcome.PROCESSING.value,
        c.last_answer_at.is_(None),
        c.last_answer_at < payments.c.due_at,
    )
    watched = sa.and_(c.state == AttemptState.WATCHED.value, unasked)
    return sa.or_(c.state.in_(_OFFERED), watched, c.last_outcome == Outcome.PROCESSING.value)


def live_past_due(tx: Tx, who: System, payment_ids: Sequence[str]) -> list[Attempt]:
    """Attempts that may still bring money to those of these payments whose clock ran out, unless they are about to be looked at."""
    c = attempts.c
    statement = _of_past_due(tx, payment_ids, Instant(tx.now)).where(
        sa.or_(c.next_check_at.is_(None), c.next_check_at > tx.now),
    )
    return [record(row) for row in tx.rows(_fenced(statement, who).order_by(c.id))]


def long_pending(tx: Tx, who: System, *, before: Instant, after: str, limit: int) -> list[Attempt]:
    """Attempts under way of pending payments that were opened before that moment, by id (E2)."""
    del who
    c = attempts.c
    statement = _SELECT.join(payments, payments.c.id == c.payment_id).where(
        payments.c.state.in_([s.value for s in sorted(PENDING)]),
        payments.c.opened_at <= before,
        c.state.in_([*_OFFERED, AttemptState.WATCHED.value]),
        c.next_check_at.is_not(None),
        c.id > after,
    )
    return [record(row) for row in tx.rows(statement.order_by(c.id).limit(limit))]


def unheard_past_due(
    tx: Tx, who: System, payment_ids: Sequence[str], *, before: Instant, active: sa.SelectBase
) -> list[Attempt]:
    """Unsettled attempts of those of these payments that are pending and past due, at connections that nobody asks, unheard of since."""
    c = attempts.c
    statement = _of_past_due(tx, payment_ids, before).where(
        payments.c.state.in_([s.value for s in sorted(PENDING)]),
        c.connection_id.not_in(active),
        sa.func.coalesce(c.last_answer_at, c.created_at) <= before,
    )
    return [record(row) for row in tx.rows(_fenced(statement, who).order_by(c.id))]


def _of_past_due(tx: Tx, payment_ids: Sequence[str], before: Instant) -> sa.Select[Any]:
    """Unsettled attempts of these payments, as far as their clock ran out before then."""
    named = tx.any_of(attempts.c.payment_id, sorted(payment_ids), "payment_ids")
    return _SELECT.join(payments, payments.c.id == attempts.c.payment_id).where(
        named, payments.c.due_at <= before, unsettled()
    )


def make_due(tx: Tx, who: Who, found: Sequence[Attempt], trigger: Trigger, *, close: bool = False) -> None:
    """A hint: look at these now, or at the end of the minimum gap. Survives an asking that is under way."""
    del who
    news = {"hinted_at": tx.now, "unpaid_answers": 0, "unpaid_answer_at": None}
    if trigger is Trigger.EXPIRY:
        news = {}  # the clock tells nothing new about the customer
    if close:
        news["close_wanted"] = True
    rows = []
    for attempt in found:
        look = look_after_hint(attempt, tx.now)
        due = {"next_check_at": look.at, "check_band": look.band, "check_trigger": trigger.value}
        # Only what is said here is written: the caller's picture of the attempt may be older than the row.
        rows.append({"id": attempt.id, "hint_no": 1, **due, **news})
    bulk_update(tx, attempts, rows, keys=["id"], add=["hint_no"])


def write_answers(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write what came of asking; each row only while its `claim_no` is still the one that was claimed."""
    del who
    return bulk_update(tx, attempts, list(rows), keys=["id", "claim_no"])


def update(tx: Tx, who: Who, attempt_id: str, values: Mapping[str, Any]) -> None:
    """Write these values to one attempt read under its lock."""
    statement = attempts.update().where(attempts.c.id == attempt_id)
    if not isinstance(who, System):
        statement = statement.where(attempts.c.merchant_id == who)
    tx.execute(statement.values(**values))


def postpone_connection(tx: Tx, who: System, connection_id: str, until: Instant) -> int:
    """Hold back every due attempt of a connection that asked us to wait; patience is not used up."""
    del who
    c = attempts.c
    waiting = attempts.update().where(c.connection_id == connection_id, c.next_check_at < until)
    return tx.execute(waiting.values(next_check_at=until)).rowcount


def void_leases(tx: Tx, who: System) -> int:
    """On SQLite a start voids all leases, and looks at once at starts that were under way: their sender is gone."""
    del who
    c = attempts.c
    unanswered = attempts.update().where(c.state == AttemptState.CREATED.value, c.next_check_at > tx.now)
    tx.execute(unanswered.values(next_check_at=tx.now))
    return tx.execute(attempts.update().where(c.lease_until.is_not(None)).values(lease_until=None)).rowcount
