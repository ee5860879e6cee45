"""Posts journals by sets: a batch costs a handful of statements whatever its size."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from paystate.domain.ledger.model import accounts, journals
from paystate.domain.ledger.rules import (
    Account,
    Journal,
    account_id,
    account_of,
    check_balanced,
    input_hash,
    reversal_of,
    tags_text,
)
from paystate.domain.ledger.views import find_journal
from paystate.kit.errors import Conflict
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.machinery.db import Tx, bulk_insert

MAX_BATCH = 5_000
"""Journals in one call; more would hold locks and the one SQLite writer for too long."""

KNOWN_ACCOUNTS = 16_384


_JOURNAL_COLUMNS = "id, merchant_id, kind, key, input_hash, description, tags, effective_at, posted_at, reverses_id, commit_id"
_ENTRY_COLUMNS = "journal_id, seq, merchant_id, account_id, currency, side, amount"
_NEW_ONLY = "ON CONFLICT (merchant_id, key) DO NOTHING"
_INSERT_JOURNAL = (
    f"INSERT INTO journals ({_JOURNAL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_NEW_ONLY}"
)
_INSERT_JOURNALS_POSTGRESQL = (
    f"INSERT INTO journals ({_JOURNAL_COLUMNS}) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], "
    "%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[]) "
    f"{_NEW_ONLY} RETURNING id"
)
_INSERT_ENTRY = f"INSERT INTO journal_entries ({_ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_ENTRIES_POSTGRESQL = (
    f"INSERT INTO journal_entries ({_ENTRY_COLUMNS}) SELECT * FROM unnest(%s::text[], %s::smallint[], %s::text[], "
    "%s::text[], %s::text[], %s::smallint[], %s::bigint[])"
)
_INSERT_SEAL = "INSERT INTO journal_seals (journal_id) VALUES (?)"
_STANDING_JOURNALS = "SELECT id FROM journals WHERE id IN (SELECT value FROM json_each(?))"
_STANDING_ACCOUNTS = "SELECT id FROM ledger_accounts WHERE id IN (SELECT value FROM json_each(?))"
_REPLAYED_SQLITE = (
    "SELECT j.merchant_id, j.key, j.input_hash FROM json_each(?) AS v CROSS JOIN journals AS j "
    "ON j.merchant_id = json_extract(v.value, '$[0]') AND j.key = json_extract(v.value, '$[1]')"
)
_REPLAYED_POSTGRESQL = (
    "SELECT j.merchant_id, j.key, j.input_hash FROM unnest(%s::text[], %s::text[]) AS v(merchant_id, key) "
    "JOIN journals AS j ON j.merchant_id = v.merchant_id AND j.key = v.key"
)
_BALANCES_SQLITE = "SELECT id, balance FROM ledger_accounts WHERE id IN (SELECT value FROM json_each(?))"
_LOCK_BALANCES_POSTGRESQL = (
    "SELECT id, balance FROM ledger_accounts WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
)
_MOVE_BALANCE = "UPDATE ledger_accounts SET balance = balance + ?, version = version + 1 WHERE id = ?"
_MOVE_BALANCES_POSTGRESQL = (
    "UPDATE ledger_accounts AS t SET balance = t.balance + v.delta, version = t.version + 1 "
    "FROM unnest(%s::text[], %s::bigint[]) AS v(id, delta) WHERE t.id = v.id"
)


class _AccountRef(NamedTuple):
    """A sub-account as a batch needs it; nothing here comes from the database, so it may be remembered for ever."""

    id: str
    merchant_id: MerchantId
    owner: str
    currency: str
    account: Account


Key = tuple[MerchantId, str]
Row = tuple[Any, ...]


class _Candidate(NamedTuple):
    journal: Journal
    tags: str
    hash: str


@lru_cache(maxsize=KNOWN_ACCOUNTS)
def _account_ref(merchant_id: MerchantId, code: str, owner: str, currency: str) -> _AccountRef:
    account = account_of(code, owner, currency)
    return _AccountRef(account_id(merchant_id, code, owner, currency), merchant_id, owner, currency, account)


def post(tx: Tx, who: Who, batch: Sequence[Journal]) -> list[bool]:
    """Book the journals; answers for each whether it is new (False: its key stands with the same content).

    All of the batch is booked or nothing. Floors are judged on the batch as a whole. Raises Refused
    `ledger_unbalanced`, Conflict `journal_key_reused` and Conflict `insufficient_funds`.
    """
    if len(batch) > MAX_BATCH:
        raise AssertionError(f"at most {MAX_BATCH} journals at a time")
    if not batch:
        return []
    candidates = _one_per_key(who, batch)
    fresh = _insert_journals(tx, candidates)
    if len(fresh) < len(candidates):
        _compare_replays(tx, {key: c for key, c in candidates.items() if key not in fresh})
    if fresh:
        _book(tx, [(journal_id, candidates[key].journal) for key, journal_id in fresh.items()])
    return [fresh.pop((journal.merchant_id, journal.key), None) is not None for journal in batch]


def reverse(tx: Tx, who: Who, journal_id: str, reason: str) -> str:
    """Undo a journal by another one; answers that one's id. Raises NotFound; Conflict when it was done before."""
    journal = find_journal(tx, who, journal_id).journal
    undoing = reversal_of(journal, journal_id=journal_id, reason=reason, effective_at=tx.now)
    try:
        [fresh] = post(tx, who, [undoing])
    except Conflict as refusal:
        if refusal.code != "journal_key_reused":
            raise
        fresh = False
    reversal_id: str = tx.execute(
        sa.select(journals.c.id).where(journals.c.reverses_id == journal_id)
    ).scalar_one()
    if not fresh:
        raise Conflict("This journal was reversed before.", reversal=reversal_id)
    return reversal_id


