"""Commands on API keys."""

from typing import Annotated

import typer

from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_table, terminal

group = typer.Typer(name="keys", help="API keys: create, list, revoke.", no_args_is_help=True)


@group.command()
def create(
    *,
    merchant: Annotated[str, typer.Option("--merchant", help="Its name; it is made when there is none.")],
    scopes: Annotated[
        str | None, typer.Option("--scopes", help="Comma-separated; all when left out.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the key is for.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make an API key; it is shown this once, alone on the last line."""
    with terminal(data_dir, as_json) as t:
        wanted = None if scopes is None else [scope.strip() for scope in scopes.split(",") if scope.strip()]
        t.tell(t.ask("keys.create", merchant=merchant, scopes=wanted, name=name), _show_created)


@group.command("list")
def list_keys(
    *,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Only those of this merchant.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List API keys, without their secrets."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("keys.list", merchant=merchant), _show_list)


@group.command()
def revoke(
    *,
    key: Annotated[str, typer.Argument(help="The id of the key: key_…")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """End an API key for good."""
    with terminal(data_dir, as_json) as t:
        answer = t.ask("keys.revoke", key=key)
        t.tell(answer, lambda one: print(f"{one['id']} is revoked since {one['revokedAt']}."))


def _show_created(answer: Answer) -> None:
    print(f"Merchant  {answer['merchant']['name']} ({answer['merchant']['id']})")
    print(f"Key       {answer['id']}, scopes: {', '.join(answer['scopes'])}")
    print("It is shown only now:")
    print(answer["key"])


def _show_list(answer: Answer) -> None:
    rows = [
        (
            key["id"],
            key["hint"],
            key["name"],
            ",".join(key["scopes"]),
            key["lastUsedAt"] or "never",
            "revoked" if key["revokedAt"] else "active",
        )
        for key in answer["data"]
    ]
    columns = ("id", "key", "name", "scopes", "last used", "state")
    print_table(columns, rows, nothing="There are no keys. Make one: paystate keys create --merchant NAME")
