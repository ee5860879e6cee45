"""Each invariant is broken by raw SQL on both databases, and the audit names exactly that one."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest
from tests import a
from tests.conftest import TEMPLATE
from tests.flows.audit_breaks import BREAKS, Break
from tests.flows.audit_world import World, build
from tests.postgres import Cluster

from paystate.flows.audit import RULES, Report, audit
from paystate.flows.audit_secrets import NUMBER
from paystate.kit.clock import FrozenClock, SystemClock
from paystate.machinery.db import open_database

REFUSALS = (sqlite3.IntegrityError, psycopg.errors.IntegrityError)


PAIRS = [
    pytest.param(dialect, broken, id=f"{broken.id}-{dialect}")
    for broken in BREAKS
    for dialect in ("sqlite", "postgresql")
    if broken.only in (None, dialect)
]


@dataclass(frozen=True)
class Remains:
    """What is left of a world after its process has ended, as a template to copy."""

    world: World
    url: str


@pytest.fixture(scope="module")
def remains_on(
    sqlite_template: Path, postgres_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Remains]:
    """The world on a database of this kind, built when it is first asked for."""

    @cache
    def built(dialect: str) -> Remains:
        folder = tmp_path_factory.mktemp(f"audit-{dialect}")
        url = f"sqlite:///{shutil.copy(sqlite_template, folder)}"
        if dialect == "postgresql":
            url = postgres_cluster.copy_of(TEMPLATE)
        return Remains(asyncio.run(_build(url, folder)), url)

    return built


async def _build(url: str, folder: Path) -> World:
    clock = FrozenClock(SystemClock().now())
    async with a.shop(url, folder, clock, sandbox_provider_rate=10_000) as shop:
        return await build(shop, clock)


@pytest.fixture
def remains(remains_on: Callable[[str], Remains], postgres_cluster: Cluster, dialect: str, tmp_path: Path):
    """A copy of the world that the test may break."""
    template = remains_on(dialect)
    if dialect == "sqlite":
        path = shutil.copy(template.url.removeprefix("sqlite:///"), tmp_path)
        yield Remains(template.world, f"sqlite:///{path}")
        return
    url = postgres_cluster.copy_of(template.url.rsplit("/", 1)[1])
    yield Remains(template.world, url)
    postgres_cluster.drop(url)


def _audit(left: Remains) -> Report:
    database = open_database(left.url, clock=left.world.clock)
    try:
        return database.snapshot_sync(lambda tx: audit(tx, keys=left.world.shop.app.ctx.keys))
    finally:
        database.close()


def _run(url: str, statements: Sequence[str], *, protected: bool) -> None:
    """All of the statements in one transaction, on a connection of nobody's."""
    if url.startswith("sqlite"):
        conn = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        conn.execute(f"PRAGMA foreign_keys = {'ON' if protected else 'OFF'}")
        conn.execute(f"PRAGMA ignore_check_constraints = {'OFF' if protected else 'ON'}")
        conn.execute("PRAGMA legacy_alter_table = ON")
    else:
        conn = psycopg.connect(url, autocommit=True)
        conn.execute(f"SET session_replication_role = {'origin' if protected else 'replica'}")
    try:
        conn.execute("BEGIN")
        for statement in statements:
            conn.execute(statement)
        conn.execute("COMMIT")
    finally:
        conn.close()


def _unprotect(url: str, tables: Sequence[str]) -> None:
    """Take keys, constraints, indexes and triggers from these tables; the rows stay."""
    if url.startswith("sqlite"):
        for table in tables:
            bare = (f"CREATE TABLE bare AS SELECT * FROM {table}", f"DROP TABLE {table}")
            _run(url, (*bare, f"ALTER TABLE bare RENAME TO {table}"), protected=False)
        return
    for table in tables:
        with psycopg.connect(url, autocommit=True) as conn:
            keys = conn.execute(
                "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass", [table]
            ).fetchall()
            for (name,) in keys:
                conn.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name} CASCADE")
            indexes = conn.execute(
                "SELECT indexname FROM pg_indexes WHERE tablename = %s", [table]
            ).fetchall()
            for (name,) in indexes:
                conn.execute(f"DROP INDEX {name}")


@pytest.mark.parametrize(("dialect", "broken"), PAIRS)
def test_the_audit_names_exactly_what_is_broken(remains: Remains, dialect: str, broken: Break) -> None:
    assert _audit(remains).sound
    statements = [statement.format_map(remains.world.names) for statement in broken.sql]
    if broken.refused in ("both", dialect):
        with pytest.raises(REFUSALS):
            _run(remains.url, statements, protected=True)
        assert _audit(remains).sound
        _unprotect(remains.url, broken.tables)
        _run(remains.url, statements, protected=False)
    else:
        _run(remains.url, statements, protected=True)
    report = _audit(remains)
    assert report.broken == [broken.invariant], [c for c in report.invariants if c.count]
    assert not report.sound


def test_every_invariant_is_broken_at_least_once() -> None:
    known = sorted([*(rule.number for rule in RULES), NUMBER])
    assert known == list(range(1, 23))
    assert {b.invariant for b in BREAKS} == set(known)
