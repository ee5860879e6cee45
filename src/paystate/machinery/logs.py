"""The log: one redacted line per event on stderr, and a log that cannot be written never stops the engine."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

import structlog

from paystate.kit.clock import Clock, SystemClock, rfc3339
from paystate.machinery.redaction import MAX_EXCEPTION, redact_fields, redact_text

MAX_FILE_BYTES: Final = 10 * 1024 * 1024
KEPT_FILES: Final = 5
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Format = Literal["json", "text"]


class _RotatedFile(RotatingFileHandler):
    """A file only its owner reads, rotated by size; one process writes it."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="ascii")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 -- the parent's signature
        _state.dropped += 1


@dataclass(slots=True)
class _State:
    """How this process logs; replaced by `configure_logs`."""

    level: int = LEVELS["warning"]
    format: Format = "text"
    stream: TextIO | None = None
    file: _RotatedFile | None = None
    clock: Clock = field(default_factory=SystemClock)
    dropped: int = 0


_state = _State()


class Logger:
    """``log.info("payment settled", payment_id=…)``: a sentence, then fields from the allowlist.

    Below the level a call costs one comparison.
    """

    __slots__ = ("_log", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._log = structlog.get_logger()

    def debug(self, event: str, **fields: Any) -> None:
        if _state.level <= 10:
            self._log.msg(event, level="debug", logger=self._name, **fields)

    def info(self, event: str, **fields: Any) -> None:
        if _state.level <= 20:
            self._log.msg(event, level="info", logger=self._name, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        if _state.level <= 30:
            self._log.msg(event, level="warning", logger=self._name, **fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log.msg(event, level="error", logger=self._name, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the exception being handled: its traceback, without the values of variables."""
        self._log.msg(event, level="error", logger=self._name, exc_info=True, **fields)


def get_logger(name: str) -> Logger:
    """The log of one module; `name` is its ``__name__``."""
    return Logger(name)


def bound(**fields: Any) -> AbstractContextManager[None]:
    """Fields such as `request_id` and `run_id` on every line inside the block, over awaits too."""
    return cast("AbstractContextManager[None]", structlog.contextvars.bound_contextvars(**fields))


def configure_logs(
    *,
    level: str = "info",
    format: Format = "json",  # noqa: A002 -- the word of the setting
    file: Path | None = None,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Once per process, at its start. `stream` is stderr by default, so that stdout stays for answers."""
    close_logs()
    _state.level = LEVELS[level]
    _state.format = format
    _state.stream = stream
    _state.clock = clock or SystemClock()
    if file is not None:
        _state.file = _open_file(file)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)] + [_Bridge()]
    root.setLevel(max(_state.level, LEVELS["info"]))
    _tame_libraries()


def close_logs() -> None:
    """Gives the file back."""
    if _state.file is not None:
        _state.file.close()
        _state.file = None


def dropped_lines() -> int:
    """Lines that could not be written since the start: a full disk, a closed pipe, a value that cannot be shown."""
    return _state.dropped


def _open_file(path: Path) -> _RotatedFile | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _RotatedFile(path, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES)
    except OSError:
        _state.dropped += 1  # the engine runs without its file; the stream still has every line
        get_logger(__name__).error("the log file cannot be opened", path=str(path))
        return None


_LIBRARIES: Final = ("sqlalchemy", "aiohttp", "alembic", "asyncio")
_ACCESS_LOGS: Final = ("uvicorn.access", "aiohttp.access")


def _tame_libraries() -> None:
    """Libraries speak through our handler, from warnings on; access logs, which carry query strings, not at all."""
    for name in ("uvicorn", "uvicorn.error", *_LIBRARIES):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _ACCESS_LOGS:
        access = logging.getLogger(name)
        access.handlers = [logging.NullHandler()]
        access.propagate = False


class _Bridge(logging.Handler):
    """Brings records of the standard library's logging into ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 -- a library's broken format string must not reach its caller
            _state.dropped += 1
            return
        level = next((name for name, number in reversed(LEVELS.items()) if record.levelno >= number), "debug")
        structlog.get_logger().msg(event, level=level, logger=record.name, exc_info=record.exc_info)


class _Sink:
    """The last step: writes a finished line, and only counts when that is not possible."""

    def msg(self, line: str) -> None:
        if not line:
            return
        try:
            stream = _state.stream or sys.stderr
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError, AttributeError):  # full, closed, or no stderr at all
            _state.dropped += 1
        if _state.file is not None:
            _state.file.handle(logging.LogRecord("", 0, "", 0, line, None, None))


def _render(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    """The line; an empty one when a value defies being shown."""
    try:
        trace = _exception(fields.pop("exc_info", None))
        head = {
            "time": rfc3339(_state.clock.now()),
            "level": fields.pop("level", "info"),
            "logger": fields.pop("logger", ""),
            "event": redact_text(str(fields.pop("event", ""))),
        }
        rest = redact_fields(fields)
        return _as_text(head, rest, trace) if _state.format == "text" else _as_json(head, rest, trace)
    except Exception:  # noqa: BLE001 -- whatever a value's __str__ raises, the engine goes on
        _state.dropped += 1
        return ""


def _as_json(head: Mapping[str, Any], rest: Mapping[str, Any], trace: str) -> str:
    line = {**rest, **head, "exception": trace} if trace else {**rest, **head}
    return json.dumps(line, default=lambda value: redact_text(str(value)))


def _as_text(head: Mapping[str, Any], rest: Mapping[str, Any], trace: str) -> str:
    pairs = "".join(f" {name}={json.dumps(value)}" for name, value in rest.items())
    event = json.dumps(head["event"], ensure_ascii=True)[1:-1]
    line = f"{head['time']} {head['level']:<7} {head['logger']}: {event}{pairs}"
    ascii_trace = trace.encode("ascii", "backslashreplace").decode()
    return line + "".join(f"\n    | {part}" for part in ascii_trace.splitlines())


def _exception(exc_info: Any) -> str:
    """The traceback with file, line and message; never with the values of variables."""
    if exc_info is True:
        exc_info = sys.exc_info()
    failure = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(failure, BaseException):
        return ""
    return redact_text("".join(traceback.format_exception(failure)), MAX_EXCEPTION)


structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, _render],
    wrapper_class=structlog.BoundLogger,
    logger_factory=_Sink,
    cache_logger_on_first_use=True,
)
