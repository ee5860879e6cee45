"""The command that tells the main story on a real installation, and checks every sentence of it."""

import typer


def add_to(command_line: typer.Typer) -> None:
    """Put this command on the command line."""
