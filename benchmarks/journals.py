"""Figure `journals-batch`: posting journals by the thousand, against bare SQL that writes the same rows."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks import seed
from benchmarks.bare_sql import bare_connection, columns
from benchmarks.disk import fdatasync_line
from benchmarks.figure import RUNS, Figure, spread
from benchmarks.place import Place
from benchmarks.quiet import Quiet
from paystate.domain.ledger import Journal, credit, debit, post
from paystate.domain.ledger.rules import account_id, account_of, input_hash, tags_text
from paystate.kit.clock import Instant, SystemClock
from paystate.kit.ids import MerchantId, System, new_id
from paystate.kit.money import Money
from paystate.machinery.db import open_database

GOAL = 0.5
BATCH, BATCHES = 1_000, 20
WALLETS = 10_000
WHO = System("journals for a benchmark")
_JOURNAL_COLUMNS = (
    "id, merchant_id, kind, key, input_hash, description, tags, effective_at, posted_at, commit_id"
)
_ENTRY_COLUMNS = "journal_id, seq, merchant_id, account_id, currency, side, amount"
_JOURNAL_SQLITE = f"INSERT INTO journals ({_JOURNAL_COLUMNS}) VALUES ({', '.join('?' * 10)})"
_ENTRY_SQLITE = f"INSERT INTO journal_entries ({_ENTRY_COLUMNS}) VALUES ({', '.join('?' * 7)})"
_SEAL_SQLITE = "INSERT INTO journal_seals (journal_id) VALUES (?)"
_BALANCE_SQLITE = "UPDATE ledger_accounts SET balance = balance + ?, version = version + 1 WHERE id = ?"
_JOURNALS_POSTGRESQL = (
    f"INSERT INTO journals ({_JOURNAL_COLUMNS}) SELECT * FROM unnest("
    f"{', '.join(['%s::text[]'] * 7)}, %s::bigint[], %s::bigint[], %s::text[])"
)
_ENTRIES_POSTGRESQL = (
    f"INSERT INTO journal_entries ({_ENTRY_COLUMNS}) SELECT * FROM unnest(%s::text[], %s::smallint[], %s::text[], "
    "%s::text[], %s::text[], %s::smallint[], %s::bigint[])"
)
_BALANCES_POSTGRESQL = (
    "UPDATE ledger_accounts AS t SET balance = t.balance + v.delta, version = t.version + 1 "
    "FROM unnest(%s::text[], %s::bigint[]) AS v(id, delta) WHERE t.id = v.id"
)


class Rows(NamedTuple):
    """A batch as the tables will hold it; only ids of journals and times are still to come."""

    journals: list[tuple[Any, ...]]
    entries: list[list[tuple[Any, ...]]]
    deltas: list[tuple[int, str]]


def measure(place: Place) -> Figure:
    """A capture each: clearing, fee, one of ten thousand wallets, commission; four postings."""
    template = place.template("ledger", partial(_open_accounts, place))
    ours, bare, quiet = [], [], Quiet()
    for _ in range(RUNS):
        with place.copy_of(template) as url:
            quiet.wait()
            ours.append(BATCH * BATCHES / _ours(url))
        with place.copy_of(template) as url:
            bare.append(BATCH * BATCHES / _bare(place, url))
    return Figure(
        name="journals-batch",
        database=place.kind,
        values=[a / b for a, b in zip(ours, bare, strict=True)],
        against=f"bare SQL with the same driver that writes the same rows, prepared beforehand, {BATCH:,} a commit",
        goal=GOAL,
        details=[
            f"the ratio is wall-clock throughput over {BATCHES} batches; a journal has four postings",
            spread("ours", ours, "journals/s"),
            spread("bare", bare, "journals/s"),
            quiet.line,
            fdatasync_line(place.folder),
        ],
    )


def batches(merchant_id: str, start: int, count: int) -> list[list[Journal]]:
    """Captures to be posted; the number makes key, wallet and amount."""
    now = SystemClock().now()
    numbers = range(start, start + count * BATCH)
    made = [_capture(MerchantId(merchant_id), n, now) for n in numbers]
    return [made[i : i + BATCH] for i in range(0, len(made), BATCH)]


def _capture(merchant_id: MerchantId, number: int, now: Instant) -> Journal:
    def money(amount: int) -> Money:
        return Money(amount, "EUR")

    return Journal(
        merchant_id=merchant_id,
        kind="payment_captured",
        key=f"payment:{number}:captured",
        description="Payment captured",
        tags={"paymentId": str(number)},
        effective_at=now,
        entries=(
            debit("1100", money(9_850), owner="con"),
            debit("5100", money(150), owner="con"),
            credit("2200", money(9_500), owner=f"seller{number * 7_919 % WALLETS}"),
            credit("4100", money(500)),
        ),
    )


def _merchant_of(url: str) -> str:
    database = open_database(url)
    try:
        return str(
            database.read_sync(lambda tx: tx.conn.exec_driver_sql("SELECT id FROM merchants").scalar_one())
        )
    finally:
        database.close()


def _open_accounts(place: Place, url: str) -> None:
    """Every account stands before the clock starts: both sides find what a running business has."""
    database = open_database(url, statement_timeout_seconds=120)
    try:
        owner = database.write_sync(lambda tx: seed.add_owner(tx, place.key, "http://127.0.0.1:9", 1))
        for batch in batches(owner.merchant_id, 10_000_000, WALLETS // BATCH):
            database.write_sync(partial(_post, batch))
    finally:
        database.close()


def _post(batch: Sequence[Journal], tx: Any) -> list[bool]:
    return post(tx, WHO, batch)


def _ours(url: str) -> float:
    made = batches(_merchant_of(url), 0, BATCHES)
    database = open_database(url)
    try:
        began = time.perf_counter()
        fresh = [all(database.write_sync(partial(_post, batch))) for batch in made]
        took = time.perf_counter() - began
    finally:
        database.close()
    if not all(fresh):
        raise RuntimeError("a journal was there already")
    return took


def _bare(place: Place, url: str) -> float:
    prepared = [_rows_of(batch) for batch in batches(_merchant_of(url), 0, BATCHES)]
    write = _write_sqlite if place.kind == "sqlite" else _write_postgresql
    with bare_connection(url) as conn:
        began = time.perf_counter()
        for rows in prepared:
            write(conn, rows)
        return time.perf_counter() - began


def _rows_of(batch: Sequence[Journal]) -> Rows:
    journals, entries, deltas = [], [], dict[str, int]()
    for j in batch:
        tags = tags_text(j)
        journals.append(
            (j.merchant_id, j.kind, j.key, input_hash(j, tags), j.description, tags, j.effective_at)
        )
        own = []
        for seq, e in enumerate(j.entries, 1):
            account = account_id(j.merchant_id, e.code, e.owner, e.currency)
            normal = account_of(e.code, e.owner, e.currency).normal
            deltas[account] = deltas.get(account, 0) + normal * e.side * e.amount
            own.append((seq, j.merchant_id, account, e.currency, e.side, e.amount))
        entries.append(own)
    return Rows(journals, entries, [(delta, account) for account, delta in sorted(deltas.items())])


def _dated(rows: Rows) -> tuple[list[str], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Ids, journals and entries of a batch with the ids and the time they are written at."""
    now = SystemClock().now()
    commit = new_id("cmt", now)
    ids = sorted(new_id("jnl", now) for _ in rows.journals)
    journals = [(i, *journal, now, commit) for i, journal in zip(ids, rows.journals, strict=True)]
    entries = [(i, *entry) for i, own in zip(ids, rows.entries, strict=True) for entry in own]
    return ids, journals, entries


def _write_sqlite(conn: Any, rows: Rows) -> None:
    ids, journals, entries = _dated(rows)
    conn.execute("BEGIN IMMEDIATE")
    conn.executemany(_JOURNAL_SQLITE, journals)
    conn.executemany(_ENTRY_SQLITE, entries)
    conn.executemany(_SEAL_SQLITE, [(i,) for i in ids])
    conn.executemany(_BALANCE_SQLITE, rows.deltas)
    conn.execute("COMMIT")


def _write_postgresql(conn: Any, rows: Rows) -> None:
    _, journals, entries = _dated(rows)
    conn.execute(_JOURNALS_POSTGRESQL, columns(journals))
    conn.execute(_ENTRIES_POSTGRESQL, columns(entries))
    deltas, accounts = columns(rows.deltas)
    conn.execute(_BALANCES_POSTGRESQL, (accounts, deltas))
    conn.commit()
