"""Idempotency keys: a POST sent twice does its work once and is answered alike (invariant 15)."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from paystate.kit.clock import DAY, SECOND, Instant
from paystate.kit.errors import Conflict, Refused, invalid
from paystate.kit.ids import MerchantId
from paystate.machinery.db import Tx, bulk_insert
from paystate.machinery.db.schema import metadata, micros, one_of

KEPT_FOR = 7 * DAY
LOCK_SECONDS = 60
"""Longer than any request may take: after this its sender is taken for dead."""

MAX_KEY_LENGTH = 255
PURGE_BATCH = 1_000
IN_PROGRESS, DONE = "IN_PROGRESS", "DONE"

_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_LENGTH}}}\Z")
_LOCK_NOT_AVAILABLE = "55P03"

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("merchant_id", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True, comment="Method and path template"),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("input_hash", sa.Text, nullable=False),
    sa.Column("state", sa.Text, one_of("state", (IN_PROGRESS, DONE)), nullable=False),
    sa.Column("resource_id", sa.Text, comment="What the request made; a retry continues from it"),
    sa.Column(
        "status", sa.BigInteger, sa.CheckConstraint("status BETWEEN 200 AND 299", name="status_success")
    ),
    sa.Column("body", sa.Text, comment="The answer, without secrets shown once"),
    sa.Column("body_hash", sa.Text, comment="SHA-256 of body, for the audit"),
    sa.Column(
        "locked_until",
        micros,
        nullable=False,
        comment="Whoever set it holds the key; a later value fences it off",
    ),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("expires_at", micros, nullable=False, index=True),
    sa.CheckConstraint(
        "state = 'IN_PROGRESS' OR (status IS NOT NULL AND body IS NOT NULL AND body_hash IS NOT NULL)",
        name="done_answered",
    ),
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One key of one merchant on one route, and the hash of what was sent with it."""

    merchant_id: MerchantId
    route: str
    key: str
    input_hash: str


@dataclass(frozen=True, slots=True)
class Fresh:
    """The key is ours and nothing was done under it yet."""

    locked_until: Instant


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Its first sender is gone; go on from the resource it made."""

    resource_id: str
    locked_until: Instant


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer that stands for the key."""

    status: int
    body: str = field(repr=False)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request made and answers; `kept_body` replaces the body in the store when that shows a secret once."""

    resource_id: str | None
    status: int
    body: str = field(repr=False)
    kept_body: str | None = field(default=None, repr=False)


def validate_key(text: str) -> str:
    """1 to 255 visible ASCII characters; anything else raises Refused."""
    if not _KEY.match(text):
        raise invalid(
            "/Idempotency-Key",
            "invalid_idempotency_key",
            f"Between 1 and {MAX_KEY_LENGTH} visible ASCII characters are allowed.",
        )
    return text


def canonical_hash(value: Any) -> str:
    """SHA-256 of parsed JSON: the order of members and spaces do not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def begin(tx: Tx, slot: Slot, *, lock_seconds: int = LOCK_SECONDS) -> Fresh | TakeOver | Stored:
    """Take the key, take it over, or hear the answer that stands.

    Raises Conflict `idempotency_in_progress` while another request holds it, Refused `idempotency_key_reused` when
    it was sent with something else.
    """
    until = Instant(tx.now + lock_seconds * SECOND)
    if _insert(tx, slot, until):
        return Fresh(until)
    row = _standing(tx, slot)
    if row is None:  # given up between the two statements
        raise _busy(tx, Instant(tx.now + SECOND))
    if row.expires_at <= tx.now:
        tx.execute(idempotency_keys.update().where(_at(slot)).values(_fresh_row(tx, slot, until)))
        return Fresh(until)
    if row.input_hash != slot.input_hash:
        raise Refused(
            "This Idempotency-Key was sent before with another body.", code="idempotency_key_reused"
        )
    if row.state == DONE:
        return Stored(row.status, row.body, replayed=True)
    if row.locked_until > tx.now:
        raise _busy(tx, Instant(row.locked_until))
    tx.execute(idempotency_keys.update().where(_at(slot)).values(locked_until=until))
    return Fresh(until) if row.resource_id is None else TakeOver(row.resource_id, until)


def remember_resource(tx: Tx, slot: Slot, resource_id: str) -> None:
    """Say what the request made, in the transaction that makes it. Raises Conflict when another request was first."""
    free = sa.or_(idempotency_keys.c.resource_id.is_(None), idempotency_keys.c.resource_id == resource_id)
    if not _move(tx, _open(slot) & free, {"resource_id": resource_id}):
        raise _busy(tx, Instant(tx.now + SECOND))


