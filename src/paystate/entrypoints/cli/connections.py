"""Commands on connections: a merchant's accounts at providers."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, Terminal, print_pairs, print_table, terminal
from paystate.kit.errors import Refused

group = typer.Typer(name="connections", help="Accounts at providers: add, list, test.", no_args_is_help=True)

MAX_FILE_BYTES = 64 * 1024


@group.command()
def add(
    *,
    provider: Annotated[str, typer.Argument(help="The provider, such as sandbox or stripe.")],
    merchant: Annotated[str, typer.Option("--merchant", help="Whose account it is.")],
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value, or field=@file for what should not be in the history."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What people call it.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Connect an account; the provider is asked whose it is. Missing fields are asked for on a terminal."""
    with terminal(data_dir, as_json) as t:
        fields = _fields(values or [])
        if sys.stdin.isatty() and not as_json:
            fields |= _prompted(t, provider, fields)
        answer = t.ask("connections.add", provider=provider, merchant=merchant, fields=fields, name=name)
        t.tell(answer, _show_one)


@group.command("list")
def list_connections(
    *,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Only those of this merchant.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List connections, without their secrets."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("connections.list", merchant=merchant), _show_list)


@group.command("test")
def check(
    *,
    connection: Annotated[str, typer.Argument(help="The id of the connection: con_…")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Ask the provider whether the stored credentials work; a parked connection whose do is used again."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("connections.test", connection=connection), _show_test)


def _fields(values: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for entry in values:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise Refused("--set takes field=value, or field=@file.", code="wrong_use")
        fields[name] = _content(value[1:]) if value.startswith("@") else value
    return fields


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The file {path} cannot be read: {error}.", code="wrong_use") from None


def _prompted(t: Terminal, provider: str, given: dict[str, str]) -> dict[str, str]:
    wanted = t.ask("connections.fields", provider=provider)
    return {
        field: typer.prompt(f"{field} ({meaning})", hide_input=field in wanted["secret"])
        for field, meaning in wanted["fields"].items()
        if field not in given
    }


def _show_one(answer: Answer) -> None:
    print(f"{answer['provider']} is connected: account {answer['account']}, {_mode(answer)}.")
    print_pairs({"Connection": answer["id"], "Its webhooks go to": answer["webhookUrl"]})


def _show_list(answer: Answer) -> None:
    rows = [
        (c["id"], c["provider"], c["name"], c["account"], _mode(c), c["state"], c["stateReason"])
        for c in answer["data"]
    ]
    columns = ("id", "provider", "name", "account", "money", "state", "reason")
    print_table(
        columns, rows, nothing="There are no connections. Add one: paystate connections add PROVIDER …"
    )


def _show_test(answer: Answer) -> None:
    if answer["ok"]:
        print(f"{answer['provider']} accepts the credentials of {answer['account']} ({_mode(answer)}).")
    else:
        print(f"{answer['provider']}: {answer['problem']}")
        if answer["field"]:
            print(f"Look at the field {answer['field']}.")


def _mode(connection: Answer) -> str:
    return "live money" if connection["live"] else "test money"
