"""Commands for whoever operates an installation: audit, doctor, failpoints, and the clock of a trial."""

import re
from typing import Annotated, Any

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, Terminal, print_table, terminal
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND
from paystate.kit.errors import PaystateError, Refused

clock = typer.Typer(name="clock", help="The clock of a trial installation.", no_args_is_help=True)

_STEP = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_MARKS = {"OK": "ok", "WARNING": "look", "PROBLEM": "WRONG"}


def add_to(command_line: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (audit, doctor, failpoints):
        command_line.command()(command)


def audit(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check every invariant in one picture of the database; zero rows mean that all is right."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("audit"), _show_audit)


def doctor(
    *,
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting, its value and source.")
    ] = False,
    go_live: Annotated[
        bool, typer.Option("--go-live", help="Be as strict as before real money moves.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Examine this installation: each check by its name, with what to do."""
    with terminal(data_dir, as_json) as t:
        if settings:
            t.tell({"settings": _settings(t)}, _show_settings)
        else:
            t.tell(_examined(t, go_live=go_live), _show_checks)


def failpoints(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the points at which PAYSTATE_FAILPOINTS can make a process die, stall or fail."""
    with terminal(data_dir, as_json) as t:
        from paystate.entrypoints import serve  # noqa: F401 -- its imports declare the points
        from paystate.entrypoints.worker import load_flows
        from paystate.machinery.failpoints import declared

        load_flows()
        points = [{"name": name, "meaning": meaning} for name, meaning in declared().items()]
        rows = [(point["name"], point["meaning"]) for point in points]
        t.tell({"failpoints": points}, lambda _: print_table(("point", "when"), rows, nothing=""))


@clock.callback()
def clock_commands() -> None:
    """The clock of a trial installation."""


@clock.command()
def advance(
    *,
    duration: Annotated[str, typer.Argument(help="Such as 90s, 30m, 2h, 1d or 1d12h.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Move the installation's clock forward, so that deadlines pass; refused in production."""
    with terminal(data_dir, as_json) as t:
        answer = t.ask("clock.advance", microseconds=parse_duration(duration))
        t.tell(answer, lambda told: print(f"It is now {told['now']} here."))


def parse_duration(text: str) -> int:
    """Microseconds of ``1d12h``. Raises Refused."""
    steps = _STEP.findall(text)
    if not steps or "".join(number + unit for number, unit in steps) != text:
        raise Refused("A duration such as 90s, 30m, 2h or 1d12h is expected.", code="wrong_use")
    return sum(int(number) * _UNITS[unit] for number, unit in steps)


def _settings(t: Terminal) -> list[dict[str, str]]:
    from dataclasses import asdict

    from paystate.machinery.settings import settings_table

    return [asdict(row) for row in settings_table(t.settings())]


def _examined(t: Terminal, *, go_live: bool) -> Answer:
    """The checks; settings that are not valid are what is wrong, not a reason to say nothing."""
    try:
        t.settings()
    except PaystateError as error:
        faults: list[tuple[str, str]] = getattr(error, "faults", [("settings", error.detail)])
        checks = [
            {"name": name, "level": "PROBLEM", "found": sentence, "advice": "See docs/reference/settings.md"}
            for name, sentence in faults
        ]
        return {"ok": False, "problems": len(checks), "checks": checks}
    return t.ask("doctor", goLive=go_live)


def _show_settings(answer: Answer) -> None:
    rows = [(row["name"], row["value"], row["source"], row["description"]) for row in answer["settings"]]
    print_table(("setting", "value", "from", "what it is"), rows, nothing="")


def _show_checks(answer: Answer) -> None:
    rows = [(_MARKS[c["level"]], c["name"], c["found"], c["advice"]) for c in answer["checks"]]
    print_table(("", "check", "found", "what to do"), rows, nothing="")
    print("All is in order." if answer["ok"] else f"{answer['problems']} to put right.")


def _show_audit(answer: Answer) -> None:
    broken = [check for check in answer["invariants"] if check["count"]]
    late = [check for check in answer["liveness"] if check["count"]]
    _show_findings("Broken", broken)
    _show_findings("Waits for too long", late)
    for problem in (*answer["chain"]["problems"], *answer["storage"]):
        print(f"  {problem}")
    rows = sum(check["count"] for check in broken)
    chain = answer["chain"]
    print(
        f"{len(answer['invariants'])} invariants, {rows} rows. Audit log: {chain['entries']} entries sealed in "
        f"{chain['blocks']} blocks, {chain['openTail'] + chain['unnumbered']} in the open tail. {answer['seconds']} s."
    )


def _show_findings(title: str, checks: list[dict[str, Any]]) -> None:
    for check in checks:
        number = f" {check['number']}" if "number" in check else ""
        print(f"{title}{number}: {check['name']} ({check['count']})")
        for row in check["rows"]:
            print(f"  {row['subject']}  {row['detail']}")
