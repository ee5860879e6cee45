"""The command that runs local fakes of outside services."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paystate.entrypoints.cli.frame import DataDir, Json, print_json, terminal
from paystate.kit.errors import PaystateError, Refused

if TYPE_CHECKING:
    from paystate.simulators import RunningSimulator


def add_to(command_line: typer.Typer) -> None:
    """Put this command on the command line."""
    command_line.command()(simulate)


def simulate(
    *,
    names: Annotated[list[str], typer.Argument(metavar="PROVIDER…", help="Which services, such as sandbox.")],
    port: Annotated[
        int, typer.Option("--port", help="Port of the first; the others follow.", min=0, max=65535)
    ] = 0,
    record_dir: Annotated[
        Path | None, typer.Option("--record-dir", help="Keep what they know here, over restarts.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run local fakes of providers until Ctrl-C; each one's control API is under /_control."""
    with terminal(data_dir, as_json):
        asyncio.run(_run(names, port, record_dir, as_json=as_json))


async def _run(names: list[str], port: int, record_dir: Path | None, *, as_json: bool) -> None:
    from paystate.entrypoints.stopping import stopped_by_signals
    from paystate.simulators import simulator_names, start_simulator

    unknown = sorted(set(names) - set(simulator_names()))
    if unknown:
        raise Refused(f"There is no simulator {unknown[0]}. There are: {', '.join(simulator_names())}.")
    stop = asyncio.Event()
    running: list[RunningSimulator] = []
    with stopped_by_signals(stop):
        try:
            for number, name in enumerate(dict.fromkeys(names)):
                file = None if record_dir is None else record_dir / f"{name}.jsonl"
                running.append(await start_simulator(name, port=port and port + number, record_file=file))
            _say(running, as_json=as_json)
            await stop.wait()
        except OSError as error:
            raise _cannot_start(error) from None
        finally:
            for simulator in running:
                await simulator.stop()


def _cannot_start(error: OSError) -> PaystateError:
    return PaystateError(
        f"Cannot start: {error.strerror or error}. Choose another --port.", code="address_in_use"
    )


def _say(running: "list[RunningSimulator]", *, as_json: bool) -> None:
    if as_json:
        print_json({simulator.name: simulator.base_url for simulator in running})
        return
    for simulator in running:
        print(f"{simulator.name}  {simulator.base_url}", flush=True)
