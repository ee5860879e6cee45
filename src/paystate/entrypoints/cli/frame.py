"""What every command shares: its options, how its operation is carried out, how answers and errors are shown."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paystate.kit.errors import NotFound, PaystateError, Refused

if TYPE_CHECKING:
    from paystate.machinery.settings import Settings

DONE, FOUND_WRONG, WRONG_USE = 0, 1, 2
"""Exit codes: done; found something wrong, or could not do it now; used wrongly."""

WIDE = 200
"""Columns of a table that nobody looks at on a terminal."""

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The data directory, instead of PAYSTATE_DATA_DIR.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terminal:
    """One command at work."""

    data_dir: Path | None
    as_json: bool

    def settings(self, **overrides: str | None) -> "Settings":
        """The settings of this installation; what is given on the command line wins. Raises SettingsFaults."""
        from paystate.machinery.settings import load_settings

        given = {f"PAYSTATE_{name.upper()}": value for name, value in overrides.items() if value is not None}
        return load_settings({**os.environ, **given}, data_dir_override=self.data_dir)

    def ask(self, operation: str, **arguments: Any) -> Answer:
        """Carry out an operation, in the running server where there is one. Raises PaystateError."""
        from paystate.entrypoints.cli.reach import carry_out

        given = {name: value for name, value in arguments.items() if value is not None}
        return carry_out(self.settings(), operation, given)

    def tell(self, answer: Answer, show: Callable[[Answer], None]) -> None:
        """Print the answer; the command ends with code 1 when something wrong was found."""
        if self.as_json:
            print_json(answer)
        else:
            show(answer)
        if answer.get("ok") is False:
            raise typer.Exit(FOUND_WRONG)


@contextlib.contextmanager
def terminal(data_dir: Path | None, as_json: bool) -> Iterator[Terminal]:
    """A command's surroundings: whatever goes wrong inside is told with what to do, and ends with its code."""
    try:
        yield Terminal(data_dir, as_json)
    except PaystateError as error:
        _tell_error(error, as_json=as_json)
        raise typer.Exit(exit_code(error)) from None


def exit_code(error: PaystateError) -> int:
    """2 for what was asked wrongly, 1 for what went wrong."""
    asked_wrongly = isinstance(error, Refused | NotFound) or error.code == "settings_invalid"
    return WRONG_USE if asked_wrongly else FOUND_WRONG


def _tell_error(error: PaystateError, *, as_json: bool) -> None:
    fields = [(e.pointer, e.code, e.detail) for e in getattr(error, "errors", ())]
    if as_json:
        named = [{"pointer": pointer, "code": code, "detail": detail} for pointer, code, detail in fields]
        print_json({"error": {"code": error.code, "detail": error.detail, "errors": named}})
        return
    print(f"paystate: {error.detail}", file=sys.stderr)
    for pointer, _, detail in fields:
        print(f"  {pointer.lstrip('/')}: {detail}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One document, for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, nothing: str) -> None:
    """Rows under their headings; a sentence when there are none."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print(nothing)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    (console if console.is_terminal else Console(width=WIDE, highlight=False, markup=False)).print(table)


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Names and values, one a line; without those that are empty."""
    shown = {name: value for name, value in pairs.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value}")
