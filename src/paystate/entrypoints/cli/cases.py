"""Commands on cases: list, show, resolve."""

from typing import Annotated, Any

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_pairs, print_table, terminal

group = typer.Typer(name="cases", help="What only a person can decide.", no_args_is_help=True)


@group.command(name="list")
def list_(
    *,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Only this merchant's.")] = None,
    payment: Annotated[str | None, typer.Option("--payment", help="Only about this payment.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Those that are decided.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the cases that wait for a person."""
    with terminal(data_dir, as_json) as t:
        state = "RESOLVED" if resolved else "OPEN"
        t.tell(t.ask("cases.list", merchant=merchant, payment=payment, state=state), _show_list)


@group.command()
def show(
    *,
    case: Annotated[str, typer.Argument(help="Its id.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show one case with its evidence and what we would do."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("cases.show", case=case), _show_case)


@group.command()
def resolve(
    *,
    subject: Annotated[str, typer.Argument(help="The case, or the payment it is about.")],
    action: Annotated[str, typer.Argument(help="accept, reject, refund, keep-waiting or note.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.")],
    to: Annotated[
        str | None, typer.Option("--to", help="Reject or refund: FAILED, CANCELED or EXPIRED.")
    ] = None,
    transaction: Annotated[
        list[str] | None, typer.Option("--transaction", help="Which money is meant; may be repeated.")
    ] = None,
    hours: Annotated[int | None, typer.Option("--hours", help="Keep waiting: so long.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Overrule an earlier decision by hand.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Decide a case, once; with the id of a payment, also settle one by hand (accept)."""
    with terminal(data_dir, as_json) as t:
        answer = t.ask(
            "cases.resolve",
            subject=subject,
            action=action.upper().replace("-", "_"),
            reason=reason,
            to=None if to is None else to.upper(),
            transactions=transaction,
            hours=hours,
            again=again,
        )
        t.tell(answer, _show_decided)


def _show_list(answer: Answer) -> None:
    rows = [
        (c["id"], c["reason"], c["paymentId"], c["suggestedAction"], c["snoozedUntil"] or "", c["createdAt"])
        for c in answer["data"]
    ]
    columns = ("case", "reason", "payment", "suggested", "waits until", "since")
    print_table(columns, rows, nothing="No case waits for a person.")
    if answer["hasMore"]:
        print("There are more.")


def _show_case(answer: Answer) -> None:
    print_pairs({_words(name): value for name, value in answer.items() if name != "evidence"})
    print("\nEvidence")
    print_pairs(_flat(answer["evidence"]))


def _show_decided(answer: Answer) -> None:
    if answer["state"] == "OPEN":
        print(f"{answer['id']} waits until {answer['snoozedUntil']}.")
        return
    state = "" if answer["paymentState"] is None else f" The payment is {answer['paymentState']}."
    print(f"{answer['id']} is resolved: {answer['resolution']}.{state}")


def _words(name: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name)


def _flat(evidence: dict[str, Any]) -> dict[str, Any]:
    """What was expected beside what was answered, a line each."""
    flat: dict[str, Any] = {}
    for name, value in evidence.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        flat |= {name if key is None else f"{name} {_words(key)}": one for key, one in inner}
    return flat
