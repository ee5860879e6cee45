"""Starts `paystate` processes quickly: each is forked from one that has imported everything already.

A command spends a second on imports, and the tests start hundreds of them. What runs is the same `main` in a process of
its own, with its own session, environment, directory and output; it can be signalled, killed and waited for.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from paystate.kit.clock import monotonic

IMPORTED = (
    "paystate.__main__",
    "paystate.app",
    "paystate.entrypoints.cli.demo",
    "paystate.entrypoints.cli.reach",
    "paystate.entrypoints.prepare",
    "paystate.entrypoints.serve",
    "paystate.entrypoints.supervise",
    "paystate.migrations.run",
    "paystate.simulators",
    "uvicorn.protocols.http.httptools_impl",
)
REQUEST_BYTES = 1 << 20
READY_SECONDS = 30.0
POLL_SECONDS = 0.01


class Spawned:
    """A forked command; as far as the tests use it, like `subprocess.Popen`."""

    def __init__(self, pid: int, nanny: socket.socket, stdout: IO[str] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._nanny = nanny

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._nanny], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._nanny], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("paystate", timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        told = self._nanny.recv(64)
        self._nanny.close()
        self.returncode = int(told) if told else -signal.SIGKILL


def spawn(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdout: int | IO[Any],
    stderr: int | IO[Any],
) -> Spawned:
    """Start `paystate ARGUMENTS`; `stdout` and `stderr` as for Popen, stdin is empty."""
    nanny = socket.socket(socket.AF_UNIX)
    nanny.connect(str(_mother()))
    with contextlib.ExitStack() as opened:
        reader, out = _output(stdout, opened)
        error = out if stderr == subprocess.STDOUT else _output(stderr, opened)[1]
        empty = opened.enter_context(open(os.devnull))
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        data = json.dumps(request).encode()
        assert len(data) < REQUEST_BYTES
        socket.send_fds(nanny, [b"%10d" % len(data)], [empty.fileno(), out, error])
        nanny.sendall(data)
        pid = int(nanny.recv(10))
    return Spawned(pid, nanny, reader)


def _output(wanted: int | IO[Any], opened: contextlib.ExitStack) -> tuple[IO[str] | None, int]:
    """Where it writes, and where that can be read if it is a pipe; the write end is ours only for the start."""
    if wanted != subprocess.PIPE:
        return None, wanted if isinstance(wanted, int) else wanted.fileno()
    read, write = os.pipe()
    opened.callback(os.close, write)
    return os.fdopen(read), write


@cache
def _mother() -> Path:
    """The process that has imported everything, one for each process of the tests; it ends with it."""
    address = Path(tempfile.mkdtemp(prefix="paystate-spawn-")) / "socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.spawn", str(address)], stdin=subprocess.PIPE)
    deadline = monotonic() + READY_SECONDS
    while not address.exists():
        assert process.poll() is None
        assert monotonic() < deadline
        select.select([], [], [], POLL_SECONDS)
    _kept.append(process)
    return address


_kept: list[Any] = []


def _serve(address: Path) -> None:
    """Import, then fork for each connection until the tests are gone."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    waiting = address.with_suffix(".new")
    listener.bind(str(waiting))
    listener.listen(64)
    waiting.rename(address)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            address.unlink(missing_ok=True)
            address.parent.rmdir()
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _nurse(connection)
        connection.close()


def _nurse(connection: socket.socket) -> None:
    """Start one command, say its id, wait for it, say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, descriptors, _, _ = socket.recv_fds(connection, 10, 3)
    data = b""
    while len(data) < int(size):
        data += connection.recv(REQUEST_BYTES)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(data), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(b"%10d" % child)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: Any, descriptors: Sequence[int]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    os.closerange(3, max(descriptors) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["paystate", *request["arguments"]]
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate(("r", "w", "w")))
    code: Any = 1
    try:
        importlib.import_module("paystate.__main__").main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 -- as the interpreter would: said, and a code
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
