"""Starts any simulator by its name, found by looking in this folder."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from paystate.kit.clock import Clock, SystemClock
from paystate.simulators.calls import MAX_BODY_BYTES
from paystate.simulators.control import Control, control_is_local
from paystate.simulators.record_file import RecordFile
from paystate.simulators.stage import Provider, Stage

BACKLOG = 1_024
STOP_SECONDS = 1.0
_FACTORY = "create_simulator"


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that answers at `base_url` until `stop` is called."""

    name: str
    base_url: str
    _stage: Stage
    _runner: web.AppRunner

    async def stop(self) -> None:
        """Close the port, drop what waits to be sent, close the record file."""
        await self._runner.cleanup()
        await self._stage.stop()


def simulator_names() -> list[str]:
    """Every module or package of this folder that has a `create_simulator`."""
    folder = [str(Path(__file__).parent)]
    names = (
        found.name for found in pkgutil.iter_modules(folder) if found.name != __name__.rpartition(".")[2]
    )
    return sorted(name for name in names if hasattr(_module(name), _FACTORY))


async def start_simulator(
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    record_file: str | Path | None = None,
    clock: Clock | None = None,
) -> RunningSimulator:
    """Serve the simulator; port 0 takes a free one, and without a clock it lives in real time.

    Raises KeyError for a name that is none.
    """
    if name not in simulator_names():
        raise KeyError(f"there is no simulator of this name; there are: {', '.join(simulator_names())}")
    record = RecordFile(record_file)
    stage = Stage(clock or SystemClock(), record)
    provider = create_provider(name, stage)
    record.open()
    provider.reload(record.lines())
    runner = await _serve(stage, provider, host, port)
    return RunningSimulator(name, stage.base_url, stage, runner)


def create_provider(name: str, stage: Stage) -> Provider:
    """The simulator of this name on a stage, not served: for what it says of itself."""
    create: Callable[[Stage], Provider] = getattr(_module(name), _FACTORY)
    return create(stage)


async def _serve(stage: Stage, provider: Provider, host: str, port: int) -> web.AppRunner:
    app = web.Application(middlewares=[control_is_local], client_max_size=MAX_BODY_BYTES)
    app.add_routes([*Control(stage, provider).routes(), *provider.routes()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError:
        await runner.cleanup()
        await stage.stop()
        raise
    stage.base_url = _url_of(host, runner.addresses[0][1])
    await stage.sender.start()
    return runner


def _url_of(host: str, port: int) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104  listening everywhere, reached as the loopback
        return f"http://127.0.0.1:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _module(name: str) -> Any:
    return importlib.import_module(f"paystate.simulators.{name}")
