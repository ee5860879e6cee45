"""A PostgreSQL cluster of the tests' own: on a free loopback port, dropped when the run ends."""

import contextlib
import fcntl
import getpass
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

START_SECONDS = 60
ROOM_BYTES = 2 * 1024**3


class Cluster:
    """One server for the whole run; every test gets a copy of a migrated template (about 20 ms)."""

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement)

    def copy_of(self, template: str) -> str:
        name = f"paystate_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.database_url(name)

    def empty(self) -> str:
        name = f"paystate_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.database_url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def database_url(self, name: str) -> str:
        return f"{self.url.rsplit('/', 1)[0]}/{name}"


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).parent
    raise RuntimeError(
        "PostgreSQL's server binaries are missing: install the package postgresql, or set PAYSTATE_TEST_POSTGRES_URL"
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _as_postgres(command: list[str]) -> list[str]:
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        if getpass.getuser() == "root"
        else command
    )


def _in_memory() -> str | None:
    """Where files live in memory, if there is room: every test copies a database, and a disk makes that the longest part."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM_BYTES:
        return None
    return str(memory)


@contextlib.contextmanager
def running_cluster():
    """Start a cluster (or use PAYSTATE_TEST_POSTGRES_URL), stop and remove it afterwards."""
    given = os.environ.get("PAYSTATE_TEST_POSTGRES_URL")
    if given:
        yield Cluster(given)
        return
    binaries, port = _binaries(), _free_port()
    home = Path(tempfile.mkdtemp(prefix="paystate-pg-", dir=_in_memory()))
    if getpass.getuser() == "root":
        shutil.chown(home, "postgres", "postgres")
    data = home / "data"
    subprocess.run(
        _as_postgres(
            [
                str(binaries / "initdb"),
                "-D",
                str(data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
        ),
        check=True,
        capture_output=True,
        cwd=home,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c max_connections=300 -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off"
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-t", str(START_SECONDS)]
    subprocess.run(
        _as_postgres([*control, "-l", str(home / "log"), "-o", options, "start"]),
        check=True,
        capture_output=True,
        cwd=home,
    )
    try:
        yield Cluster(f"postgresql://postgres@127.0.0.1:{port}/postgres")
    finally:
        subprocess.run(
            _as_postgres([*control, "-m", "immediate", "stop"]), check=False, capture_output=True, cwd=home
        )
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def shared_cluster(shared: Path, prepare):
    """One cluster for all xdist workers: the first to come starts it, the last to leave stops it."""
    lock, state = shared / "postgres.lock", shared / "postgres.json"
    with _locked(lock):
        record = json.loads(state.read_text()) if state.exists() else {"users": 0}
        if record["users"] == 0:
            context = running_cluster()
            cluster = context.__enter__()
            _KEEP[str(state)] = context
            record = {"users": 0, "url": cluster.url}
            prepare(cluster)
        record["users"] += 1
        state.write_text(json.dumps(record))
    try:
        yield Cluster(record["url"])
    finally:
        _leave(lock, state)


_KEEP: dict[str, contextlib.AbstractContextManager] = {}


def _leave(lock: Path, state: Path) -> None:
    with _locked(lock):
        record = json.loads(state.read_text())
        record["users"] -= 1
        state.write_text(json.dumps(record))
    context = _KEEP.pop(str(state), None)
    if context is not None:
        _wait_for_others(lock, state)
        context.__exit__(None, None, None)


def _wait_for_others(lock: Path, state: Path) -> None:
    import time

    for _ in range(6000):
        with _locked(lock):
            if json.loads(state.read_text())["users"] <= 0:
                return
        time.sleep(0.1)


@contextlib.contextmanager
def _locked(path: Path):
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
