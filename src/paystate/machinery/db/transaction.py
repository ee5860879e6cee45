"""A transaction in progress: its connection, its one reading of the time, and what must follow its commit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from paystate.kit.clock import Instant
from paystate.kit.ids import new_id

Dialect = Literal["sqlite", "postgresql"]


class Tx:
    """What a function given to `db.write` or `db.read` may use. It never commits: the database does.

    `id` names the commit: rows that must stand together carry it (invariant 14).
    """

    __slots__ = ("_id", "_now", "_read_now", "conn", "dialect", "wakes")

    def __init__(
        self, conn: sa.Connection, *, read_now: Callable[[sa.Connection], Instant], dialect: Dialect
    ) -> None:
        self.conn = conn
        self.dialect: Dialect = dialect
        self.wakes: set[str] = set()
        self._read_now = read_now
        self._now: Instant | None = None
        self._id: str | None = None

    @property
    def now(self) -> Instant:
        """The transaction's time; read from the database when first asked for, then fixed."""
        if self._now is None:
            self._now = self._read_now(self.conn)
        return self._now

    @property
    def id(self) -> str:
        """The name of this commit; made when first asked for."""
        if self._id is None:
            self._id = new_id("cmt", self.now)
        return self._id

    @property
    def on_sqlite(self) -> bool:
        return self.dialect == "sqlite"

    def execute(
        self,
        statement: sa.Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> sa.CursorResult[Any]:
        """Run one Core statement."""
        return self.conn.execute(statement, parameters)

    def rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a statement."""
        return self.conn.execute(statement, parameters).all()

    def first(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first row, or None."""
        return self.conn.execute(statement, parameters).first()

    def wake(self, channel: str) -> None:
        """After the commit, tell whoever listens on the channel that there is work (once per batch)."""
        self.wakes.add(channel)

    def any_of(
        self, column: "sa.ColumnElement[Any]", values: Sequence[Any], name: str
    ) -> sa.ColumnElement[bool]:
        """`column` is one of the values: one array on PostgreSQL, an expanding IN on SQLite."""
        if self.on_sqlite:
            return column.in_(sa.bindparam(name, list(values), expanding=True))
        kind = sa.ARRAY(column.type)
        return column == sa.any_(sa.cast(sa.bindparam(name, list(values), type_=kind), kind))
