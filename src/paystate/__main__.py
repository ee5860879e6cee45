"""The command line: `paystate …`, the same as `python -m paystate …`."""

from paystate.entrypoints.cli import command_line


def main() -> None:
    """What the installed script calls."""
    command_line(prog_name="paystate")


if __name__ == "__main__":
    main()