def _one_per_key(who: Who, batch: Sequence[Journal]) -> dict[Key, _Candidate]:
    """The journals by key, in the order of the keys, so that two batches wait for each other and never in a ring."""
    candidates: dict[Key, _Candidate] = {}
    for journal in batch:
        if not isinstance(who, System) and journal.merchant_id != who:
            raise AssertionError("a journal of another merchant")
        check_balanced(journal)
        tags = tags_text(journal)
        candidate = _Candidate(journal, tags, input_hash(journal, tags))
        first = candidates.setdefault((journal.merchant_id, journal.key), candidate)
        if first.hash != candidate.hash:
            raise _key_reused(journal.key)
    return dict(sorted(candidates.items()))


def _insert_journals(tx: Tx, candidates: Mapping[Key, _Candidate]) -> dict[Key, str]:
    """Insert what is new; answers the ids of the new ones by key."""
    # Sorted ids: rows land side by side in the table and its indexes.
    ids = sorted([new_id("jnl", tx.now) for _ in candidates])
    keys = dict(zip(candidates, ids, strict=True))
    rows = _journal_rows(tx, ids, candidates.values())
    if not tx.on_sqlite:
        stored = {row[0] for row in tx.conn.exec_driver_sql(_INSERT_JOURNALS_POSTGRESQL, _columns(rows))}
    elif tx.conn.exec_driver_sql(_INSERT_JOURNAL, rows).rowcount == len(rows):
        return keys
    else:
        stored = {row[0] for row in tx.conn.exec_driver_sql(_STANDING_JOURNALS, (json.dumps(ids),))}
    return {key: journal_id for key, journal_id in keys.items() if journal_id in stored}


def _journal_rows(tx: Tx, ids: Iterable[str], candidates: Iterable[_Candidate]) -> list[Row]:
    now, commit_id = tx.now, tx.id
    return [
        (
            journal_id,
            j.merchant_id,
            j.kind,
            j.key,
            input_hash,
            j.description,
            tags,
            j.effective_at,
            now,
            j.reverses_id,
            commit_id,
        )
        for journal_id, (j, tags, input_hash) in zip(ids, candidates, strict=True)
    ]


