"""Writing by sets: many rows of one table in one statement, by arrays on PostgreSQL and executemany on SQLite."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from paystate.machinery.db.transaction import Tx

Rows = Sequence[Mapping[str, Any]]

_PG_TYPES: list[tuple[type[sa.types.TypeEngine[Any]], str]] = [
    (sa.BigInteger, "bigint"),
    (sa.SmallInteger, "smallint"),
    (sa.Integer, "integer"),
    (sa.Boolean, "boolean"),
    (sa.LargeBinary, "bytea"),
    (sa.Text, "text"),
    (sa.String, "text"),
]


def bulk_insert(
    tx: Tx,
    table: sa.Table,
    rows: Rows,
    *,
    skip_existing: Sequence[str] | None = None,
    returning: str | None = None,
) -> list[Any]:
    """Insert the rows as one set; each must have the same keys.

    `skip_existing` names the columns of a unique key: rows that stand already are left out. `returning` names
    one column; its values for the rows really inserted are answered.
    """
    if not rows:
        return []
    columns = tuple(rows[0])
    key = None if skip_existing is None else tuple(skip_existing)
    if tx.on_sqlite:
        return _insert_sqlite(tx, _sqlite_insert(table, columns, key, returning), columns, rows, returning)
    cursor = tx.conn.exec_driver_sql(_pg_insert(table, columns, key, returning), _arrays(columns, rows))
    return [row[0] for row in cursor] if returning else []


def _insert_sqlite(
    tx: Tx, sql: str, columns: tuple[str, ...], rows: Rows, returning: str | None
) -> list[Any]:
    values = [tuple(row[c] for c in columns) for row in rows]
    if returning is None:
        tx.conn.exec_driver_sql(sql, values)
        return []
    raw = tx.conn.connection.cursor()
    try:
        found: list[Any] = []
        for value in values:
            raw.execute(sql, value)
            found += [row[0] for row in raw.fetchall()]
        return found
    finally:
        raw.close()


def bulk_update(tx: Tx, table: sa.Table, rows: Rows, *, keys: Sequence[str], add: Sequence[str] = ()) -> int:
    """Update each row by its `keys` to its other values, as one set; answers how many rows changed.

    The columns in `add` grow by the given value instead of taking it.
    """
    if not rows:
        return 0
    columns = tuple(rows[0])
    values = tuple(c for c in columns if c not in keys)
    if tx.on_sqlite:
        sql = _sqlite_update(table, values, tuple(keys), tuple(add))
        order = (*values, *keys)
        return tx.conn.exec_driver_sql(sql, [tuple(row[c] for c in order) for row in rows]).rowcount
    return tx.conn.exec_driver_sql(
        _pg_update(table, columns, tuple(keys), tuple(add)), _arrays(columns, rows)
    ).rowcount


def _arrays(columns: tuple[str, ...], rows: Rows) -> tuple[list[Any], ...]:
    return tuple([row[c] for row in rows] for c in columns)


def _pg_type(table: sa.Table, column: str) -> str:
    kind = table.c[column].type
    return next(name for cls, name in _PG_TYPES if isinstance(kind, cls))


def _source(table: sa.Table, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{_pg_type(table, c)}[]" for c in columns)
    return f"unnest({arrays}) AS v({', '.join(columns)})"


def _conflict(key: tuple[str, ...] | None) -> str:
    if key is None:
        return ""
    return f" ON CONFLICT ({', '.join(key)}) DO NOTHING" if key else " ON CONFLICT DO NOTHING"


@lru_cache(maxsize=512)
def _pg_insert(
    table: sa.Table, columns: tuple[str, ...], key: tuple[str, ...] | None, returning: str | None
) -> str:
    listed = ", ".join(columns)
    sql = (
        f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {_source(table, columns)}{_conflict(key)}"
    )
    return sql + (f" RETURNING {returning}" if returning else "")


@lru_cache(maxsize=512)
def _sqlite_insert(
    table: sa.Table, columns: tuple[str, ...], key: tuple[str, ...] | None, returning: str | None
) -> str:
    marks = ", ".join("?" for _ in columns)
    sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}){_conflict(key)}"
    return sql + (f" RETURNING {returning}" if returning else "")


@lru_cache(maxsize=512)
def _pg_update(table: sa.Table, columns: tuple[str, ...], keys: tuple[str, ...], add: tuple[str, ...]) -> str:
    sets = ", ".join(f"{c} = t.{c} + v.{c}" if c in add else f"{c} = v.{c}" for c in columns if c not in keys)
    match = " AND ".join(f"t.{k} = v.{k}" for k in keys)
    return f"UPDATE {table.name} AS t SET {sets} FROM {_source(table, columns)} WHERE {match}"


@lru_cache(maxsize=512)
def _sqlite_update(
    table: sa.Table, values: tuple[str, ...], keys: tuple[str, ...], add: tuple[str, ...]
) -> str:
    sets = ", ".join(f"{c} = {c} + ?" if c in add else f"{c} = ?" for c in values)
    match = " AND ".join(f"t.{k} = ?" for k in keys)
    return f"UPDATE {table.name} AS t SET {sets} WHERE {match}"
