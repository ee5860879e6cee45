"""Figure `sweep`: expiring many payments, against SQL written by hand for exactly this."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import seed
from benchmarks.bare_sql import bare_connection, columns
from benchmarks.disk import fdatasync_line
from benchmarks.figure import RUNS, Figure, spread
from benchmarks.place import Place
from benchmarks.quiet import Quiet
from paystate.app import close_app
from paystate.flows.expire_payments import BATCH, expire_payments
from paystate.kit.clock import Instant, SystemClock
from paystate.kit.ids import new_id

GOAL = 0.5
_LIVE = "('CREATED', 'LIVE', 'PROCESSING')"
_DUE = (
    "SELECT id, merchant_id, seq, state FROM payments AS p WHERE due_at <= {mark} AND NOT EXISTS "
    f"(SELECT 1 FROM attempts AS a WHERE a.payment_id = p.id AND a.state IN {_LIVE}) "
    "ORDER BY due_at, id LIMIT {mark}"
)
_DUE_SQLITE = _DUE.format(mark="?")
_DUE_POSTGRESQL = _DUE.format(mark="%s") + " FOR UPDATE SKIP LOCKED"
_MOVE_COLUMNS = (
    "payment_id, seq, prev_seq, from_state, to_state, merchant_id, actor, reason, attempt_id, commit_id, at"
)
_MOVE_SQLITE = f"INSERT INTO payment_moves ({_MOVE_COLUMNS}) VALUES (?, ?, ?, ?, 'EXPIRED', ?, ?, 'time_is_over', NULL, ?, ?)"
_MOVES_POSTGRESQL = (
    f"INSERT INTO payment_moves ({_MOVE_COLUMNS}) SELECT id, seq + 1, seq, state, 'EXPIRED', merchant_id, %s, "
    "'time_is_over', NULL, %s, %s FROM payments WHERE id = ANY(%s)"
)
_STATE = (
    "UPDATE payments SET state = 'EXPIRED', seq = seq + 1, version = version + 1, slot_key = NULL, due_at = NULL, "
    "pending_since = NULL, last_event_type = 'EXPIRED', last_event_at = {mark}, updated_at = {mark} WHERE id {match}"
)
_STATE_SQLITE = _STATE.format(mark="?", match="= ?")
_STATES_POSTGRESQL = _STATE.format(mark="%s", match="= ANY(%s)")
_EVENT_COLUMNS = "id, merchant_id, type, resource_id, version, data, commit_id, created_at"
_EVENT_SQLITE = f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES (?, ?, 'payment.expired', ?, ?, ?, ?, ?)"
_EVENTS_POSTGRESQL = (
    f"INSERT INTO events ({_EVENT_COLUMNS}) SELECT i, m, 'payment.expired', r, v, d, %s, %s "
    "FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[]) AS u(i, m, r, v, d)"
)
ACTOR = "job:benchmark"
MAX_BATCHES = 2_000
LONG_ROWS = 300_000


def measure(place: Place) -> Figure:
    """Expire `place.rows` payment links of which none is at a provider."""
    template = expired_links(place, place.rows)
    ours, bare, quiet = [], [], Quiet()
    for _ in range(runs_of(place.rows)):
        with place.copy_of(template) as url:
            quiet.wait()
            ours.append(place.rows / expire_all(place, url, place.rows))
        with place.copy_of(template) as url:
            bare.append(place.rows / _bare(place, url))
    return Figure(
        name="sweep",
        database=place.kind,
        values=[a / b for a, b in zip(ours, bare, strict=True)],
        against=f"hand-written SQL with the same driver, the same rows, batches of {BATCH:,}",
        goal=GOAL,
        details=[
            f"the ratio is wall-clock throughput over {place.rows:,} expired links",
            spread("ours", ours, "rows/s"),
            spread("bare", bare, "rows/s"),
            quiet.line,
            fdatasync_line(place.folder),
        ],
    )


def runs_of(rows: int) -> int:
    """How often to measure: what takes minutes says enough at once."""
    return RUNS if rows < LONG_ROWS else 1


def expired_links(place: Place, rows: int) -> str:
    """The database with so many expired links, to be copied."""
    return place.template(f"expired:{rows}", lambda url: seed.fill(url, place.key, rows, expired=True))


def expire_all(place: Place, url: str, rows: int) -> float:
    """Expire all of them as the job does; answers how many seconds it took."""
    return asyncio.run(_ours(place, url, rows))


async def _ours(place: Place, url: str, rows: int) -> float:
    app = place.app(url)
    try:
        began = time.perf_counter()
        sweep = await expire_payments(app.ctx, actor=ACTOR)
        took = time.perf_counter() - began
    finally:
        await close_app(app)
    if sweep.expired != rows:
        raise RuntimeError(f"{sweep.expired} of {rows} payments expired")
    return took


def _bare(place: Place, url: str) -> float:
    expire = _batch_sqlite if place.kind == "sqlite" else _batch_postgresql
    with bare_connection(url) as conn:
        began, done = time.perf_counter(), 0
        for _ in range(MAX_BATCHES):
            count = expire(conn)
            if not count:
                break
            done += count
        took = time.perf_counter() - began
    if done != place.rows:
        raise RuntimeError(f"the hand-written SQL expired {done} of {place.rows}")
    return took


def _events(due: Sequence[Sequence[Any]], now: Instant) -> list[tuple[str, str, str, int, str]]:
    return [
        (new_id("evt", now), merchant, id_, seq + 1, f'{{"previous":"{state}","state":"EXPIRED"}}')
        for id_, merchant, seq, state in due
    ]


def _batch_sqlite(conn: Any) -> int:
    now = SystemClock().now()
    commit = new_id("cmt", now)
    conn.execute("BEGIN IMMEDIATE")
    due = conn.execute(_DUE_SQLITE, (now, BATCH)).fetchall()
    moves = [(id_, seq + 1, seq, state, merchant, ACTOR, commit, now) for id_, merchant, seq, state in due]
    conn.executemany(_MOVE_SQLITE, moves)
    conn.executemany(_STATE_SQLITE, [(now, now, row[0]) for row in due])
    conn.executemany(_EVENT_SQLITE, [(*event, commit, now) for event in _events(due, now)])
    conn.execute("COMMIT")
    return len(due)


def _batch_postgresql(conn: Any) -> int:
    now = SystemClock().now()
    commit = new_id("cmt", now)
    due = conn.execute(_DUE_POSTGRESQL, (now, BATCH)).fetchall()
    if due:
        ids = [row[0] for row in due]
        conn.execute(_MOVES_POSTGRESQL, (ACTOR, commit, now, ids))
        conn.execute(_STATES_POSTGRESQL, (now, now, ids))
        conn.execute(_EVENTS_POSTGRESQL, (commit, now, *columns(_events(due, now))))
    conn.commit()
    return len(due)
