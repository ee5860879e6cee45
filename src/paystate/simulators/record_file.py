"""An append-only file of JSON lines: what a simulator knows to be true, for audits and for its own restart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec


class Line(msgspec.Struct, frozen=True):
    """``{"kind": "checkout", "object": {…}}``: the whole object after a change; the last line of an id wins."""

    kind: str
    object: msgspec.Raw


class RecordFile:
    """Every line is handed to the operating system before the call that caused it is answered."""

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Ready to append; half a line left by a kill is cut off."""
        if self._path is None:
            return
        self._path.touch()
        self._cut_torn_line(self._path)
        self._file = self._path.open("ab")

    def lines(self) -> Iterator[Line]:
        """What was written before, in order."""
        if self._path is None:
            return
        with self._path.open("rb") as file:
            for line in file:
                yield msgspec.json.decode(line, type=Line)

    def write(self, kind: str, value: Any) -> None:
        if self._file is None:
            return
        self._file.write(msgspec.json.encode({"kind": kind, "object": value}) + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _cut_torn_line(path: Path) -> None:
        with path.open("r+b") as file:
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
            file.truncate(whole)
