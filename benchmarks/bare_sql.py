"""The driver under Paystate without Paystate: one connection with the same pragmas or session settings."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from paystate.machinery.db import postgres, sqlite

Columns = tuple[list[Any], ...]


@contextlib.contextmanager
def bare_connection(url: str) -> Iterator[Any]:
    """A `sqlite3` or `psycopg` connection exactly as `machinery.db` opens it for writing."""
    if url.startswith("sqlite"):
        engine = sqlite.open_engine(url.removeprefix("sqlite:///"), writes=True)
    else:
        engine = postgres.open_engine(url, pool_size=1, statement_timeout_ms=5_000)
    raw = engine.raw_connection()
    try:
        yield raw.driver_connection
    finally:
        raw.close()
        engine.dispose()


def columns(rows: Sequence[Sequence[Any]]) -> Columns:
    """Rows as one array per column, which is how PostgreSQL takes a set."""
    return tuple(map(list, zip(*rows, strict=True)))
