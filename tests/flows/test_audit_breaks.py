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

from paystate.domain.audit import close_block
from paystate.flows.audit import RULES, Report, audit
from paystate.flows.audit_secrets import NUMBER
from paystate.kit.clock import HOUR, FrozenClock, Instant, SystemClock
from paystate.machinery.db import open_database
from paystate.machinery.secrets import KeyRing, generate_key_text

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


LATE = {
    "Nothing is held under a lease that is long over": (
        "UPDATE job_runs SET state = 'RUNNING', finished_at = NULL, lease_until = 1",
    ),
    "Every check that is due is made": (
        "UPDATE attempts SET next_check_at = 1 WHERE id = '{waiting_attempt}'",
    ),
    "No payment waits past its time": ("UPDATE payments SET due_at = 1 WHERE id = '{untouched}'",),
    "Every review has an open case": ("DELETE FROM cases WHERE payment_id = '{short}'",),
    "Events and audit entries are numbered": (
        "INSERT INTO audit_log (id, actor, action, resource_id, before, after, reason, commit_id, at) "
        "VALUES ('aud_x', 'job:x', 'x', 'x', '{{}}', '{{}}', '', 'x', 1)",
    ),
    "What is paid is fulfilled": ("UPDATE fulfilments SET state = 'DUE', created_at = 1",),
    "Every message of a provider is looked at": (
        "UPDATE provider_events SET state = 'RECEIVED', received_at = 1",
    ),
}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("rule", LATE)
def test_what_is_stuck_is_told_apart_from_what_is_wrong(remains: Remains, dialect: str, rule: str) -> None:
    assert _audit(remains).stuck == 0
    _run(remains.url, [statement.format_map(remains.world.names) for statement in LATE[rule]], protected=True)
    report = _audit(remains)
    assert [(late.name, late.count) for late in report.liveness if late.count] == [(rule, 1)]
    assert report.sound, report.broken


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_provider_that_is_processing_or_silent_is_waited_for(remains: Remains, dialect: str) -> None:
    names = remains.world.names
    overdue = "UPDATE payments SET due_at = 1, expires_at = NULL WHERE id IN ('{processing}', '{waiting}')"
    silent = "UPDATE attempts SET silent_since = 9999999999999999 WHERE id = '{waiting_attempt}'"
    _run(remains.url, [overdue.format_map(names), silent.format_map(names)], protected=True)
    assert _audit(remains).stuck == 0
    heard = "UPDATE attempts SET silent_since = NULL WHERE id = '{waiting_attempt}'"
    _run(remains.url, [heard.format_map(names)], protected=True)
    assert _audit(remains).stuck == 1


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_many_rows_are_counted_and_a_hundred_shown(remains: Remains, dialect: str) -> None:
    row = (
        "INSERT INTO api_keys (id, merchant_id, name, key_hash, prefix, last4, scopes, addresses, created_at) "
        "VALUES ('key_{0}', '{1}', 'x', 'x{0}', 'psk_x', 'x', '[]', '[]', 1)"
    )
    merchant = remains.world.names["merchant"]
    _run(remains.url, [row.format(n, merchant) for n in range(150)], protected=True)
    [unaudited] = [found for found in _audit(remains).invariants if found.count]
    assert (unaudited.number, unaudited.count, len(unaudited.rows)) == (21, 150, 100)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_changed_audit_entry_is_found_by_the_chain(remains: Remains, dialect: str) -> None:
    database = open_database(remains.url, clock=FrozenClock(Instant(remains.world.clock.now() + HOUR)))
    block = database.write_sync(lambda tx: close_block(tx, a.WHO, older_than=0))
    database.close()
    assert block is not None
    assert _audit(remains).sound
    _unprotect(remains.url, ["audit_log"])
    _run(remains.url, ["UPDATE audit_log SET reason = 'another' WHERE position = 1"], protected=False)
    report = _audit(remains)
    assert (report.broken, report.sound, len(report.chain.problems)) == ([], False, 1)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_secrets_that_no_key_opens_are_named(remains: Remains, dialect: str) -> None:
    database = open_database(remains.url, clock=remains.world.clock)
    other = KeyRing.parse(generate_key_text())
    report = database.snapshot_sync(lambda tx: audit(tx, keys=other))
    database.close()
    assert report.sound
    [late] = [late for late in report.liveness if late.count]
    assert (late.name, late.count) == ("Every connection's secrets can be opened", 2)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_sqlite_says_itself_what_is_wrong_with_its_file(remains: Remains, dialect: str) -> None:
    orphan = (
        "INSERT INTO customers (id, merchant_id, metadata, version, created_at, updated_at) "
        "VALUES ('cus_x', 'mer_nobody', '{}', 1, 1, 1)"
    )
    _run(remains.url, [orphan], protected=False)
    report = _audit(remains)
    assert report.broken == []
    assert report.storage == ["foreign_key_check: a row of customers has no parent in merchants"]
    assert not report.sound
