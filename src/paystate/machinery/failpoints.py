"""Named points where a test can make this process die, stall or fail; each costs one truth test when none is set."""

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from paystate.kit.errors import PaystateError

MAX_SLEEP_SECONDS: Final = 3_600
MAX_HOG_MEGABYTES: Final = 65_536
EXIT_CODE: Final = 70
_MEGABYTE: Final = 1_048_576

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
_PLAN = re.compile(
    r"(?P<action>kill|raise|exit|sleep|hog)(?::(?P<argument>[0-9]{1,6}(?:\.[0-9]{1,3})?))?(?:@(?P<nth>[1-9][0-9]{0,8}))?\Z"
)
_NEEDS_ARGUMENT: Final = {"sleep": MAX_SLEEP_SECONDS, "hog": MAX_HOG_MEGABYTES}
_TAKES_ARGUMENT: Final = {*_NEEDS_ARGUMENT, "exit"}


class FailpointHit(PaystateError):
    """The failure that `raise` makes; it is meant to be taken for a failure of the step it stands in."""

    code = "failpoint"


class FailpointsInvalid(PaystateError, ValueError):
    """The setting names an unknown point or action."""

    code = "failpoints_invalid"


@dataclass(slots=True)
class _Plan:
    """What happens at one point: at its nth pass only, or at every pass when `nth` is None."""

    name: str
    action: str
    argument: float | None
    nth: int | None
    log: Path | None
    passes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self) -> bool:
        with self.lock:
            self.passes += 1
            return self.nth is None or self.passes == self.nth


_declared: dict[str, str] = {}
_armed: dict[str, _Plan] = {}


def declare(name: str, meaning: str) -> str:
    """Makes a point known and returns its name: ``CREATED = declare("payment.created", "the create is committed …")``."""
    assert _NAME.match(name), f"{name!r} is no failpoint name"
    assert _declared.get(name, meaning) == meaning, f"failpoint {name!r} has two meanings"
    _declared[name] = meaning
    return name


def declared() -> Mapping[str, str]:
    """All points that imported code has, with their meaning, by name."""
    return dict(sorted(_declared.items()))


def arm(text: str | None, *, log: Path | None = None) -> None:
    """Sets the points of ``name=kill@3;other=sleep:5@1;x=raise``; None or "" sets none.

    Without ``@N`` a point acts at every pass, with it only at the Nth. Actions: kill (SIGKILL), exit or exit:code,
    raise, sleep:seconds, hog:megabytes (held for the length of the call). Call it when all code is imported. A point
    that acts first appends its name to `log`. Raises FailpointsInvalid.
    """
    plans = {}
    for entry in filter(None, (part.strip() for part in (text or "").split(";"))):
        plan = _parse(entry, log)
        if plan.name in plans:
            raise FailpointsInvalid(f"The failpoint {plan.name} is set twice.")
        plans[plan.name] = plan
    _armed.clear()
    _armed.update(plans)


def failpoint(name: str) -> None:
    """The point in synchronous code; a sleep blocks its thread."""
    if _armed:
        plan = _due(name)
        if plan is not None:
            if plan.action == "sleep":
                time.sleep(plan.argument or 0)
            else:
                _act(plan)


async def afailpoint(name: str) -> None:
    """The point in a coroutine; a sleep leaves the loop to the others."""
    if _armed:
        plan = _due(name)
        if plan is not None:
            if plan.action == "sleep":
                await asyncio.sleep(plan.argument or 0)
            else:
                _act(plan)


def _due(name: str) -> _Plan | None:
    assert name in _declared, f"failpoint {name!r} is not declared"
    plan = _armed.get(name)
    if plan is None or not plan.is_due():
        return None
    if plan.log is not None:
        _record(plan.log, name)
    return plan


def _act(plan: _Plan) -> None:
    match plan.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(EXIT_CODE if plan.argument is None else int(plan.argument))
        case "hog":
            block = b"\x01" * _MEGABYTE
            _ = [bytes(bytearray(block)) for _ in range(int(plan.argument or 0))]
        case _:
            raise FailpointHit(f"The failpoint {plan.name} was set to fail.")


def _record(log: Path, name: str) -> None:
    """On the disk before anything happens, so that a test can prove that the point fired."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{name}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(entry: str, log: Path | None) -> _Plan:
    name, equals, rest = (part.strip() for part in entry.partition("="))
    if name not in _declared:
        known = ", ".join(declared()) or "none"
        raise FailpointsInvalid(f"There is no failpoint {name[:60]!r}. Known: {known}.")
    match = _PLAN.match(rest)
    if not equals or match is None:
        raise FailpointsInvalid(
            f"The failpoint {name} needs an action: kill, exit, raise, sleep:S or hog:MB, then @N."
        )
    action, text, nth = match["action"], match["argument"], match["nth"]
    argument = float(text) if text else None
    limit = _NEEDS_ARGUMENT.get(action, 255)
    if (action in _NEEDS_ARGUMENT) > (argument is not None) or (argument or 0) > limit:
        raise FailpointsInvalid(f"The failpoint {name} needs {action}:number up to {limit}.")
    if argument is not None and action not in _TAKES_ARGUMENT:
        raise FailpointsInvalid(f"The action {action} of the failpoint {name} takes no number.")
    return _Plan(name, action, argument, int(nth) if nth else None, log)
