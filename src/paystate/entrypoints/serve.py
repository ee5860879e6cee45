"""Starts and stops the processes of an installation: web, worker, or both on one loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from paystate.app import App, running_app
from paystate.entrypoints.data_dir import announced, hold, new_owner_key
from paystate.entrypoints.http_protocol import BoundedProtocol
from paystate.entrypoints.operations import operations
from paystate.entrypoints.prepare import prepare_database
from paystate.entrypoints.stopping import stopped_by_signals
from paystate.entrypoints.web import create_web
from paystate.entrypoints.worker import job_engine, rest, run_worker
from paystate.kit.errors import PaystateError, Unavailable
from paystate.machinery.jobs import JobEngine
from paystate.machinery.logs import configure_logs, get_logger
from paystate.machinery.secrets import fingerprint
from paystate.machinery.settings import Settings

KEEP_ALIVE_SECONDS = 5
BACKLOG = 2_048
WEB_GRACE_SECONDS = 8
"""What is under way, and streams that never end, may go on so long after a stop; below the worker's grace."""

STARTED_SECONDS = 15.0
DATE_SECONDS = 1.0
"""The Date header is renewed so often."""

log = get_logger(__name__)


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


def run_process(settings: Settings, role: Role, said: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT; `said` hears the address once it answers. Raises PaystateError."""
    configure_logs(level=settings.log_level, format=settings.log_format, file=_log_file(settings, role))
    alone = hold(settings, f"paystate {role.name}") if settings.is_sqlite else contextlib.nullcontext()
    with alone:
        prepare_database(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, role, said))


def _log_file(settings: Settings, role: Role) -> Path | None:
    """Each process rotates a file of its own: several may share the setting."""
    file = settings.log_file
    if file is None or settings.is_sqlite:
        return file
    return file.with_name(f"{file.stem}-{role.name}{file.suffix}")


async def _run(settings: Settings, role: Role, said: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    listener = _listen(settings.host, settings.port) if role.web else None
    with stopped_by_signals(stop):
        async with running_app(settings) as app:
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


async def _serve_web(
    app: App, jobs: JobEngine, stop: asyncio.Event, listener: socket.socket, said: Callable[[str], None]
) -> None:
    key = new_owner_key()
    url = url_of(app.settings.host, listener)
    web = create_web(app, jobs=jobs, operations=operations(), owner_key_hash=fingerprint(key.reveal()))
    server = _Server(_config(web), stop)
    # On SQLite the owner's commands go through this server, so they must find it.
    told = announced(app.settings, url, key) if app.settings.is_sqlite else contextlib.nullcontext()
    with told:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _started(server, serving)
        log.info("web_started", url=url)
        said(url)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await serving
        stopping.cancel()


def _config(web: Any) -> uvicorn.Config:
    """It believes no proxy (F7) and tells nothing of itself; limits on requests are the web's own middleware."""
    return uvicorn.Config(
        web,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=WEB_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process, and wakes once a second instead of ten times."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not self._stop.is_set() and not await self.on_tick(0):
            await rest(self._stop, DATE_SECONDS)


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
