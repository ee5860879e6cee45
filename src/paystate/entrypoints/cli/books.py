"""Commands on the ledger."""

from typing import Annotated

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_table, terminal

group = typer.Typer(name="ledger", help="The double-entry ledger.", no_args_is_help=True)


@group.callback()
def ledger() -> None:
    """The double-entry ledger."""


@group.command("trial-balance")
def trial_balance(
    *,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Only this merchant's books.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what every account holds; debits equal credits in each currency."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("ledger.trial-balance", merchant=merchant), _show)


def _show(answer: Answer) -> None:
    rows = [
        (
            line["code"],
            line["name"],
            line["currency"],
            line["debitDisplay"] if line["debit"] else "",
            line["creditDisplay"] if line["credit"] else "",
        )
        for line in answer["lines"]
    ]
    rows += [
        ("", "Total", currency, total["debitDisplay"], total["creditDisplay"])
        for currency, total in answer["totals"].items()
    ]
    print_table(("code", "account", "currency", "debit", "credit"), rows, nothing="Nothing was posted yet.")
    if not answer["ok"]:
        print("Debits and credits differ. Run: paystate audit")
