"""The processes of the demo: the fake provider and the server, started, killed and started again by their ids."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from paystate.entrypoints.cli.demo.web import Web
from paystate.entrypoints.data_dir import OWNER_KEY_NAME
from paystate.kit.clock import monotonic
from paystate.kit.errors import PaystateError

START_SECONDS = 30.0
STOP_SECONDS = 15.0
COMMAND_SECONDS = 60.0
LOOK_SECONDS = 0.05
MERCHANT = "Tea House"
LOOPBACK = "127.0.0.0/8"
LOG_LINES = 15


class StageFailed(PaystateError):
    """A process of the demo did not do what it was started for."""

    code = "demo_failed"


class Stage:
    """A data directory, a fake provider and a server; everything stops at the end of the block."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.folder = folder
        self.provider = provider
        self.key = ""
        self.simulator_url = ""
        self.account = ""
        self.connection = ""
        self._port = _free_port()
        self._children: list[subprocess.Popen[str]] = []
        self._server: subprocess.Popen[str] | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log_file(self) -> Path:
        return self.folder / "demo-server.log"

    def __enter__(self) -> Self:
        try:
            self._start_simulator()
            self.start_server()
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_server(self) -> None:
        """`paystate serve`; returns when it answers."""
        log = self.log_file.open("a")
        with log:
            self._server = self._spawn(["serve", "--port", str(self._port)], stderr=log)
        self._first_line(self._server, "server")
        self.web.wait_until_up(START_SECONDS)

    def kill_server(self) -> None:
        """SIGKILL: no time for last words."""
        assert self._server is not None
        self._server.kill()
        self._server.wait(STOP_SECONDS)

    @property
    def web(self) -> Web:
        """The server as a merchant's program and a customer's browser reach it."""
        return Web(self.base_url, self.key)

    @property
    def simulator(self) -> Web:
        """The fake provider's control API."""
        return Web(self.simulator_url, "")

    def command(self, *arguments: str) -> tuple[int, Any]:
        """A `paystate` command with --json: its exit code and its document."""
        done = subprocess.run(  # noqa: S603 -- our own program with our own words
            [sys.executable, "-m", "paystate", *arguments, "--json"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            words = (done.stderr or done.stdout).strip()[-500:]
            raise StageFailed(f"paystate {' '.join(arguments)} said: {words}") from None

    def owner(self, operation: str, **arguments: Any) -> Any:
        """The same through the server's own door, without a process for each question."""
        key = (self.folder / OWNER_KEY_NAME).read_text().strip()
        reply = Web(self.base_url, key).post(f"/api/owner/{operation}", arguments)
        if reply.status >= 300:
            raise StageFailed(f"{operation} was answered with {reply.status}: {reply.body}")
        return reply.body

    def new_payment(self, amount: int, currency: str, description: str, **more: Any) -> dict[str, Any]:
        """A payment as the merchant's program makes it."""
        body = {"amount": amount, "currency": currency, "description": description, **more}
        reply = self.web.post("/api/payments", body)
        if reply.status != 201:
            raise StageFailed(f"The payment was answered with {reply.status}: {reply.body}")
        payment: dict[str, Any] = reply.body
        return payment

    def wait(self) -> None:
        """Until the server ends."""
        assert self._server is not None
        self._server.wait()

    def last_words(self) -> str:
        """The end of the server's log."""
        try:
            return "\n".join(self.log_file.read_text().splitlines()[-LOG_LINES:])
        except OSError:
            return ""

    def close(self) -> None:
        """Ask every child to stop, and make sure of it."""
        for child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in reversed(self._children):
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self._children.clear()

    def _start_simulator(self) -> None:
        child = self._spawn(["simulate", self.provider], stderr=subprocess.DEVNULL)
        self.simulator_url = self._first_line(child, "simulator").split()[-1]

    def _set_up(self) -> None:
        """A merchant connected to the simulator's account, and what the merchant types in over there."""
        self.account = self._at_simulator("GET", "objects")["accounts"][0]["account"]
        fields = self._at_simulator("GET", "connection")["fields"]
        self.key = str(self.owner("keys.create", merchant=MERCHANT)["key"])
        made = self.owner("connections.add", provider=self.provider, merchant=MERCHANT, fields=fields)
        self.connection = str(made["id"])
        landing = f"{self.base_url}/pay/return/{self.connection}"
        typed = {
            "account": self.account,
            "webhookUrl": made["webhookUrl"],
            "extra": {"acceptUrl": landing, "declineUrl": landing},
        }
        self._at_simulator("POST", "accounts", typed)

    def _at_simulator(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        control = f"/_control/{path}"
        reply = self.simulator.get(control) if method == "GET" else self.simulator.post(control, body)
        if reply.status >= 300:
            raise StageFailed(f"{control} was answered with {reply.status}: {reply.body}")
        return reply.body

    def _spawn(self, arguments: list[str], *, stderr: Any) -> "subprocess.Popen[str]":
        child = subprocess.Popen(  # noqa: S603 -- our own program with our own words
            [sys.executable, "-m", "paystate", *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo, and the demo stops its children
        )
        self._children.append(child)
        return child

    def _first_line(self, child: "subprocess.Popen[str]", what: str) -> str:
        assert child.stdout is not None
        line = child.stdout.readline().strip()
        if not line:
            child.wait(STOP_SECONDS)
            raise StageFailed(f"The {what} did not start.\n{self.last_words()}")
        return line

    def _environment(self) -> dict[str, str]:
        """Nothing of the settings around us: the demo must never touch another installation."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PAYSTATE_")}
        return plain | {
            "PAYSTATE_DATA_DIR": str(self.folder),
            "PAYSTATE_PUBLIC_URL": self.base_url,
            "PAYSTATE_ALLOW_PRIVATE_ADDRESSES": LOOPBACK,
            "PYTHONUNBUFFERED": "1",
        }


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, seconds: float, look: Any) -> Any:
    """What `look` answers once it is not None. Raises StageFailed after so many seconds."""
    until = monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if monotonic() >= until:
            raise StageFailed(f"{what} did not happen within {seconds:.0f} seconds.")
        time.sleep(LOOK_SECONDS)
