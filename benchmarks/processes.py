"""Processes of a measurement: started, watched from outside, and ended by their own id."""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 20.0
MAX_ERRORS = 2_000
"""How much of its log is shown when a process fails."""

_PROCESS_CLOCK = 2


class Child:
    """A process that says JSON objects on stdout, and all else in a log file."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def hear(self, seconds: float = START_SECONDS) -> dict[str, Any]:
        """The next object it says, over as many lines as it likes. Raises RuntimeError when nothing comes in time."""
        deadline, text = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            if self._process.poll() is not None and self._lines.empty():
                raise RuntimeError(f"the process ended with {self._process.returncode}: {self._errors()}")
            with contextlib.suppress(queue.Empty):
                text += self._lines.get(timeout=0.2)
                with contextlib.suppress(ValueError):
                    said: dict[str, Any] = json.loads(text)
                    return said
        raise RuntimeError(f"the process said nothing for {seconds:g} s: {self._errors()}")

    def _errors(self) -> str:
        return self._log.read_text()[-MAX_ERRORS:]

    def cpu_seconds(self) -> float:
        """Processor time of all its threads since its start."""
        return time.clock_gettime((~self.pid << 3) | _PROCESS_CLOCK)

    def resident_bytes(self) -> int:
        """Memory it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)


@contextlib.contextmanager
def child(
    module: str, *arguments: str, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """`python -m MODULE ARGUMENTS` for the time of the block; stderr goes to the log file."""
    command: Sequence[str] = [sys.executable, "-m", module, *arguments]
    own = {**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})}
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=own,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        running = Child(process, log)
        try:
            yield running
        finally:
            running.stop()


def say(**values: Any) -> None:
    """What a child tells its parent."""
    print(json.dumps(values), flush=True)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
