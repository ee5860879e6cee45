"""Point reads without ceremony: one row by its key, on connections of their own, for what is asked all the time."""

import asyncio
import sqlite3
from collections import deque
from typing import Any

import psycopg

from paystate.kit.errors import Unavailable
from paystate.machinery.db.database import Database

BUSY_TIMEOUT_MS = 100
"""A reader of a WAL file hardly ever waits; this one waits on the event loop, so not for long."""

POSTGRES_CONNECTIONS = 8
STATEMENT_TIMEOUT_MS = 2_000
CONNECT_TIMEOUT_SECONDS = 3
TRIES = 2
"""A connection that was cut while it rested is replaced once."""

Row = tuple[Any, ...]
Connection = psycopg.AsyncCursor[Row]
"""Each connection, of SQLite too, is used through one cursor that is kept: making one costs a tenth of a read."""


class SqlitePointReads:
    """One read-only connection in autocommit, read inline: faster than any hop to a thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._cursor: sqlite3.Cursor | None = None

    def first(self, sql: str, key: str) -> Row | None:
        """The first row of a statement with one ``?``. Raises Unavailable."""
        try:
            row: Row | None = (self._cursor or self._open()).execute(sql, (key,)).fetchone()
            return row
        except sqlite3.Error as error:
            raise Unavailable("The database does not answer at the moment.") from error

    def _open(self) -> sqlite3.Cursor:
        opened = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "query_only=ON",
            "wal_autocheckpoint=0",
            "trusted_schema=OFF",
        ):
            opened.execute(f"PRAGMA {pragma}").close()
        self._cursor = opened.cursor()
        return self._cursor

    async def close(self) -> None:
        """Give the file back."""
        if self._cursor is not None:
            self._cursor.connection.close()
            self._cursor = None


class PostgresPointReads:
    """A few autocommit connections, the last used first, so that a quiet hour keeps one warm and not eight."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._statements: dict[str, str] = {}

    async def first(self, sql: str, key: str) -> Row | None:
        """The first row of a statement with one ``?``. Raises Unavailable."""
        statement = self._statements.get(sql) or self._statements.setdefault(sql, sql.replace("?", "%s"))
        for left in reversed(range(TRIES)):
            connection = None
            try:
                connection = self._idle.pop() if self._idle else await self._another()
                await connection.execute(statement, (key,))
                row = await connection.fetchone()
            except (psycopg.OperationalError, OSError) as error:
                await self._drop(connection)
                if not left:
                    raise Unavailable("The database does not answer at the moment.") from error
                await self.close()  # what rests beside it was cut as well
            except BaseException:
                await self._drop(connection)  # half an answer may still be on its way
                raise
            else:
                self._give_back(connection)
                return row
        raise AssertionError("unreachable")

    async def _another(self) -> Connection:
        """A new connection, or the first one that somebody gives back."""
        while self._opened >= POSTGRES_CONNECTIONS:
            waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                given = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._pass_on(waiter.result())
                raise
            if given is not None:
                return given
        self._opened += 1
        try:
            return await self._open()
        except BaseException:
            self._opened -= 1
            self._pass_on(None)
            raise

    def _give_back(self, connection: Connection) -> None:
        if self._waiting:
            self._pass_on(connection)
        else:
            self._idle.append(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        """To who waits longest; without a connection it is the place that is free."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    async def _drop(self, connection: Connection | None) -> None:
        if connection is not None:
            self._opened -= 1
            self._pass_on(None)
            await connection.connection.close()

    async def _open(self) -> Connection:
        opened = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            prepare_threshold=0,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            application_name="paystate status",
        )
        return opened.cursor()

    async def close(self) -> None:
        """Close what rests."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._drop(connection)


PointReads = SqlitePointReads | PostgresPointReads


def open_point_reads(db: Database) -> PointReads:
    """Point reads of this database; connections are made when first needed."""
    return SqlitePointReads(db.path) if db.dialect == "sqlite" else PostgresPointReads(db.url)