def finish(tx: Tx, slot: Slot, answer: Answer) -> Stored:
    """Keep a 2xx answer; of two requests that both went to the end the first one's answer stands for both."""
    assert 200 <= answer.status <= 299, "only successes are kept; forget the others"
    body = answer.body if answer.kept_body is None else answer.kept_body
    values = {
        "state": DONE,
        "status": answer.status,
        "body": body,
        "body_hash": hashlib.sha256(body.encode()).hexdigest(),
    }
    if not _move(tx, _open(slot), values | {"resource_id": answer.resource_id}):
        row = _standing(tx, slot)
        if row is not None and row.state == DONE:
            return Stored(row.status, row.body, replayed=True)
    return Stored(answer.status, answer.body)


def forget(tx: Tx, slot: Slot, held: Fresh | TakeOver) -> None:
    """After a failure: free the key, or, where a resource was made, let the next retry continue from it at once.

    Changes nothing when another request holds the key by now.
    """
    mine = _open(slot) & (idempotency_keys.c.locked_until == held.locked_until)
    if not _move(tx, mine & idempotency_keys.c.resource_id.is_not(None), {"locked_until": tx.now}):
        tx.execute(idempotency_keys.delete().where(mine, idempotency_keys.c.resource_id.is_(None)))


def once(tx: Tx, slot: Slot | None, work: Callable[[Tx], Answer]) -> Stored:
    """A request that only writes: key, work and answer in this one transaction. Without a slot, just the work."""
    if slot is None:
        answer = work(tx)
        return Stored(answer.status, answer.body)
    begun = begin(tx, slot)
    if isinstance(begun, Stored):
        return begun
    assert isinstance(begun, Fresh), "a request that only writes leaves no resource without an answer"
    return finish(tx, slot, work(tx))


def void_locks(tx: Tx) -> int:
    """Free every key that is held: at the start of the only process, whoever held one is gone."""
    held = idempotency_keys.update().where(
        idempotency_keys.c.state == IN_PROGRESS, idempotency_keys.c.locked_until > tx.now
    )
    return tx.execute(held.values(locked_until=tx.now)).rowcount


def purge(tx: Tx) -> int:
    """Delete keys past their time, so many at once; answers how many."""
    where = sa.tuple_(*idempotency_keys.primary_key.columns)
    old = (
        sa.select(*idempotency_keys.primary_key.columns)
        .where(idempotency_keys.c.expires_at <= tx.now)
        .limit(PURGE_BATCH)
    )
    return tx.execute(idempotency_keys.delete().where(where.in_(old))).rowcount


def _fresh_row(tx: Tx, slot: Slot, until: Instant) -> dict[str, Any]:
    return {
        "merchant_id": slot.merchant_id,
        "route": slot.route,
        "key": slot.key,
        "input_hash": slot.input_hash,
        "state": IN_PROGRESS,
        "resource_id": None,
        "status": None,
        "body": None,
        "body_hash": None,
        "locked_until": until,
        "created_at": tx.now,
        "expires_at": tx.now + KEPT_FOR,
    }


def _insert(tx: Tx, slot: Slot, until: Instant) -> bool:
    """Waits for another transaction that is just taking the same key; too long a wait means that it is in progress."""
    try:
        made = bulk_insert(
            tx, idempotency_keys, [_fresh_row(tx, slot, until)], skip_existing=(), returning="key"
        )
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise _busy(tx, Instant(tx.now + SECOND)) from error
    return bool(made)


def _standing(tx: Tx, slot: Slot) -> sa.Row[Any] | None:
    row: sa.Row[Any] | None = tx.first(sa.select(idempotency_keys).where(_at(slot)).with_for_update())
    return row


def _at(slot: Slot) -> sa.ColumnElement[bool]:
    table = idempotency_keys.c
    return sa.and_(table.merchant_id == slot.merchant_id, table.route == slot.route, table.key == slot.key)


def _open(slot: Slot) -> sa.ColumnElement[bool]:
    return sa.and_(_at(slot), idempotency_keys.c.state == IN_PROGRESS)


def _move(tx: Tx, where: sa.ColumnElement[bool], values: dict[str, Any]) -> bool:
    return tx.execute(idempotency_keys.update().where(where).values(values)).rowcount == 1


def _busy(tx: Tx, until: Instant) -> Conflict:
    seconds = max(1, -((tx.now - until) // SECOND))
    return Conflict(
        "A request with this Idempotency-Key is in progress.",
        code="idempotency_in_progress",
        retry_after_seconds=seconds,
    )
