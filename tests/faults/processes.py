"""Real Paystate processes for tests: started, killed, paused and ended by their own ids, with every word they say kept."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests import a
from tests.spawn import Spawned, spawn

from paystate.app import App, build_app, close_app
from paystate.domain import connections, merchants
from paystate.entrypoints.operations.clock import Advance, advance
from paystate.flows.audit import Report, run_audit
from paystate.flows.make_key import make_key
from paystate.kit.clock import SECOND, monotonic
from paystate.machinery.db.postgres import sqlalchemy_url
from paystate.machinery.secrets import generate_key_text
from paystate.machinery.settings import load_settings
from paystate.migrations.run import SCRIPTS
from paystate.simulators import start_simulator

START_SECONDS = 30.0
STOP_SECONDS = 20.0
LOOK_EVERY_SECONDS = 0.02
TAIL_LINES = 30
TAIL_COLUMNS = 2_000
MANY = "1000000/60"
CRON_SECRET = "a cron secret that only these tests know"
MERCHANT = "Tea House"


async def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for the condition (it may be awaitable) to hold; fail with `what` when it does not in time."""
    deadline = monotonic() + seconds
    while True:
        holds = condition()
        if isinstance(holds, Awaitable):
            holds = await holds
        if holds:
            return
        if monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _group_of(stat: Path) -> int | None:
    """The process group that a line of /proc/…/stat names; None when the process is just gone."""
    try:
        return int(stat.read_text().rpartition(")")[2].split()[2])
    except OSError:
        return None


