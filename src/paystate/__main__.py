"""The command line: `paystate …`, the same as `python -m paystate …`."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from paystate.entrypoints.cli import run

if TYPE_CHECKING:
    from paystate.app import App
    from paystate.machinery.settings import Settings


def open_app(settings: "Settings") -> "AbstractAsyncContextManager[App]":
    """The assembled installation; imported only when a command needs it, so that `--help` stays quick."""
    from paystate.app import running_app

    return running_app(settings)


def main() -> None:
    """Hand the composition root to the command line, which never looks up to it."""
    run(open_app)


if __name__ == "__main__":
    main()
