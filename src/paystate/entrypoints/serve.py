"""Starts and stops the processes of an installation: web, worker, or both on one loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from paystate.entrypoints.data_dir import announced, hold, new_owner_key
from paystate.entrypoints.operations import operations
from paystate.entrypoints.web import create_web
from paystate.entrypoints.worker import GRACE_SECONDS, job_engine, load_flows, run_worker
from paystate.kit.errors import PaystateError, Unavailable
from paystate.machinery import failpoints
from paystate.machinery.jobs import JobEngine
from paystate.machinery.logs import configure_logs, get_logger
from paystate.machinery.secrets import fingerprint
from paystate.machinery.settings import Settings
from paystate.migrations import run as migrations

if TYPE_CHECKING:
    from paystate.app import App

OpenApp = Callable[[Settings], AbstractAsyncContextManager["App"]]

KEEP_ALIVE_SECONDS = 5
MAX_HEAD_BYTES = 16_384
BACKLOG = 2_048
STARTED_SECONDS = 15.0

log = get_logger(__name__)


class NotMigrated(PaystateError):
    """The PostgreSQL database does not have this release's schema; nobody changes it without being told to."""

    code = "not_migrated"

    def __init__(self) -> None:
        super().__init__("The database does not have the schema of this release. Run: paystate migrate")


class AddressInUse(PaystateError):
    """Nothing can listen there."""

    code = "address_in_use"


@dataclass(frozen=True, slots=True)
class Role:
    """What one process does."""

    web: bool
    worker: bool

    @property
    def name(self) -> str:
        return "serve" if self.web and self.worker else "web" if self.web else "worker"


def run_process(open_app: OpenApp, settings: Settings, role: Role, said: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT; `said` hears the address once it answers. Raises PaystateError."""
    configure_logs(level=settings.log_level, format=settings.log_format, file=settings.log_file)
    alone = hold(settings, f"paystate {role.name}") if settings.is_sqlite else contextlib.nullcontext()
    with alone:
        prepare_database(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(open_app, settings, role, said))


def prepare_database(settings: Settings) -> None:
    """Migrate a SQLite file; only check a PostgreSQL database, for several versions may be at work. Raises NotMigrated."""
    load_flows()
    if settings.failpoints:
        failpoints.arm(settings.failpoints, log=settings.failpoints_log)
    url = settings.database_url.reveal()
    if settings.is_sqlite:
        migrations.migrate(url)
    elif not migrations.is_current(url):
        raise NotMigrated


async def _run(open_app: OpenApp, settings: Settings, role: Role, said: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    listener = _listen(settings.host, settings.port) if role.web else None
    with stopped_by_signals(stop):
        async with open_app(settings) as app:
            jobs = job_engine(app)
            tasks = [run_worker(app, stop, jobs=jobs)] if role.worker else []
            if listener is None:
                said("")
            else:
                tasks.append(_serve_web(app, jobs, stop, listener, said))
            await _together(tasks, stop)


async def _together(work: Sequence[Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """The first one to end, whatever the reason, asks the others to stop; its failure is the process's."""
    tasks = [asyncio.create_task(one) for one in work]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.wait(tasks)
    for task in tasks:
        task.result()


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set the event, for the time of the block."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _serve_web(
    app: "App", jobs: JobEngine, stop: asyncio.Event, listener: socket.socket, said: Callable[[str], None]
) -> None:
    key = new_owner_key()
    url = url_of(app.settings.host, listener)
    web = create_web(app, jobs=jobs, operations=operations(), owner_key_hash=fingerprint(key.reveal()))
    server = _Server(_config(web))
    # On SQLite the owner's commands go through this server, so they must find it.
    told = announced(app.settings, url, key) if app.settings.is_sqlite else contextlib.nullcontext()
    with told:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _started(server, serving)
        log.info("web_started", url=url)
        said(url)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.set()
        await serving
        stopping.cancel()


def _config(web: Any) -> uvicorn.Config:
    """What security.md asks of the server; limits on requests are the web's own middleware."""
    return uvicorn.Config(
        web,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process, which has more to stop than the web."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        yield


async def _started(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(STARTED_SECONDS):
        while not server.started:
            if serving.done():
                await serving
                raise Unavailable("The web server ended while it started; the log says why.")
            await asyncio.sleep(0.01)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressInUse(
            f"Cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from None


def url_of(host: str, listener: socket.socket) -> str:
    """Where this machine reaches what listens there."""
    port = listener.getsockname()[1]
    match host:
        case "0.0.0.0":  # noqa: S104 -- listens everywhere, is reached as loopback
            return f"http://127.0.0.1:{port}"
        case "::":
            return f"http://[::1]:{port}"
        case _:
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