class Process:
    """One `paystate` process and its lives: each start is a new life with its own output and failpoint log."""

    def __init__(self, role: str, name: str, port: int, environ: Mapping[str, str], folder: Path) -> None:
        self.role, self.name = role, name
        self.url = f"http://127.0.0.1:{port}"
        self._environ = {**environ, "PAYSTATE_PORT": str(port)}
        self._folder = folder
        self._life = 0
        self._child: Spawned | None = None

    @property
    def output(self) -> Path:
        return self._folder / f"{self.name}-{self._life}.out"

    @property
    def _failpoint_log(self) -> Path:
        return self._folder / f"{self.name}-{self._life}.failpoints"

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def words(self) -> str:
        """What this life has said so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def fired(self) -> list[str]:
        """The failpoints that acted in this life."""
        return self._failpoint_log.read_text().split() if self._failpoint_log.exists() else []

    def begin(self, failpoints: str = "") -> None:
        """Start a new life without waiting for it."""
        assert not self.alive, f"{self.name} is running"
        self._life += 1
        environ = {
            **self._environ,
            "PAYSTATE_FAILPOINTS": failpoints,
            "PAYSTATE_FAILPOINTS_LOG": str(self._failpoint_log),
        }
        with self.output.open("wb") as output:
            self._child = spawn(
                [self.role], env=environ, cwd=self._folder, stdout=output, stderr=subprocess.STDOUT
            )

    async def ready(self) -> None:
        """Wait until it works: the web says so itself, a worker in its log."""
        await until(self._is_ready, START_SECONDS, f"{self.name} is ready")

    async def start(self, failpoints: str = "") -> None:
        self.begin(failpoints)
        await self.ready()

    async def _is_ready(self) -> bool:
        assert self.alive, f"{self.name} ended while it started:\n{self.tail()}"
        if self.role == "worker":
            return "worker_started" in self.words()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
                http.get(f"{self.url}/readyz") as answer,
            ):
                return answer.status == 200
        return False

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; answers the exit code, negative for a signal."""
        await until(lambda: not self.alive, seconds, f"{self.name} has ended")
        assert self._child is not None
        return self._child.wait(0)

    async def stop(self) -> None:
        """End it in good order."""
        if self.alive:
            self.resume()
            self.ask_to_stop()
            await self.ended()

    def abandon(self) -> None:
        """At the end of a test, whatever happened: nothing of it, and nothing that it started, stays behind."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait(STOP_SECONDS)

    def children(self) -> list[int]:
        """The processes that this one has started and that live."""
        pid = self.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def left_behind(self) -> list[str]:
        """What still runs of its own group, after its end."""
        groups = [path for path in Path("/proc").glob("[0-9]*/stat") if _group_of(path) == self.pid]
        return [str(path.parent) for path in groups]

    def tail(self) -> str:
        telling = [line for line in self.words().splitlines() if '"level": "info"' not in line]
        lines = [line[:TAIL_COLUMNS] for line in telling[-TAIL_LINES:]]
        return "\n".join([f"--- {self.name}, life {self._life}", *lines])

    def _signal(self, number: signal.Signals) -> None:
        assert self.alive, f"{self.name} is not running:\n{self.tail()}"
        assert self._child is not None
        self._child.send_signal(number)


class Installation:
    """A database, a simulator that outlives everything, a merchant with a key, and the processes between them."""

    def __init__(self, database_url: str, folder: Path, sandbox: a.Sandbox) -> None:
        self.database_url, self.folder, self.sandbox = database_url, folder, sandbox
        self.is_sqlite = database_url.startswith("sqlite:")
        self.processes: list[Process] = []
        self.key = ""
        self.merchant: merchants.Merchant | None = None
        self.connection: connections.Connection | None = None
        self._public_port = free_port()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PAYSTATE_")},
            "PAYSTATE_ENV": "test",
            "PAYSTATE_DATA_DIR": str(folder),
            "PAYSTATE_DATABASE_URL": database_url,
            "PAYSTATE_SECRET_KEY": generate_key_text(),
            "PAYSTATE_CRON_SECRET": CRON_SECRET,
            "PAYSTATE_PUBLIC_URL": f"http://127.0.0.1:{self._public_port}",
            "PAYSTATE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
            "PAYSTATE_API_RATE_LIMIT": MANY,
            "PAYSTATE_POLLING_RATE_LIMIT": MANY,
            "PAYSTATE_JOB_RATE_LIMIT": MANY,
            "PAYSTATE_SANDBOX_PROVIDER_RATE": "1000",
        }

    def add(self, role: str, **settings: str) -> Process:
        """One more process, not started yet; the first one with a web has the address that providers know."""
        same = sum(p.role == role for p in self.processes)
        port = self._public_port if role != "worker" and not self.webs else free_port()
        own = {f"PAYSTATE_{name.upper()}": value for name, value in settings.items()}
        process = Process(role, f"{role}{same + 1}", port, {**self.environ, **own}, self.folder)
        self.processes.append(process)
        return process

    @property
    def webs(self) -> list[Process]:
        return [p for p in self.processes if p.role != "worker"]

    @property
    def workers(self) -> list[Process]:
        return [p for p in self.processes if p.role == "worker"]

    async def start_all(self) -> None:
        for process in self.processes:
            process.begin()
        for process in self.processes:
            await process.ready()

    async def stop_all(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes))

    @contextlib.asynccontextmanager
    async def opened(self, database_url: str | None = None) -> AsyncIterator[App]:
        """The same installation in this process; on SQLite only while no other process has the file."""
        own = {name: value for name, value in self.environ.items() if name.startswith("PAYSTATE_")}
        app = build_app(load_settings({**own, "PAYSTATE_DATABASE_URL": database_url or self.database_url}))
        await app.db.wakeups.start()
        try:
            yield app
        finally:
            await app.db.wakeups.stop()
            await close_app(app)

    async def prepare(self) -> None:
        """The merchant, its connection to the simulator and its key, in a database marked as migrated."""
        with self._engine().begin() as conn:
            MigrationContext.configure(conn).stamp(ScriptDirectory(str(SCRIPTS)), "head")
        async with self.opened() as app:
            made = await make_key(app.ctx, MERCHANT, merchants.SCOPES, actor="owner")
            connection = await app.db.write(partial(a.connect, app, made.merchant.id, self.sandbox.base_url))
        self.key, self.merchant, self.connection = made.secret.reveal(), made.merchant, connection

    async def audit(self) -> Report:
        """The audit of what is on the disk; of a SQLite file, a copy is judged, so that nothing is mended by the look."""
        if not self.is_sqlite:
            async with self.opened() as app:
                return await run_audit(app.ctx)
        assert not any(p.alive for p in self.processes)
        source = Path(self.database_url.removeprefix("sqlite:///"))
        looked_at = self.folder / f"look-{free_port()}"
        looked_at.mkdir()
        for path in source.parent.glob(f"{source.name}*"):
            if path.suffix in (".db", ".db-wal"):
                shutil.copy(path, looked_at / path.name)
        async with self.opened(f"sqlite:///{looked_at / source.name}") as app:
            return await run_audit(app.ctx)

    async def advance(self, seconds: float) -> None:
        """Move the installation's clock forward; on SQLite only while nothing runs."""
        assert not self.is_sqlite or not any(p.alive for p in self.processes)
        async with self.opened() as app:
            await advance(app, Advance(microseconds=int(seconds * SECOND)))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What the database holds at this moment, read past everybody."""
        with self._engine("?mode=ro&uri=true").connect() as conn:
            return [dict(row) for row in conn.exec_driver_sql(sql).mappings()]

    def _engine(self, how: str = "?mode=rw&uri=true") -> sa.Engine:
        if self.is_sqlite:
            file = self.database_url.removeprefix("sqlite:///")
            return sa.create_engine(f"sqlite:///file:{file}{how}", poolclass=sa.NullPool)
        return sa.create_engine(sqlalchemy_url(self.database_url), poolclass=sa.NullPool)

    def desk(self, app: App) -> a.Shop:
        """The flows themselves, called in this process."""
        assert self.merchant is not None
        assert self.connection is not None
        return a.Shop(app, self.merchant, self.connection, self.sandbox)

    def tails(self) -> str:
        return "\n".join(process.tail() for process in self.processes)


@contextlib.asynccontextmanager
async def installation(database_url: str, folder: Path) -> AsyncIterator[Installation]:
    """An installation with nothing running yet; at the end nothing of it runs any more, and a failure shows the logs."""
    running = await start_simulator("sandbox", record_file=folder / "sandbox.jsonl")
    sandbox = a.Sandbox(running)
    built = Installation(database_url, folder, sandbox)
    try:
        await built.prepare()
        yield built
    finally:
        for process in built.processes:
            process.abandon()
        # pytest keeps it, and shows it with a failure only.
        sys.stdout.write(built.tails())
        await sandbox.close()
        await running.stop()