def _columns(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    """The rows as one array per column, which is how PostgreSQL takes a set."""
    return tuple(map(list, zip(*rows, strict=True)))


def _compare_replays(tx: Tx, replayed: Mapping[Key, _Candidate]) -> None:
    merchants, keys = zip(*replayed, strict=True)
    arguments = (json.dumps(list(replayed)),) if tx.on_sqlite else (list(merchants), list(keys))
    sql = _REPLAYED_SQLITE if tx.on_sqlite else _REPLAYED_POSTGRESQL
    for merchant_id, key, stored_hash in tx.conn.exec_driver_sql(sql, arguments):
        if replayed[merchant_id, key].hash != stored_hash:
            raise _key_reused(key)


def _book(tx: Tx, fresh: Sequence[tuple[str, Journal]]) -> None:
    refs: dict[str, _AccountRef] = {}
    deltas: dict[str, int] = {}
    rows: list[Row] = []
    for journal_id, journal in fresh:
        for seq, entry in enumerate(journal.entries, 1):
            ref = _account_ref(journal.merchant_id, entry.code, entry.owner, entry.currency)
            refs[ref.id] = ref
            deltas[ref.id] = deltas.get(ref.id, 0) + ref.account.normal * entry.side * entry.amount
            rows.append((journal_id, seq, ref.merchant_id, ref.id, entry.currency, entry.side, entry.amount))
    _ensure_accounts(tx, refs)
    _insert_entries(tx, rows)
    if tx.on_sqlite:
        tx.conn.exec_driver_sql(_INSERT_SEAL, [(journal_id,) for journal_id, _ in fresh])
    _move_balances(tx, refs, deltas)


def _ensure_accounts(tx: Tx, refs: Mapping[str, _AccountRef]) -> None:
    """Create the accounts that do not stand yet; most of the time all do."""
    sql = _STANDING_ACCOUNTS if tx.on_sqlite else "SELECT id FROM ledger_accounts WHERE id = ANY(%s)"
    wanted = json.dumps(list(refs)) if tx.on_sqlite else list(refs)
    standing = {row[0] for row in tx.conn.exec_driver_sql(sql, (wanted,))}
    missing = [_account_row(refs[i]) for i in sorted(refs.keys() - standing)]
    bulk_insert(tx, accounts, missing, skip_existing=("id",))


def _account_row(ref: _AccountRef) -> dict[str, Any]:
    return {
        "id": ref.id,
        "merchant_id": ref.merchant_id,
        "code": ref.account.code,
        "owner": ref.owner,
        "currency": ref.currency,
        "normal": ref.account.normal,
        "floored": ref.account.floored,
        "balance": 0,
        "version": 0,
    }


def _insert_entries(tx: Tx, rows: list[Row]) -> None:
    if tx.on_sqlite:
        tx.conn.exec_driver_sql(_INSERT_ENTRY, rows)
    else:
        tx.conn.exec_driver_sql(_INSERT_ENTRIES_POSTGRESQL, _columns(rows))


def _move_balances(tx: Tx, refs: Mapping[str, _AccountRef], deltas: Mapping[str, int]) -> None:
    """Each account once, in the order of ids, and last: a hot account stays locked for the shortest time."""
    ids = sorted(deltas)
    _check_floors(tx, refs, deltas, ids)
    if tx.on_sqlite:
        moved = tx.conn.exec_driver_sql(_MOVE_BALANCE, [(deltas[i], i) for i in ids]).rowcount
    else:
        moved = tx.conn.exec_driver_sql(_MOVE_BALANCES_POSTGRESQL, (ids, [deltas[i] for i in ids])).rowcount
    if moved != len(ids):
        raise AssertionError("an account vanished while it was posted to")


def _check_floors(tx: Tx, refs: Mapping[str, _AccountRef], deltas: Mapping[str, int], ids: list[str]) -> None:
    """Lock the balances and refuse what would go below its floor; the table's CHECK stands behind this."""
    if tx.on_sqlite:
        asked = json.dumps([i for i in ids if refs[i].account.floored and deltas[i] < 0])
        balances = tx.conn.exec_driver_sql(_BALANCES_SQLITE, (asked,)) if asked != "[]" else ()
    else:
        balances = tx.conn.exec_driver_sql(_LOCK_BALANCES_POSTGRESQL, (ids,))
    for locked_id, balance in balances:
        ref = refs[locked_id]
        if ref.account.floored and balance + deltas[locked_id] < 0:
            raise Conflict(
                "The balance does not cover this amount.",
                code="insufficient_funds",
                account=ref.account.code,
                owner=ref.owner,
                currency=ref.currency,
                available=balance,
            )


def _key_reused(key: str) -> Conflict:
    return Conflict("This key stands already, with another content.", code="journal_key_reused", key=key)
