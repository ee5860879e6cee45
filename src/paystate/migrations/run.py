"""Brings a database to the schema of this release, whole or not at all."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from paystate.machinery.db import postgres, sqlite
from paystate.machinery.failpoints import declare, failpoint

__all__ = ["CommandError", "current_revision", "is_current", "migrate"]

STATEMENT = declare("migrate.statement", "a statement of a migration is about to run")

ADVISORY_LOCK = 7_098_420_111
"""The number PostgreSQL knows our migrations by: two at once queue up."""

STATEMENT_TIMEOUT_MS = 600_000
LOCK_QUEUE_TIMEOUT_MS = 10_000
"""A table that stays busy so long fails the migration: behind a waiting ALTER everything else would queue up."""

SCRIPTS = Path(__file__).parent


def migrate(url: str) -> None:
    """Run every migration the database lacks, in one transaction; with nothing to do it changes nothing.

    Two processes may do this at once: one works, the other waits and finds nothing left. A process that is killed
    leaves the database as it was. A SQLite file is copied first, to `<file>.before-<the new revision>`.
    Raises Unavailable when the database does not answer, CommandError when a later release has migrated it.
    """
    with _sqlite(url) if _is_sqlite(url) else _postgresql(url) as conn:
        if _revision(conn) == _head():
            return
        if _is_sqlite(url) and _revision(conn) is not None:
            _back_up(_path(url), _head())
        sa.event.listen(conn, "before_cursor_execute", _before_statement)
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def current_revision(url: str) -> str | None:
    """The last migration this database has; None for an empty or missing one. Changes and creates nothing."""
    if _is_sqlite(url):
        if not _path(url).exists():
            return None
        engine = sqlite.open_engine(str(_path(url)), writes=False)
    else:
        engine = postgres.open_engine(url, pool_size=1, statement_timeout_ms=STATEMENT_TIMEOUT_MS)
    try:
        with _unavailable_in_our_words(), engine.connect() as conn:
            return _revision(conn)
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Whether the database has the schema this release was written for."""
    return current_revision(url) == _head()


def _head() -> str:
    head = ScriptDirectory(str(SCRIPTS)).get_current_head()
    assert head is not None, "there is no migration at all"
    return head


def _revision(conn: sa.Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _before_statement(*_of_cursor: Any) -> None:
    failpoint(STATEMENT)


@contextlib.contextmanager
def _sqlite(url: str) -> Iterator[sa.Connection]:
    """The one writer of the file; foreign keys are checked at the end, so that a migration may rebuild a table."""
    _path(url).parent.mkdir(parents=True, exist_ok=True)
    _path(url).touch(mode=0o600)  # what SQLite puts beside it takes its rights from it
    engine = sqlite.open_engine(str(_path(url)), writes=True)
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA foreign_keys=OFF")
            conn.exec_driver_sql(f"PRAGMA busy_timeout={STATEMENT_TIMEOUT_MS}")
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield conn
                _refuse_dangling(conn)
                conn.exec_driver_sql("COMMIT")
            except BaseException:
                conn.exec_driver_sql("ROLLBACK")
                raise
    finally:
        engine.dispose()


def _refuse_dangling(conn: sa.Connection) -> None:
    dangling = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
    assert dangling is None, f"a migration left rows that refer to nothing: {dangling}"


@contextlib.contextmanager
def _postgresql(url: str) -> Iterator[sa.Connection]:
    """One transaction, alone among migrations, with ten minutes instead of the usual few seconds."""
    engine = postgres.open_engine(url, pool_size=1, statement_timeout_ms=STATEMENT_TIMEOUT_MS)
    try:
        with _unavailable_in_our_words(), engine.begin() as conn:
            conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            conn.exec_driver_sql("SET LOCAL lock_timeout = 0")
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            conn.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_QUEUE_TIMEOUT_MS}")
            yield conn
    finally:
        engine.dispose()


@contextlib.contextmanager
def _unavailable_in_our_words() -> Iterator[None]:
    """Raises Unavailable for a database that does not answer now; what is our mistake stays what it is."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise postgres.as_unavailable(error) from error.orig


def _back_up(path: Path, revision: str) -> None:
    """A copy of all that is committed, complete before it has its name. An older copy of the name stays."""
    kept = path.with_name(f"{path.name}.before-{revision}")
    if kept.exists():
        return
    partial = kept.with_name(f"{kept.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(partial)) as copy,
    ):
        source.backup(copy)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(kept)
