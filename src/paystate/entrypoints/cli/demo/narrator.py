"""How the demo speaks: one heading and one short paragraph per chapter."""

import textwrap
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

WIDTH = 88


class Narrator:
    """Prints the story; silent when a program listens."""

    def __init__(self, *, silent: bool) -> None:
        self._console = Console(highlight=False, markup=False, quiet=silent, soft_wrap=True)

    def opening(self, provider: str, facts: dict[str, str]) -> None:
        """What was started, and with what."""
        title = "the main story" if provider == "sandbox" else f"a story of {provider}"
        self._console.print(Text(f"Paystate: {title}", style="bold"))
        self.line(
            f"A real server on SQLite, the local fake of the provider “{provider}”, and a merchant. Everything below "
            "happens over HTTP; each chapter is checked, and one wrong fact ends this with exit code 1."
        )
        width = max(map(len, facts))
        for name, value in facts.items():
            self._console.print(f"  {name:<{width}}  {value}")

    def chapter(self, number: int, title: str) -> None:
        self._console.print()
        self._console.print(Text(f"{number}. {title}", style="bold"))

    def did(self, text: str) -> None:
        """What was done."""
        self._paragraph(text, "")

    def knows(self, text: str) -> None:
        """What Paystate knows now; said only after it was checked."""
        self._paragraph(text, "green", mark="→ ")

    def failed(self, text: str) -> None:
        self._paragraph(text, "bold red", mark="✗ ")

    def line(self, text: str) -> None:
        self._paragraph(text, "dim", indent="")

    def closing(self, chapters: int, seconds: float) -> None:
        self._console.print()
        self._console.print(
            Text(f"All {chapters} chapters hold, in {seconds:.0f} seconds.", style="bold green")
        )

    def stay(self, places: Mapping[str, str]) -> None:
        """On a terminal: where to look around."""
        self._console.print()
        self.line("The server goes on until Ctrl-C. Look around:")
        for name, value in places.items():
            self._console.print(f"  {name}: {value}")

    def _paragraph(self, text: str, style: str, *, indent: str = "   ", mark: str = "") -> None:
        lines = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent + mark,
            subsequent_indent=indent + " " * len(mark),
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._console.print(Text("\n".join(lines), style=style))
