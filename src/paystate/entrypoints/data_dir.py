"""Who holds the data directory of a SQLite installation: its lock, the running server's address, the owner's key."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paystate.kit.clock import SystemClock, rfc3339
from paystate.kit.errors import Conflict
from paystate.machinery.secrets import Secret
from paystate.machinery.settings import Settings

LOCK_NAME = "paystate.lock"
OWNER_KEY_NAME = "owner.key"
SERVER_NAME = "server.json"
MAX_NOTE_BYTES = 4_096
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock, as it wrote itself down."""

    pid: int
    doing: str
    since: str


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Where the server of this data directory answers its owner."""

    url: str
    host: str
    key: Secret


class DataDirHeld(Conflict):
    """Another process works on this data directory; two writers could destroy a SQLite file."""

    code = "data_dir_in_use"

    def __init__(self, path: Path, holder: Holder | None) -> None:
        who = "another process"
        if holder is not None:
            who = f"process {holder.pid} ({holder.doing}, since {holder.since})"
        super().__init__(
            f"{path} is held by {who}. Stop that process, or choose another --data-dir.",
            pid=None if holder is None else holder.pid,
        )
        self.holder = holder


def lock_paths(settings: Settings) -> list[Path]:
    """The lock of the data directory, and one beside the database file when that lies elsewhere."""
    paths = [settings.data_dir / LOCK_NAME]
    if settings.is_sqlite:
        database = Path(settings.database_url.reveal().removeprefix("sqlite:///")).absolute()
        if database.parent != settings.data_dir:
            paths.append(database.with_name(f"{database.name}.lock"))
    return paths


@contextlib.contextmanager
def hold(settings: Settings, doing: str) -> Iterator[None]:
    """Hold the data directory for the time of the block; the kernel frees it when the process dies.

    Raises DataDirHeld, which names the process that has it.
    """
    with contextlib.ExitStack() as held:
        for path in lock_paths(settings):
            held.enter_context(_locked(path, doing))
        yield


@contextlib.contextmanager
def _locked(path: Path, doing: str) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataDirHeld(path.parent, _holder(path)) from None
        note = {"pid": os.getpid(), "doing": doing, "since": rfc3339(SystemClock().now())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> Holder | None:
    note = _read(path)
    try:
        return Holder(int(note["pid"]), str(note["doing"]), str(note["since"]))
    except (KeyError, TypeError, ValueError):
        return None


@contextlib.contextmanager
def announced(settings: Settings, url: str, key: Secret) -> Iterator[None]:
    """While the block runs, the owner's commands find the server and the key to it in the data directory."""
    folder = settings.data_dir
    note = {"url": url, "host": _trusted_host(settings), "pid": os.getpid()}
    _write(folder / OWNER_KEY_NAME, key.reveal() + "\n")
    _write(folder / SERVER_NAME, json.dumps(note) + "\n")
    try:
        yield
    finally:
        for name in (SERVER_NAME, OWNER_KEY_NAME):
            (folder / name).unlink(missing_ok=True)


def new_owner_key() -> Secret:
    """A key that lives as long as the server process."""
    return Secret(f"pok_{secrets.token_urlsafe(32)}")


def find_server(settings: Settings, holder: Holder | None) -> RunningServer | None:
    """The server that this holder is, once it has said where it answers; what a killed one left is ignored."""
    note = _read(settings.data_dir / SERVER_NAME)
    if holder is None or note.get("pid") != holder.pid:
        return None
    try:
        key = (settings.data_dir / OWNER_KEY_NAME).read_text().strip()
    except OSError:
        return None
    return RunningServer(str(note.get("url")), str(note.get("host")), Secret(key)) if key else None


def _trusted_host(settings: Settings) -> str:
    """A Host header that this installation answers, whatever address it listens on."""
    named = [host for host in settings.trusted_hosts if not host.startswith("*")]
    return "127.0.0.1" if "127.0.0.1" in named or not named else named[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            note = json.loads(file.read(MAX_NOTE_BYTES))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by the owner alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
