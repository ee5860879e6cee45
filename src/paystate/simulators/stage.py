"""What every simulator stands on: clock, fault plan, webhook sender, record file, counts, timers."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from aiohttp import web

from paystate.kit.clock import MILLISECOND, Clock, Instant
from paystate.simulators.faults import FaultPlan
from paystate.simulators.record_file import Line, RecordFile
from paystate.simulators.webhook_sender import Delivery, WebhookSender

MAX_LOG = 100_000
MAX_TIMERS = 100_000
MAX_STORED_ANSWERS = 200_000
NO_DETAILS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body, or any other body as its bytes; `first` is waited for before the answer leaves."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    first: Callable[[], Awaitable[None]] | None = None
    content_type: str = "application/json"


class Provider(Protocol):
    """What one simulated service adds to the stage.

    `in_the_past`: while it lasts, questions are answered as before the last change. `unknown_status`: an answer's body
    with a status nobody has heard of, or unchanged. `headers`: what every answer of the service carries.
    """

    @property
    def operations(self) -> Iterable[str]: ...
    def routes(self) -> Iterable[web.RouteDef]: ...
    def authenticate(self, request: web.Request) -> str | None: ...
    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None: ...
    def error(
        self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS
    ) -> Answer: ...
    def not_found(self, request: web.Request) -> Answer: ...
    def headers(self) -> Mapping[str, str]: ...
    def in_the_past(self) -> AbstractContextManager[None]: ...
    def unknown_status(self, body: Any) -> Any: ...
    def delivery(self, event_id: str) -> Delivery | None: ...
    def objects(self) -> dict[str, Any]: ...
    def reset(self) -> None: ...
    def reload(self, lines: Iterable[Line]) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to an idempotency key, and the digest of the body that asked for it."""

    digest: str
    answer: Answer


class Stage:
    """One per running simulator; lives on one event loop."""

    def __init__(self, clock: Clock, record: RecordFile) -> None:
        self.clock = clock
        self.record = record
        self.plan = FaultPlan()
        self.sender = WebhookSender(self.plan, clock)
        self.calls: Counter[str] = Counter()
        self.call_log: deque[dict[str, Any]] = deque(maxlen=MAX_LOG)
        self.latency_seconds = 0.0
        self.base_url = ""
        self._answers: dict[tuple[str, str, str], StoredAnswer] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._last = Instant(0)

    def now(self) -> Instant:
        """Whole milliseconds, as on the wire, and never backwards: lists stay in order."""
        self._last = Instant(max(self._last, self.clock.now() // MILLISECOND * MILLISECOND))
        return self._last

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Run `act` after a while. Raises OverflowError when too many wait already."""
        if len(self._timers) >= MAX_TIMERS:
            raise OverflowError("too many timers")

        def ring() -> None:
            self._timers.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(seconds, ring)
        self._timers.add(handle)

    def stored_answer(self, scope: tuple[str, str, str]) -> StoredAnswer | None:
        return self._answers.get(scope)

    def store_answer(self, scope: tuple[str, str, str], stored: StoredAnswer) -> None:
        self._answers[scope] = stored
        if len(self._answers) > MAX_STORED_ANSWERS:
            del self._answers[next(iter(self._answers))]
        answer = stored.answer
        line = {"scope": scope, "digest": stored.digest, "status": answer.status, "body": answer.body}
        self.record.write("answer", line)

    def reload_answer(self, line: dict[str, Any]) -> None:
        account, operation, key = line["scope"]
        stored = StoredAnswer(line["digest"], Answer(line["status"], line["body"]))
        self._answers[account, operation, key] = stored

    def reset(self) -> None:
        self.plan.clear()
        self.sender.reset()
        self.calls.clear()
        self.call_log.clear()
        self.latency_seconds = 0.0
        self.forget()

    def forget(self) -> None:
        """Timers and stored answers go; plan and logs stay."""
        self._answers.clear()
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()

    async def stop(self) -> None:
        self.forget()
        await self.sender.stop()
        self.record.close()
