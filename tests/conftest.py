"""Fixtures every test may use: a database of either kind with the whole schema, and a frozen clock."""

import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from paystate.kit.clock import SECOND, FrozenClock, Instant, SystemClock
from paystate.machinery.db import Database, open_database
from paystate.machinery.db.postgres import sqlalchemy_url
from paystate.migrations.schema import create_schema
from tests.postgres import Cluster, shared_cluster

TEMPLATE = "paystate_template"


def _prepare(cluster: Cluster) -> None:
    cluster.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
    cluster.execute(f"CREATE DATABASE {TEMPLATE}")
    engine = sa.create_engine(sqlalchemy_url(cluster.database_url(TEMPLATE)), poolclass=sa.NullPool)
    create_schema(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shared by all workers of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres_cluster(run_folder: Path):
    with shared_cluster(run_folder, _prepare) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "paystate.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    create_schema(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path):
    """The address of a fresh database with the whole schema, once of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "paystate.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    url = cluster.copy_of(TEMPLATE)
    yield url
    cluster.drop(url)


@pytest.fixture
def clock() -> FrozenClock:
    """Stands still at the second the test began: simulators live in real time, and must not see us in their past."""
    return FrozenClock(Instant(SystemClock().now() // SECOND * SECOND))


@pytest.fixture
def database(database_url: str, clock: FrozenClock):
    """An open database whose time stands still until `clock.advance`."""
    opened: Database = open_database(database_url, pool_size=5, clock=clock)
    yield opened
    opened.close()
