"""The command line: one file per group of commands, each of which names an operation and shows its answer."""

import typer

from paystate.entrypoints.cli import (
    alerts,
    books,
    cases,
    connections,
    demo,
    jobs,
    keys,
    operate,
    payments,
    processes,
    simulate,
)

command_line = typer.Typer(
    name="paystate",
    help="A payment lifecycle engine: the software that knows the true state of every payment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (processes, payments, operate, simulate, demo):
    room.add_to(command_line)
GROUPS = (
    keys.group,
    connections.group,
    cases.group,
    alerts.group,
    jobs.group,
    books.group,
    operate.clock,
)
for group in GROUPS:
    command_line.add_typer(group)
