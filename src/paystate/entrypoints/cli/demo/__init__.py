"""The command that tells the main story on a real installation, and checks every sentence of it."""

import pkgutil
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paystate.entrypoints.cli.demo.cast import CASTS, cast_of
from paystate.entrypoints.cli.frame import FOUND_WRONG, Answer, DataDir, Json, print_json, terminal
from paystate.kit.errors import Refused

if TYPE_CHECKING:
    from paystate.entrypoints.cli.demo.narrator import Narrator
    from paystate.entrypoints.cli.demo.stage import Stage


def add_to(command_line: typer.Typer) -> None:
    """Put this command on the command line."""
    command_line.command()(demo)


def demo(
    *,
    provider: Annotated[
        str, typer.Option("--provider", help=f"Whose local fake plays the provider: {', '.join(CASTS)}.")
    ] = "sandbox",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell the main story on a real server and a fake provider, and fail if one sentence of it is not true.

    With another provider than the sandbox, the story of what that one can express. On a terminal the server goes on
    afterwards, with a payment to pay by hand, until Ctrl-C.
    """
    with terminal(data_dir, as_json):
        _refuse_unknown(provider)
        told = _tell(provider, data_dir, as_json=as_json)
    if not told["ok"]:
        raise typer.Exit(FOUND_WRONG)


def _refuse_unknown(provider: str) -> None:
    from paystate.adapters import providers
    from paystate.simulators import simulator_names

    adapters = {found.name for found in pkgutil.iter_modules(providers.__path__)}
    known = [name for name in simulator_names() if name in adapters]
    if provider not in known:
        raise Refused(f"A story is told with: {', '.join(known)}.", code="wrong_use")


def _tell(provider: str, data_dir: Path | None, *, as_json: bool) -> Answer:
    from paystate.entrypoints.cli.demo.narrator import Narrator
    from paystate.entrypoints.cli.demo.stage import Stage
    from paystate.entrypoints.cli.demo.telling import tell_story

    signal.signal(signal.SIGTERM, _leave)  # so that a stopped demo stops what it started
    folder = data_dir.absolute() if data_dir is not None else Path(tempfile.mkdtemp(prefix="paystate-demo-"))
    narrator = Narrator(silent=as_json)
    try:
        with Stage(folder, provider) as stage:
            chapters, ok = tell_story(stage, narrator)
            answer: Answer = {"ok": ok, "dataDir": str(folder), "url": stage.base_url, "chapters": chapters}
            if as_json:
                print_json(answer)
            elif ok and sys.stdout.isatty():
                _go_on(stage, narrator)
            return answer
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _go_on(stage: "Stage", narrator: "Narrator") -> None:
    cast = cast_of(stage.provider)
    payment = stage.new_payment(cast.price, cast.currency, "Paid by you")
    narrator.stay(
        {
            "Pay this one by hand": payment["payUrl"],
            "With": f"card {cast.card}, any later date" if cast.card else f"{stage.simulator_url}/wallet",
            "API": f"{stage.base_url}/api/openapi.json",
            "Payments": f"curl -H 'Authorization: Bearer {stage.key}' {stage.base_url}/api/payments",
            "What the fake provider knows": f"{stage.simulator_url}/_control/objects",
        }
    )
    try:
        stage.wait()
    except KeyboardInterrupt:
        narrator.line("Stopped.")


def _leave(_number: int, _frame: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)
