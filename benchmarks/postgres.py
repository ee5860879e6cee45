"""A PostgreSQL cluster of the benchmarks' own, on a free loopback port, removed at the end.

It is not shared with the tests on purpose: a figure holds only for a server that really syncs its log, and the tests
are free to switch that off one day to be faster.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.processes import free_port

START_SECONDS = 60
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
GIVEN = "PAYSTATE_TEST_POSTGRES_URL"


class Cluster:
    """A server with as many databases as wanted."""

    def __init__(self, url: str) -> None:
        self._url = url

    def execute(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as conn:
            conn.execute(statement)

    def create(self, *, template: str | None = None) -> str:
        """A new database, empty or a copy of another one; answers its URL."""
        name = f"paystate_bench_{secrets.token_hex(6)}"
        source = "" if template is None else f" TEMPLATE {template.rsplit('/', 1)[1]} STRATEGY FILE_COPY"
        self.execute(f"CREATE DATABASE {name}{source}")
        return f"{self._url.rsplit('/', 1)[0]}/{name}"

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def analyze(self, url: str) -> None:
        """Let the planner know the rows, as autovacuum does in the first minute of a real installation."""
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE")

    def settle(self) -> None:
        """Write everything down now, so that it does not happen during the next run."""
        self.execute("CHECKPOINT")

    def refuse_unless_durable(self) -> None:
        """Raise RuntimeError when the server does not sync: its figures would be worth nothing."""
        with psycopg.connect(self._url, autocommit=True) as conn:
            for name, wanted in DURABLE.items():
                row = conn.execute(f"SHOW {name}").fetchone()
                if row != (wanted,):
                    raise RuntimeError(f"PostgreSQL runs with {name} = {row}, the figures need {wanted}")


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster, or use the server that the environment names; stop and remove it afterwards."""
    given = os.environ.get(GIVEN)
    if given:
        cluster = Cluster(given)
        cluster.refuse_unless_durable()
        yield cluster
        return
    binaries, port = _binaries(), free_port()
    home = Path(tempfile.mkdtemp(prefix="paystate-bench-pg-"))
    if getpass.getuser() == "root":
        shutil.chown(home, "postgres", "postgres")
    control = [str(binaries / "pg_ctl"), "-D", str(home / "data"), "-w", "-t", str(START_SECONDS)]
    try:
        _as_postgres([str(binaries / "initdb"), *_options_of_initdb(home)], home)
        listen = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home}"
        _as_postgres([*control, "-l", str(home / "log"), "-o", listen, "start"], home)
        try:
            cluster = Cluster(f"postgresql://postgres@127.0.0.1:{port}/postgres")
            cluster.refuse_unless_durable()
            yield cluster
        finally:
            _as_postgres([*control, "-m", "immediate", "stop"], home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _options_of_initdb(home: Path) -> list[str]:
    return ["-D", str(home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]


def _as_postgres(command: list[str], home: Path) -> None:
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    prefix = other if getpass.getuser() == "root" else []
    subprocess.run([*prefix, *command], check=True, capture_output=True, cwd=home, timeout=2 * START_SECONDS)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found or on_path:
        return (found[-1] if found else Path(str(on_path))).parent
    raise RuntimeError(f"PostgreSQL's server binaries are missing: install postgresql, or set {GIVEN}")
