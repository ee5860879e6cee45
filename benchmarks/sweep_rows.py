"""Figure `sweep-rows`: expiring many payments by sets, against an ORM that takes them one by one."""

import json
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from benchmarks.disk import fdatasync_line
from benchmarks.figure import Figure, spread
from benchmarks.place import Place
from benchmarks.quiet import Quiet
from benchmarks.sweep import ACTOR, expire_all, expired_links, runs_of
from paystate.domain.payments.model import payment_moves, payments
from paystate.domain.webhooks.model import events
from paystate.kit.clock import SystemClock
from paystate.kit.ids import new_id
from paystate.machinery.db import postgres, sqlite

GOAL = 20.0
PEER_ROWS = 5_000
"""So many the loop is given; its time per row does not depend on how many there are."""


class _Row:
    """A row as the ORM sees it."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class PaymentRow(_Row):
    """A payment."""


class MoveRow(_Row):
    """One change of its state."""


class EventRow(_Row):
    """What is told of it."""


_MAPPED = orm.registry()
_MAPPED.map_imperatively(PaymentRow, payments)
_MAPPED.map_imperatively(MoveRow, payment_moves)
_MAPPED.map_imperatively(EventRow, events)


def measure(place: Place) -> Figure:
    """Throughput of the sweep over `place.rows` links, over that of the loop over 5,000."""
    template, few = expired_links(place, place.rows), min(PEER_ROWS, place.rows)
    peer_template = expired_links(place, few)
    ours, peer, quiet = [], [], Quiet()
    for _ in range(runs_of(place.rows)):
        with place.copy_of(template) as url:
            quiet.wait()
            ours.append(place.rows / expire_all(place, url, place.rows))
        with place.copy_of(peer_template) as url:
            quiet.wait()
            peer.append(few / _one_by_one(url, few))
    return Figure(
        name="sweep-rows",
        database=place.kind,
        values=[a / b for a, b in zip(ours, peer, strict=True)],
        against="a loop over SQLAlchemy's ORM, with a session and a commit for each row",
        goal=GOAL,
        details=[
            f"the ratio is wall-clock throughput: {place.rows:,} links of ours, {few:,} of the loop's",
            spread("ours", ours, "rows/s"),
            spread("loop", peer, "rows/s"),
            quiet.line,
            fdatasync_line(place.folder),
        ],
    )


def _one_by_one(url: str, rows: int) -> float:
    """Load, change, add the move and the event, commit: what a job does that nobody thought about twice."""
    engine = _engine(url)
    try:
        began = time.perf_counter()
        now = SystemClock().now()
        with orm.Session(engine) as session:
            due = sa.select(payments.c.id).where(payments.c.due_at <= now).order_by(payments.c.due_at)
            ids = session.scalars(due).all()
        for payment_id in ids:
            with orm.Session(engine) as session:
                _expire(session, payment_id, now)
                session.commit()
        took = time.perf_counter() - began
    finally:
        engine.dispose()
    if len(ids) != rows:
        raise RuntimeError(f"the loop found {len(ids)} of {rows}")
    return took


def _engine(url: str) -> sa.Engine:
    """The same driver with the same pragmas or session settings as ours."""
    if url.startswith("sqlite"):
        return sqlite.open_engine(url.removeprefix("sqlite:///"), writes=True)
    return postgres.open_engine(url, pool_size=1, statement_timeout_ms=5_000)


def _expire(session: orm.Session, payment_id: str, now: int) -> None:
    row: Any = session.get(PaymentRow, payment_id, with_for_update=True)
    before, commit = row.state, new_id("cmt", SystemClock().now())
    session.add(
        MoveRow(
            payment_id=row.id,
            seq=row.seq + 1,
            prev_seq=row.seq,
            from_state=before,
            to_state="EXPIRED",
            merchant_id=row.merchant_id,
            actor=ACTOR,
            reason="time_is_over",
            commit_id=commit,
            at=now,
        )
    )
    session.flush()  # the new state refers to its move
    row.state, row.seq, row.version = "EXPIRED", row.seq + 1, row.version + 1
    row.slot_key = row.due_at = row.pending_since = None
    row.last_event_type, row.last_event_at, row.updated_at = "EXPIRED", now, now
    session.add(
        EventRow(
            id=new_id("evt", SystemClock().now()),
            merchant_id=row.merchant_id,
            type="payment.expired",
            resource_id=row.id,
            version=row.seq,
            data=json.dumps({"previous": before, "state": "EXPIRED"}),
            commit_id=commit,
            created_at=now,
        )
    )
