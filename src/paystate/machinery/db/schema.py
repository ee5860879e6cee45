"""Schema words shared by every room: the metadata, portable column types, and triggers as data.

Types are portable on purpose: text, 64-bit integers, booleans and bytes. Times are microseconds since 1970 in UTC
(``*_at``), JSON is text, so that both databases hold the same values and sets can be bound as arrays.
"""

from dataclasses import dataclass

import sqlalchemy as sa

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING)

micros = sa.BigInteger
"""Microseconds since 1970-01-01T00:00:00Z."""

json_text = sa.Text
"""JSON as text, written and read by msgspec."""


@dataclass(frozen=True, slots=True)
class Ddl:
    """Statements that only one dialect understands, kept beside the table they guard."""

    name: str
    sqlite: tuple[str, ...]
    postgresql: tuple[str, ...]


ddl: list[Ddl] = []
"""Every trigger of the schema in the order of declaration; migrations run them after the tables."""


def _register(item: Ddl) -> None:
    ddl.append(item)


def declare_ddl(name: str, *, sqlite: tuple[str, ...], postgresql: tuple[str, ...]) -> None:
    """Add dialect-specific statements to the schema."""
    _register(Ddl(name, sqlite, postgresql))


def append_only(table: str) -> None:
    """Refuse UPDATE and DELETE on the table in the database itself (T48)."""
    declare_ddl(
        f"{table}_append_only",
        sqlite=tuple(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ),
        postgresql=(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()",
        ),
    )


def refuse_update_of(table: str, *columns: str) -> None:
    """Refuse a change of these columns once the row stands; the others may move."""
    changed = " OR ".join(f"NEW.{c} IS NOT OLD.{c}" for c in columns)
    changed_pg = " OR ".join(f"NEW.{c} IS DISTINCT FROM OLD.{c}" for c in columns)
    listed = ", ".join(columns)
    declare_ddl(
        f"{table}_fixed_columns",
        sqlite=(
            f"CREATE TRIGGER {table}_fixed BEFORE UPDATE OF {listed} ON {table} WHEN {changed} "
            f"BEGIN SELECT RAISE(ABORT, '{table}: {listed} never change'); END",
        ),
        postgresql=(
            f"CREATE TRIGGER {table}_fixed BEFORE UPDATE OF {listed} ON {table} FOR EACH ROW "
            f"WHEN ({changed_pg}) EXECUTE FUNCTION paystate_append_only()",
        ),
    )


def refuse_update(table: str, name: str, *, of: tuple[str, ...], when: str) -> None:
    """Refuse an UPDATE of these columns under a condition on OLD and NEW, in plain SQL of both dialects."""
    listed = ", ".join(of)
    declare_ddl(
        f"{table}_{name}",
        sqlite=(
            f"CREATE TRIGGER {table}_{name} BEFORE UPDATE OF {listed} ON {table} WHEN {when} "
            f"BEGIN SELECT RAISE(ABORT, '{table}: {name}'); END",
        ),
        postgresql=(
            f"CREATE TRIGGER {table}_{name} BEFORE UPDATE OF {listed} ON {table} FOR EACH ROW "
            f"WHEN ({when}) EXECUTE FUNCTION paystate_append_only()",
        ),
    )


declare_ddl(
    "paystate_append_only",
    sqlite=(),
    postgresql=(
        "CREATE FUNCTION paystate_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$",
    ),
)


def amount_check(column: str = "amount") -> sa.CheckConstraint:
    """A whole number of minor units above zero and at most 10^15 (invariant 20)."""
    return sa.CheckConstraint(f"{column} > 0 AND {column} <= 1000000000000000", name=f"{column}_range")


def one_of(column: str, values: "tuple[str, ...] | list[str]") -> sa.CheckConstraint:
    """The column holds one of these words."""
    listed = ", ".join(f"'{v}'" for v in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


clock_row = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True),
    sa.Column("offset_us", sa.BigInteger, nullable=False, server_default="0"),
    comment="One row: what is added to the database's clock; refused in production",
)
