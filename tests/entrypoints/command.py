"""Runs `paystate` as a person does: a process of its own, with nothing of the settings around the tests."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.spawn import Spawned, spawn

LIMIT_SECONDS = 110


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def environment(**settings: Any) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PAYSTATE_")}
    return plain | {f"PAYSTATE_{name.upper()}": str(value) for name, value in settings.items()}


async def paystate(*arguments: str, env: Mapping[str, str]) -> Ended:
    """Run a command to its end, without a terminal."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = spawn(arguments, env=env, stdout=out, stderr=err)
        try:
            code = await asyncio.to_thread(process.wait, LIMIT_SECONDS)
        except BaseException:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read().decode(), err.read().decode())


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, process: Spawned, first_line: str, log: Path) -> None:
        self.process = process
        self.first_line = first_line
        self.log = log

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT_SECONDS)


@contextlib.contextmanager
def running(*arguments: str, env: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Start a command and wait for its first line on stdout; it is stopped at the end of the block."""
    with log.open("a") as errors:
        process = spawn(arguments, env=env, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    try:
        first = process.stdout.readline().strip()
        assert first, log.read_text()
        yield Running(process, first, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
