"""PostgreSQL through psycopg: pooled connections, bounded reruns, and commits whose answer was lost."""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa

from paystate.kit.errors import OutcomeUnknown, Unavailable
from paystate.machinery.db.open_transaction import transaction_open
from paystate.machinery.db.transaction import Tx

T = TypeVar("T")

RERUNS = 8
RERUN_PAUSE_SECONDS = 0.01
RERUN_STATES = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the only answers after which a whole transaction runs again."""

UNAVAILABLE_STATES = ("53", "57", "58", "08", "25006", "55P03")
CONNECT_TIMEOUT_SECONDS = 5
LOCK_TIMEOUT_MS = 2_000
IDLE_TIMEOUT_MS = 10_000
POOL_WAIT_SECONDS = 3


def open_engine(url: str, *, pool_size: int, statement_timeout_ms: int) -> sa.Engine:
    """A pooled engine whose sessions cannot hang: every wait of theirs has a limit."""
    options = (
        f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={LOCK_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS} -c timezone=UTC"
    )
    return sa.create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": options,
            "application_name": "paystate",
        },
    )


def sqlalchemy_url(url: str) -> sa.URL:
    """`postgresql://…` for SQLAlchemy with psycopg 3."""
    return sa.make_url(url).set(drivername="postgresql+psycopg")


def write(engine: sa.Engine, work: Callable[[Tx], T], make_tx: Callable[[sa.Connection], Tx]) -> tuple[T, Tx]:
    """Run the function in one transaction; again only after a serialization failure or a deadlock.

    Raises Unavailable when the database does not answer, OutcomeUnknown when it was lost during COMMIT.
    """
    for attempt in range(RERUNS + 1):
        try:
            return _once(engine, work, make_tx)
        except sa.exc.DBAPIError as error:
            if _state_of(error) not in RERUN_STATES or attempt == RERUNS:
                raise as_unavailable(error) from error
        except sa.exc.TimeoutError as error:
            raise Unavailable("All database connections are in use; try again in a moment.") from error
        time.sleep(RERUN_PAUSE_SECONDS * random.uniform(0.5, 1.5) * 2**attempt)  # noqa: S311 - jitter
    raise AssertionError("unreachable")


def _once(engine: sa.Engine, work: Callable[[Tx], T], make_tx: Callable[[sa.Connection], Tx]) -> tuple[T, Tx]:
    with engine.connect() as conn:
        tx = make_tx(conn)
        with transaction_open():
            result = work(tx)
        try:
            conn.commit()
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise OutcomeUnknown("The connection was lost while the commit was under way.") from error
            raise
        return result, tx


def as_unavailable(error: sa.exc.DBAPIError) -> Exception:
    """Unavailable for a database that cannot work now; the error itself for anything that is our mistake."""
    state = _state_of(error)
    lost = error.connection_invalidated or (isinstance(error.orig, psycopg.OperationalError) and not state)
    if lost or state.startswith(UNAVAILABLE_STATES):
        return Unavailable("The database does not answer at the moment.")
    return error


def _state_of(error: sa.exc.DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def read_clock(conn: sa.Connection) -> Any:
    """The database's time in microseconds, plus the test offset."""
    return conn.exec_driver_sql(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + offset_us FROM clock"
    ).scalar_one()
