"""SQLite: one writer thread that owns all writes and checkpoints and commits waiting functions in groups."""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from paystate.kit.clock import monotonic
from paystate.kit.errors import Unavailable
from paystate.machinery.db.open_transaction import transaction_open
from paystate.machinery.db.transaction import Tx

GROUP_FUNCTIONS = 100
GROUP_SECONDS = 0.020
QUEUE_LIMIT = 2_000
BUSY_RETRIES = 3
CONNECT_TRIES = 100
CONNECT_PAUSE_SECONDS = 0.05
BUSY_TIMEOUT_MS = 1_000
"""With its retries four seconds: so long somebody else's hand on the file (a copy, a console) delays a write."""

READ_CONNECTIONS = 8
SAFE_VERSION = (3, 51, 3)
"""Below this, two writing connections can corrupt the WAL (F2); we keep to one, and warn."""

EXIT_DISK_FAILED = 74
Work = Callable[[Tx], Any]
Settle = Callable[[Any, BaseException | None], None]
MakeTx = Callable[[sa.Connection], Tx]


@dataclass(slots=True)
class _Job:
    work: Work
    settle: Settle
    result: Any = None
    error: BaseException | None = None
    tx: Tx | None = None


def open_engine(path: str, *, writes: bool) -> sa.Engine:
    """An engine in driver autocommit: the writer begins and commits by hand, readers see each statement alone."""
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False, isolation_level=None
        ),
        poolclass=sa.pool.QueuePool,
        pool_size=1 if writes else READ_CONNECTIONS,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
    sa.event.listen(engine, "connect", _pragmas_for(writes=writes))
    return engine


