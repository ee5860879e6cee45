"""What a check of the audit is: SELECTs that find nothing in a sound database, and what they found."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from paystate.kit.clock import monotonic
from paystate.machinery.db import Tx
from paystate.machinery.db.transaction import Dialect

ROWS_SHOWN = 100
"""Rows of one check that are shown; all of them are counted."""

_POSTGRESQL_SETTINGS = ("SET LOCAL work_mem = '64MB'", "SET LOCAL jit = off")
"""The audit joins whole tables, in a session of its own."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a rule: a SELECT of `subject` (whose it is) and `detail` (what is wrong).

    `:now` is the snapshot's time. `only`: the other database cannot have this fault, or says it in other words.
    """

    sql: str
    only: Dialect | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that must hold. `number` is that of the invariant; None for what is not about safety."""

    number: int | None
    name: str
    faults: Sequence[Fault]


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that breaks a rule."""

    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule after its check: how many rows break it, and the first ROWS_SHOWN of them."""

    number: int | None
    name: str
    count: int
    rows: Sequence[Finding]
    seconds: float


def prepare(tx: Tx) -> None:
    """Give the session what the checks need; SQLite has no hash of its own."""
    if tx.on_sqlite:
        driver = tx.conn.connection.driver_connection
        assert driver is not None
        driver.create_function("sha256_hex", 1, _sha256_hex, deterministic=True)
        return
    for setting in _POSTGRESQL_SETTINGS:
        tx.conn.exec_driver_sql(setting)


def check(tx: Tx, rule: Rule, values: Mapping[str, Any] | None = None) -> Checked:
    """Look for every fault of the rule; `values` are bound beside `:now`."""
    started, count = monotonic(), 0
    shown: list[Finding] = []
    for fault in rule.faults:
        if fault.only in (None, tx.dialect):
            found = _find(tx, fault, {"now": tx.now, **(values or {})})
            count += found[0].total if found else 0
            shown += [Finding(str(row.subject), str(row.detail)) for row in found]
    return Checked(rule.number, rule.name, count, tuple(shown[:ROWS_SHOWN]), monotonic() - started)


def _find(tx: Tx, fault: Fault, values: Mapping[str, Any]) -> Sequence[Any]:
    statement = sa.text(
        f"SELECT subject, detail, count(*) OVER () AS total FROM ({fault.sql}) AS found "
        f"ORDER BY subject, detail LIMIT {ROWS_SHOWN}"
    )
    return tx.rows(statement, {name: values[name] for name in statement.compile().params})


def quoted(words: Sequence[str]) -> str:
    """Words of our own code as an SQL list."""
    return ", ".join(f"'{word}'" for word in words)


def repeated(table: str, columns: Sequence[str], *, where: str = "TRUE", subject: str = "") -> Fault:
    """Rows of the table that share what only one may have."""
    key = " || ' ' || ".join(subject.split() or columns)
    listed = ", ".join(columns)
    return Fault(
        f"SELECT {key} AS subject, count(*) || ' rows of {table} share it' AS detail FROM {table} "
        f"WHERE {where} GROUP BY {listed} HAVING count(*) > 1"
    )


def _sha256_hex(value: bytes | str | None) -> str | None:
    if value is None:
        return None
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()
