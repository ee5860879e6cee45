"""The database as the rest of the house sees it: `write`, `read`, `snapshot`, and nothing else."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from paystate.kit.clock import Clock, Instant, SystemClock
from paystate.kit.errors import Unavailable
from paystate.machinery.db import postgres, sqlite
from paystate.machinery.db.open_transaction import assert_outside, transaction_open
from paystate.machinery.db.transaction import Dialect, Tx
from paystate.machinery.db.wakeups import Wakeups

T = TypeVar("T")
Work = Callable[[Tx], T]

SLOW_STATEMENT_TIMEOUT_MS = 600_000


class Database:
    """One database of either kind.

    `write` runs a function in a transaction that commits when the function returns; on SQLite several waiting
    functions share a commit. The function must be free of side effects: it may run again after a conflict.
    """

    def __init__(self, url: str, *, pool_size: int, statement_timeout_ms: int, clock: Clock | None) -> None:
        self.url = url
        self._clock = clock
        self._system = SystemClock()
        self.dialect: Dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
        self.wakeups = Wakeups(None if self.dialect == "sqlite" else url)
        self._threads = ThreadPoolExecutor(max_workers=pool_size, thread_name_prefix="db")
        self._writer: sqlite.SqliteWriter | None = None
        self._engines = self._open(pool_size, statement_timeout_ms)

    def _open(self, pool_size: int, statement_timeout_ms: int) -> tuple[sa.Engine, sa.Engine]:
        if self.dialect == "sqlite":
            write = sqlite.open_engine(self.path, writes=True)
            self._writer = sqlite.SqliteWriter(write, self._make_tx)
            return write, sqlite.open_engine(self.path, writes=False)
        write = postgres.open_engine(self.url, pool_size=pool_size, statement_timeout_ms=statement_timeout_ms)
        return write, write.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def path(self) -> str:
        """The SQLite file."""
        return self.url.removeprefix("sqlite:///")

    @property
    def server_version(self) -> str:
        """What the engine calls itself, for `doctor`."""
        if self.dialect == "sqlite":
            return sqlite3.sqlite_version
        return str(self.read_sync(lambda tx: tx.conn.exec_driver_sql("SHOW server_version").scalar_one()))

    async def write(self, work: Work[T]) -> T:
        """Run the function in a write transaction. A cancelled caller does not stop it once queued.

        Raises Unavailable (nothing was written) or OutcomeUnknown (read by key what stands).
        """
        assert_outside()
        loop = asyncio.get_running_loop()
        if self._writer is not None:
            waiter: asyncio.Future[tuple[Tx, T]] = loop.create_future()
            self._writer.submit(work, partial(_answer, loop, waiter))
            tx, result = await asyncio.shield(waiter)
        else:
            result, tx = await asyncio.shield(loop.run_in_executor(self._threads, self._write_postgres, work))
        self.wakeups.signal(tx.wakes)
        return result

    def write_sync(self, work: Work[T]) -> T:
        """The same for a thread of its own: the command line and tests."""
        assert_outside()
        if self._writer is None:
            result, tx = self._write_postgres(work)
        else:
            tx, result = _wait_for(self._writer, work)
        self.wakeups.signal(tx.wakes)
        return result

    async def read(self, work: Work[T]) -> T:
        """Run the function on an autocommit reader: each statement sees the newest committed rows."""
        assert_outside()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_sync, work)

    def read_sync(self, work: Work[T]) -> T:
        """The same in this thread."""
        return self._on_reader(work, None)

    async def snapshot(self, work: Work[T]) -> T:
        """Run the function on one unmoving picture of the database (audits, reports), up to ten minutes."""
        assert_outside()
        return await asyncio.get_running_loop().run_in_executor(None, self.snapshot_sync, work)

    def snapshot_sync(self, work: Work[T]) -> T:
        """The same in this thread."""
        if self.dialect == "sqlite":
            return self._on_reader(work, "BEGIN")
        return self._postgres_snapshot(work)

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        if self._writer is not None:
            self._writer.close()
        self._threads.shutdown(wait=True)
        for engine in self._engines:
            engine.dispose()

    def _make_tx(self, conn: sa.Connection) -> Tx:
        return Tx(conn, read_now=self._read_now, dialect=self.dialect)

    def _read_now(self, conn: sa.Connection) -> Instant:
        if self._clock is not None:
            return self._clock.now()
        if self.dialect == "sqlite":
            offset = conn.exec_driver_sql("SELECT offset_us FROM clock").scalar_one()
            return Instant(self._system.now() + int(offset))
        return Instant(int(postgres.read_clock(conn)))

    def _write_postgres(self, work: Work[T]) -> tuple[T, Tx]:
        return postgres.write(self._engines[0], work, self._make_tx)

    def _on_reader(self, work: Work[T], begin: str | None) -> T:
        try:
            with self._engines[1].connect() as conn, transaction_open():
                if begin is not None:
                    conn.exec_driver_sql(begin)
                try:
                    return work(self._make_tx(conn))
                finally:
                    if begin is not None:
                        conn.exec_driver_sql("ROLLBACK")
        except sa.exc.TimeoutError as error:
            raise Unavailable("All database connections are in use; try again in a moment.") from error
        except sa.exc.DBAPIError as error:
            if self.dialect == "sqlite":
                raise
            raise postgres.as_unavailable(error) from error

    def _postgres_snapshot(self, work: Work[T]) -> T:
        """A session of its own, so that a long report never takes a connection from the pool."""
        engine = postgres.open_engine(self.url, pool_size=1, statement_timeout_ms=SLOW_STATEMENT_TIMEOUT_MS)
        try:
            with (
                engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn,
                transaction_open(),
            ):
                conn.exec_driver_sql("SET TRANSACTION READ ONLY")
                conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                return work(self._make_tx(conn))
        finally:
            engine.dispose()


def _answer(
    loop: asyncio.AbstractEventLoop, waiter: "asyncio.Future[Any]", result: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if waiter.done():
            return
        if error is None:
            waiter.set_result(result)
        else:
            waiter.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _wait_for(writer: sqlite.SqliteWriter, work: Work[T]) -> tuple[Tx, T]:
    finished = threading.Event()
    outcome: list[Any] = []

    def settle(result: Any, error: BaseException | None) -> None:
        outcome.extend((result, error))
        finished.set()

    writer.submit(work, settle)
    finished.wait()
    answer, error = outcome
    if error is not None:
        raise error
    tx, result = answer
    return tx, result


def open_database(
    url: str, *, pool_size: int = 10, statement_timeout_seconds: float = 5, clock: Clock | None = None
) -> Database:
    """Open a database by `sqlite:///FILE` or `postgresql://…`. With a `clock`, that one replaces the database's."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    elif not url.startswith("postgresql://"):
        raise ValueError("a database URL starts with sqlite:/// or postgresql://")
    return Database(
        url, pool_size=pool_size, statement_timeout_ms=int(statement_timeout_seconds * 1000), clock=clock
    )