def _pragmas_for(*, writes: bool) -> Callable[[Any, Any], None]:
    own = ("journal_mode=WAL", "synchronous=FULL") if writes else ("query_only=ON", "wal_autocheckpoint=0")
    shared = (f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON", "trusted_schema=OFF", "temp_store=MEMORY")

    def set_pragmas(dbapi: sqlite3.Connection, _record: Any) -> None:
        for pragma in (*shared, *own):
            dbapi.execute(f"PRAGMA {pragma}").close()

    return set_pragmas


class SqliteWriter:
    """Runs functions one after the other, each in a savepoint, and answers the callers after COMMIT."""

    def __init__(self, engine: sa.Engine, make_tx: MakeTx) -> None:
        self._engine = engine
        self._make_tx = make_tx
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=QUEUE_LIMIT)
        self._conn = _connect(engine)
        self._thread = threading.Thread(target=self._loop, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work, settle: Settle) -> None:
        """Queue the function; `settle((tx, result), error)` is called in the writer thread after its commit."""
        try:
            self._jobs.put_nowait(_Job(work, settle))
        except queue.Full:
            raise Unavailable("The write queue is full; try again in a moment.") from None

    def close(self) -> None:
        """Finish what is queued, checkpoint, and stop."""
        self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        with self._conn as conn:
            dbapi = conn.connection.driver_connection
            assert isinstance(dbapi, sqlite3.Connection)
            while True:
                group = self._next_group()
                if group is None:
                    dbapi.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
                    return
                self._run_or_fail(conn, dbapi, group)
                for job in group:
                    job.settle((job.tx, job.result), job.error)

    def _next_group(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        group = [first]
        while len(group) < GROUP_FUNCTIONS:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            group.append(job)
        return group

    def _run_or_fail(self, conn: sa.Connection, dbapi: sqlite3.Connection, group: list[_Job]) -> None:
        """The thread outlives whatever happens: a caller of a dead writer would wait for ever."""
        try:
            self._run(conn, dbapi, group)
        except Exception as error:  # noqa: BLE001 - every caller of the group hears it
            _roll_back(dbapi)
            for job in group:
                job.error = job.error or _as_unavailable(error)

    def _run(self, conn: sa.Connection, dbapi: sqlite3.Connection, group: list[_Job]) -> None:
        """Commit the functions together; whatever time leaves over, in a next commit."""
        waiting = group
        while waiting:
            done = self._commit_together(conn, dbapi, waiting)
            waiting = waiting[done:]

    def _commit_together(self, conn: sa.Connection, dbapi: sqlite3.Connection, jobs: list[_Job]) -> int:
        """Run as many jobs as fit the time in one transaction; answers how many are settled."""
        if len(jobs) == 1:
            _alone(conn, dbapi, jobs[0], self._make_tx)
            return 1
        try:
            _begin(dbapi)
        except sqlite3.Error as error:
            # Nothing ran, and nothing would run alone: each would wait as long again.
            for job in jobs:
                job.error = _as_unavailable(error)
            return len(jobs)
        started, count = monotonic(), 0
        try:
            for job in jobs:
                _in_savepoint(conn, dbapi, job, self._make_tx)
                count += 1
                if monotonic() - started > GROUP_SECONDS:
                    break
            dbapi.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(dbapi)
            _exit_on_disk_failure(error)
            count = max(count, 1)
            for job in jobs[:count]:
                _alone(conn, dbapi, job, self._make_tx)
        return count


def _connect(engine: sa.Engine) -> sa.Connection:
    """The writer's connection, before anybody reads: changing a new file to WAL meets no lock, or waits for it."""
    for tries_left in range(CONNECT_TRIES - 1, -1, -1):
        try:
            return engine.connect()
        except sa.exc.OperationalError as error:
            if tries_left == 0 or not _name_of(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise
            time.sleep(CONNECT_PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _begin(dbapi: sqlite3.Connection) -> None:
    for attempt in range(BUSY_RETRIES + 1):
        try:
            dbapi.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or attempt == BUSY_RETRIES:
                raise


def _in_savepoint(conn: sa.Connection, dbapi: sqlite3.Connection, job: _Job, make_tx: MakeTx) -> None:
    """One function among others; its failure undoes only itself. Raises sqlite3.Error when the whole group is lost."""
    dbapi.execute("SAVEPOINT one")
    _call(conn, job, make_tx)
    if job.error is not None:
        if not dbapi.in_transaction:
            raise sqlite3.OperationalError("the transaction is gone")
        dbapi.execute("ROLLBACK TO one")
    dbapi.execute("RELEASE one")


def _alone(conn: sa.Connection, dbapi: sqlite3.Connection, job: _Job, make_tx: MakeTx) -> None:
    """One function in a transaction of its own; the error, if any, is kept for its caller."""
    try:
        for attempt in range(BUSY_RETRIES + 1):
            _begin(dbapi)
            _call(conn, job, make_tx)
            if job.error is None:
                dbapi.execute("COMMIT")
                return
            _roll_back(dbapi)
            if not _is_busy(job.error) or attempt == BUSY_RETRIES:
                return
    except sqlite3.Error as error:
        _roll_back(dbapi)
        _exit_on_disk_failure(error)
        job.error = _as_unavailable(error)


def _call(conn: sa.Connection, job: _Job, make_tx: MakeTx) -> None:
    job.error, job.result = None, None
    job.tx = make_tx(conn)
    try:
        with transaction_open():
            job.result = job.work(job.tx)
    except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
        job.error = _as_unavailable(error)


def _roll_back(dbapi: sqlite3.Connection) -> None:
    if dbapi.in_transaction:
        dbapi.execute("ROLLBACK")


def _name_of(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error.__cause__ or error
    return str(getattr(original, "sqlite_errorname", ""))


def _is_busy(error: BaseException) -> bool:
    return _name_of(error).startswith("SQLITE_BUSY")


def _as_unavailable(error: BaseException) -> BaseException:
    if _name_of(error).startswith(
        ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")
    ):
        unavailable = Unavailable("The database does not take writes at the moment.")
        unavailable.__cause__ = error
        return unavailable
    return error


def _exit_on_disk_failure(error: BaseException) -> None:
    """After a failed fsync nobody knows what the disk holds: stop, so that recovery starts from the file."""
    if _name_of(error).startswith("SQLITE_IOERR_FSYNC"):
        os._exit(EXIT_DISK_FAILED)
