"""Sends a simulator's webhooks: signed at each attempt, retried, spoiled as the fault plan says, logged."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from paystate.kit.clock import Clock, rfc3339
from paystate.simulators.faults import DELIVERY_KINDS, WEBHOOK, Fault, FaultKind, FaultPlan, Subject

RETRY_AFTER_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ANSWER_TIMEOUT_SECONDS = 10
MAX_ANSWER_BYTES = 64 * 1024
MAX_WAITING = 100_000
MAX_ATTEMPT_LOG = 100_000
SENDERS = 32
REORDER_HOLD_SECONDS = 10.0
DEFAULT_DELAY_SECONDS = 1.0

Sign = Callable[[str, bytes], Mapping[str, str]]
"""(secret, raw body) → the signature headers of this moment."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook on its way. `sent_headers` makes it a replay: exactly these headers again, no new signature."""

    event: str
    reference: str | None
    url: str
    body: bytes
    secret: str
    sign: Sign
    sent_headers: Mapping[str, str] | None = None
    attempt: int = 0
    note: str = ""
    then: tuple["Delivery", ...] = ()
    """Held back by `reorder`; they go once this one was tried."""

    def headers(self) -> dict[str, str]:
        signed = self.sent_headers or self.sign(self.secret, self.body)
        return {"Content-Type": "application/json", **signed}


class WebhookSender:
    """A bounded queue, a few senders, and a log of every attempt."""

    def __init__(self, plan: FaultPlan, clock: Clock) -> None:
        self.attempts: deque[dict[str, Any]] = deque(maxlen=MAX_ATTEMPT_LOG)
        self._plan = plan
        self._clock = clock
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()
        self._held: list[Delivery] = []
        self._signed: dict[str, Mapping[str, str]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        self._tasks = [asyncio.create_task(self._send_forever()) for _ in range(SENDERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.reset()
        if self._session is not None:
            await self._session.close()

    def reset(self) -> None:
        """Forget what waits, what was held and what was logged."""
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        self._held.clear()
        self._signed.clear()
        self.attempts.clear()
        while not self._queue.empty():
            self._queue.get_nowait()

    def submit(self, delivery: Delivery) -> None:
        """Send soon, unless the plan has a fault for it."""
        fault = self._plan.take(WEBHOOK, DELIVERY_KINDS, Subject(delivery.reference), self._clock.now())
        if fault is None:
            self._enqueue(self._with_held(delivery))
        else:
            self._spoil(fault, delivery)

    def replay(self, delivery: Delivery) -> None:
        """An old webhook again, byte for byte, its first signature included."""
        sent = self._signed.get(delivery.event)
        self._enqueue(replace(delivery, sent_headers=sent, note="replay"))

    async def send_now(self, delivery: Delivery) -> None:
        """One attempt, waited for, retried later if it failed."""
        await self._attempt(replace(delivery, note="early"))

    def _spoil(self, fault: Fault, delivery: Delivery) -> None:
        marked = replace(delivery, note=fault.kind.value)
        match fault.kind:
            case FaultKind.DROP:
                self._log(marked, "dropped")
            case FaultKind.DELAY:
                seconds = DEFAULT_DELAY_SECONDS if fault.plan.seconds is None else fault.plan.seconds
                self._enqueue_later(seconds, marked)
            case FaultKind.DUPLICATE:
                for _ in range(fault.plan.count):
                    self._enqueue(marked)
            case FaultKind.REORDER:
                self._hold(marked)
            case _:
                self._enqueue(replace(marked, secret="wrong_" + delivery.secret))

    def _hold(self, delivery: Delivery) -> None:
        """Keep it back until the next one was tried; at most one is held, and not for ever."""
        if self._held:
            self._enqueue(self._with_held(delivery))
        else:
            self._held.append(delivery)
            self._call_later(REORDER_HOLD_SECONDS, self._release_held)

    def _with_held(self, delivery: Delivery) -> Delivery:
        held, self._held = tuple(self._held), []
        return replace(delivery, then=held) if held else delivery

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for delivery in held:
            self._enqueue(delivery)

    def _enqueue(self, delivery: Delivery) -> None:
        if self._queue.qsize() + len(self._timers) >= MAX_WAITING:
            self._log(delivery, "queue_full")
        else:
            self._queue.put_nowait(delivery)

    def _enqueue_later(self, seconds: float, delivery: Delivery) -> None:
        if self._queue.qsize() + len(self._timers) >= MAX_WAITING:
            self._log(delivery, "queue_full")
        else:
            self._call_later(seconds, lambda: self._queue.put_nowait(delivery))

    def _call_later(self, seconds: float, act: Callable[[], None]) -> None:
        def ring() -> None:
            self._timers.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(seconds, ring)
        self._timers.add(handle)

    async def _send_forever(self) -> None:
        while True:
            await self._attempt(await self._queue.get())

    async def _attempt(self, delivery: Delivery) -> None:
        headers = delivery.headers()
        self._remember_signature(delivery, headers)
        result = await self._post(delivery, headers)
        self._log(delivery, result)
        for held in delivery.then:
            self._enqueue(held)
        if not (isinstance(result, int) and 200 <= result < 300) and delivery.attempt < len(
            RETRY_AFTER_SECONDS
        ):
            again = replace(delivery, attempt=delivery.attempt + 1, then=())
            self._enqueue_later(RETRY_AFTER_SECONDS[delivery.attempt], again)

    async def _post(self, delivery: Delivery, headers: Mapping[str, str]) -> int | str:
        if self._session is None:
            return "not_started"
        try:
            async with self._session.post(
                delivery.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as answer:
                # The status is all that counts; the body is read only so that the connection can be used again.
                with suppress(aiohttp.ClientError):
                    await answer.content.read(MAX_ANSWER_BYTES)
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return type(error).__name__

    def _remember_signature(self, delivery: Delivery, headers: Mapping[str, str]) -> None:
        if delivery.attempt == 0:
            self._signed.setdefault(delivery.event, dict(headers))
            if len(self._signed) > MAX_ATTEMPT_LOG:
                del self._signed[next(iter(self._signed))]

    def _log(self, delivery: Delivery, result: int | str) -> None:
        self.attempts.append(
            {
                "event": delivery.event,
                "reference": delivery.reference,
                "url": delivery.url,
                "attempt": delivery.attempt + 1,
                "at": rfc3339(self._clock.now()),
                "result": result,
                "note": delivery.note,
            }
        )
