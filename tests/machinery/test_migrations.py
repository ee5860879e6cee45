"""Migrations arrive at exactly the declared schema, once, whole or not at all."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from paystate.kit.errors import Unavailable
from paystate.machinery import failpoints
from paystate.machinery.db.postgres import sqlalchemy_url
from paystate.migrations import run
from paystate.migrations.run import STATEMENT, current_revision, is_current, migrate
from paystate.migrations.schema import create_schema, whole_metadata

HEAD = "2026_11_20_foundation"

MIGRATE = """
import sys
from pathlib import Path
from paystate.machinery import failpoints
from paystate.migrations.run import migrate
failpoints.arm(sys.argv[2], log=Path(sys.argv[3]))
print("ready", flush=True)
sys.stdin.read()
migrate(sys.argv[1])
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path):
    """The addresses of two databases of one kind that nobody has touched."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
        return
    cluster = request.getfixturevalue("postgres_cluster")
    urls = cluster.empty(), cluster.empty()
    yield urls
    for url in urls:
        cluster.drop(url)


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url if url.startswith("sqlite") else sqlalchemy_url(url), poolclass=sa.NullPool)


POSTGRES_PICTURE = (
    "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT c.relname || ' ' || coalesce(c.reloptions::text, '') FROM pg_class c "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'",
    "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || "
    "coalesce(pg_get_expr(d.adbin, d.adrelid), '') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0",
    "SELECT c.relname || ' ' || d.objsubid || ' ' || d.description FROM pg_description d "
    "JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass "
    "WHERE c.relnamespace = 'public'::regnamespace",
)


def picture(url: str) -> set[str]:
    """Every line of the schema that the database itself can recite."""
    with engine_of(url).connect() as conn:
        if conn.dialect.name == "postgresql":
            lines = {str(row[0]) for sql in POSTGRES_PICTURE for row in conn.exec_driver_sql(sql)}
        else:
            lines = sqlite_picture(conn)
    return {line for line in lines if "alembic_version" not in line}


def sqlite_picture(conn: sa.Connection) -> set[str]:
    lines = set()
    for kind, name, sql in conn.exec_driver_sql(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    ):
        if kind != "table":
            lines.add(" ".join(sql.split()))
            continue
        lines |= {
            f"{name} {tuple(column)[1:]}" for column in conn.exec_driver_sql(f"PRAGMA table_info({name})")
        }
        lines |= {f"{name} {piece}" for piece in constraints_in(sql)}
    return lines


def constraints_in(sql: str) -> list[str]:
    """Each `CONSTRAINT …` of a CREATE TABLE, whether it stands beside its column or at the end."""
    found = []
    for start in (match.start() for match in re.finditer(r"CONSTRAINT \w+ ", sql)):
        end, depth = start, 0
        while depth or sql[end] not in ",)":
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        found.append(" ".join(sql[start:end].split()).removesuffix(" NOT NULL"))
    return found


def test_from_nothing_to_the_declared_schema(empty):
    migrated, declared = empty
    assert current_revision(migrated) is None
    assert not is_current(migrated)
    migrate(migrated)
    create_schema(engine_of(declared))
    assert current_revision(migrated) == HEAD
    assert is_current(migrated)
    seen = picture(migrated)
    assert seen == picture(declared)
    assert {t.name for t in whole_metadata().tables.values()} <= {
        line.split(".")[0].split()[0] for line in seen
    }
    with engine_of(migrated).connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), whole_metadata()) == []
        assert conn.exec_driver_sql("SELECT id, offset_us FROM clock").all() == [(1, 0)]


def test_a_difference_would_be_seen(empty):
    url, _ = empty
    migrate(url)
    before = picture(url)
    with engine_of(url).begin() as conn:
        conn.exec_driver_sql("ALTER TABLE wallets ADD COLUMN surplus BIGINT CHECK (surplus > 0)")
        conn.exec_driver_sql(
            "DROP TRIGGER receipts_no_update"
            if url.startswith("sqlite")
            else "DROP TRIGGER receipts_append_only ON receipts"
        )
    after = picture(url)
    assert any("surplus" in line for line in after - before)
    assert any("receipts" in line for line in before - after)


def test_asking_creates_nothing(tmp_path):
    assert current_revision(f"sqlite:///{tmp_path}/none.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_answer_is_unavailable():
    nobody = "postgresql://paystate@127.0.0.1:1/paystate"
    for ask in (current_revision, is_current, migrate):
        with pytest.raises(Unavailable):
            ask(nobody)


def test_nobody_else_can_read_a_new_file(tmp_path):
    migrate(f"sqlite:///{tmp_path}/folder/new.db")
    assert (tmp_path / "folder" / "new.db").stat().st_mode & 0o777 == 0o600


def test_a_second_run_changes_nothing(empty):
    url, _ = empty
    migrate(url)
    with engine_of(url).begin() as conn:
        conn.exec_driver_sql("UPDATE clock SET offset_us = 7")
    before = picture(url)
    migrate(url)
    assert picture(url) == before
    with engine_of(url).connect() as conn:
        assert conn.exec_driver_sql("SELECT offset_us FROM clock").scalar_one() == 7


def start(url: str, points: str, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MIGRATE, url, points, str(log)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_of_two_at_once_one_works_and_one_finds_nothing_left(empty, tmp_path):
    url, _ = empty
    # Each statement takes a moment, so that the second surely comes while the first is at work.
    racers = [start(url, f"{STATEMENT}=sleep:0.002", tmp_path / f"log{n}") for n in range(2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.close()
        racer.stdin = None
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], answers
    assert is_current(url)
    assert sorted((tmp_path / f"log{n}").exists() for n in range(2)) == [False, True]


@pytest.mark.parametrize("statement", [1, 40, 90])
def test_one_killed_in_the_middle_leaves_nothing_and_the_next_completes(empty, tmp_path, statement):
    url, other = empty
    victim = start(url, f"{STATEMENT}=kill@{statement}", tmp_path / "log")
    answer = victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL, answer
    assert (tmp_path / "log").read_text() == f"{STATEMENT}\n"
    assert picture(url) == set()
    assert current_revision(url) is None
    migrate(url)
    migrate(other)
    assert picture(url) == picture(other)


def test_a_failing_statement_undoes_all(empty):
    url, _ = empty
    failpoints.arm(f"{STATEMENT}=raise@90")
    try:
        with pytest.raises(failpoints.FailpointHit):
            migrate(url)
    finally:
        failpoints.arm(None)
    assert picture(url) == set()
    migrate(url)
    assert is_current(url)


@pytest.fixture
def next_release(tmp_path, monkeypatch):
    """The scripts of this release and one revision more, which changes a table."""
    scripts = tmp_path / "scripts"
    shutil.copytree(run.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "2027_01_01_next.py").write_text(
        '"""A later release."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "2027_01_01_next"\ndown_revision = "{HEAD}"\n\n\n'
        'def upgrade() -> None:\n    op.add_column("wallets", sa.Column("note", sa.Text()))\n'
    )
    return lambda: monkeypatch.setattr(run, "SCRIPTS", scripts)


def test_an_upgrade_keeps_the_rows_and_sqlite_keeps_the_file_from_before(empty, next_release):
    url, _ = empty
    migrate(url)
    with engine_of(url).begin() as conn:
        conn.exec_driver_sql("UPDATE clock SET offset_us = 5")
    next_release()
    assert not is_current(url)
    migrate(url)
    assert current_revision(url) == "2027_01_01_next"
    with engine_of(url).connect() as conn:
        assert conn.exec_driver_sql("SELECT offset_us FROM clock").scalar_one() == 5
    if url.startswith("sqlite"):
        kept = Path(url.removeprefix("sqlite:///") + ".before-2027_01_01_next")
        assert kept.stat().st_mode & 0o777 == 0o600
        with sqlite3.connect(kept) as old:
            assert old.execute("SELECT offset_us FROM clock").fetchone() == (5,)
            assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
        old.close()


def test_a_database_of_a_later_release_is_refused(empty, next_release, monkeypatch):
    url, _ = empty
    ours = run.SCRIPTS
    next_release()
    migrate(url)
    monkeypatch.setattr(run, "SCRIPTS", ours)
    assert not is_current(url)
    with pytest.raises(run.CommandError):
        migrate(url)
    assert current_revision(url) == "2027_01_01_next"
