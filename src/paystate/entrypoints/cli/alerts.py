"""Commands on alerts."""

from typing import Annotated

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_pairs, print_table, terminal

group = typer.Typer(
    name="alerts",
    help="Alerts: list, show, ack, resolve, test.",
    no_args_is_help=True,
)
AlertId = Annotated[str, typer.Argument(help="The id of the alert: alt_…")]


@group.command("list")
def list_alerts(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what somebody should know now."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("alerts.list", state="ALL" if every else None), _show_list)


@group.command()
def show(*, alert: AlertId, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show one alert, and who was told of it."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("alerts.show", alert=alert), _show_one)


@group.command()
def ack(*, alert: AlertId, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Say that you look after it; no reminder follows."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("alerts.ack", alert=alert), lambda told: print(f"{told['id']} is looked after."))


@group.command()
def resolve(
    *,
    alert: AlertId,
    reason: Annotated[str, typer.Option("--reason", help="Why it is over; kept in the audit log.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say that it is over. Where its cause still stands, a new one is raised."""
    with terminal(data_dir, as_json) as t:
        t.tell(
            t.ask("alerts.resolve", alert=alert, reason=reason), lambda told: print(f"{told['id']} is over.")
        )


@group.command("test")
def try_all(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Tell every address that this is a trial, and say what became of it."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("alerts.test"), _show_deliveries)


def _show_list(answer: Answer) -> None:
    rows = [
        (a["id"], a["severity"].lower(), a["state"].lower(), a["count"], a["lastAt"], a["title"])
        for a in answer["data"]
    ]
    columns = ("alert", "severity", "state", "seen", "last", "what")
    print_table(columns, rows, nothing="There is nothing to tell.")


def _show_one(answer: Answer) -> None:
    told = {"state": answer["state"].lower(), "severity": answer["severity"].lower(), "seen": answer["count"]}
    told |= {
        "first": answer["firstAt"],
        "last": answer["lastAt"],
        "looked after by": answer["acknowledgedBy"],
    }
    told |= {"ended": answer["endedAt"], "by": answer["endedBy"], "because": answer["endedReason"]}
    print(answer["title"])
    print_pairs(told | answer["detail"])
    _show_deliveries(answer)


def _show_deliveries(answer: Answer) -> None:
    rows = [(d["channel"], d["address"], d["state"].lower(), d["lastError"]) for d in answer["deliveries"]]
    print_table(("channel", "to", "state", "problem"), rows, nothing="Nobody is told.")
