"""Commands on payments: verify, explain."""

from typing import Annotated, Any

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_table, terminal


def add_to(command_line: typer.Typer) -> None:
    """Put these commands on the command line."""
    command_line.command()(verify)
    command_line.command()(explain)


def verify(
    *,
    payment: Annotated[
        str | None, typer.Option("--payment", help="Only this one, due or not: its id or short code.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each decision.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Ask the providers now about what is due, and apply what they say."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("verify", payment=payment), lambda answer: _show_verified(answer, verbose=verbose))


def explain(
    *,
    payment: Annotated[str, typer.Argument(help="Its id or short code.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say in one sentence why a payment is in its state, then show the evidence."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("explain", payment=payment), _show_explained)


def _show_verified(answer: Answer, *, verbose: bool) -> None:
    if verbose:
        rows = [
            (
                d["payment"],
                d["trigger"],
                d["outcome"],
                d["decision"],
                d["state"],
                "moved" if d["moved"] else "",
            )
            for d in answer["decisions"]
        ]
        columns = ("payment", "why asked", "provider says", "decision", "state", "")
        print_table(columns, rows, nothing="Nothing was due.")
    print(f"Asked about {answer['asked']}, moved {answer['moved']}.")


def _show_explained(answer: Answer) -> None:
    print(f"{answer['id']} is {answer['state']}. {answer['sentence']}")
    print(answer["next"])
    evidence = answer["evidence"]
    _section(
        "Moves",
        [(m["at"], f"{m['from'] or '—'} → {m['to']}", m["actor"], m["reason"]) for m in evidence["moves"]],
    )
    _section(
        "Checkouts", [(a["id"], a["provider"], a["state"], a["nextCheckAt"]) for a in evidence["attempts"]]
    )
    _section(
        "Verifications, newest first",
        [
            (v["at"], v["trigger"], v["outcome"], v["decision"], f"× {v['times']}")
            for v in evidence["verifications"]
        ],
    )
    _section("Cases", [_case_row(c) for c in evidence["cases"]])


def _case_row(case: dict[str, Any]) -> tuple[Any, ...]:
    """What it is about, and what is said to it so far."""
    if case["resolution"] is not None:
        said = f"{case['resolution']} by {case['resolvedBy']}: {case['resolutionReason']}"
    elif case["snoozedUntil"] is not None:
        said = f"waits until {case['snoozedUntil']}"
    else:
        said = f"suggested: {case['suggestedAction']}"
    return case["id"], case["reason"], case["state"], said


def _section(title: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        print(f"\n{title}")
        print_table([""] * len(rows[0]), rows, nothing="")
