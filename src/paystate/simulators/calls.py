"""Takes one call of a simulated API through counting, faults, credentials and idempotency to its answer."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from paystate.kit.clock import rfc3339
from paystate.simulators.fault_answers import Wrongdoing, refusal, send, spoil
from paystate.simulators.faults import CALL_KINDS, Fault, Subject
from paystate.simulators.stage import Answer, Provider, Stage, StoredAnswer

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_LENGTH = 255
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read. `account` is None when its credentials are not valid, `body` when it is no JSON object."""

    request: web.Request
    account: str | None
    body: dict[str, Any] | None

    @property
    def key(self) -> str | None:
        return self.request.headers.get(KEY_HEADER)

    @property
    def owner(self) -> str:
        """The account; asked for only where credentials were checked."""
        if self.account is None:
            raise RuntimeError("this call carries no valid credentials")
        return self.account


class RefusedCallError(Exception):
    """A call the provider says no to."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def refuse(code: str, message: str, status: int = 422) -> RefusedCallError:
    """``raise refuse("invalid_amount", "…")``."""
    return RefusedCallError(status, code, message)


def no_subject(_call: Call) -> Subject:
    """For calls that are about nothing in particular."""
    return Subject()


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call: the name faults use, what it does, what it is about."""

    name: str
    act: Callable[[Call], Answer]
    subject: Callable[[Call], Subject] = no_subject
    keyed: bool = False
    """Needs an Idempotency-Key and is carried out once for it."""


class Desk:
    """Serves the operations of one provider."""

    def __init__(self, stage: Stage, provider: Provider) -> None:
        self._stage = stage
        self._provider = provider

    async def serve(self, operation: Operation, request: web.Request) -> web.StreamResponse:
        stage = self._stage
        stage.calls[operation.name] += 1
        if stage.latency_seconds:
            await asyncio.sleep(stage.latency_seconds)
        call = await self._read(request)
        subject = operation.subject(call)
        fault = stage.plan.take(operation.name, CALL_KINDS, subject, stage.now())
        if fault is None:
            response: web.StreamResponse = send(await self._act(operation, call))
        else:
            response = await self._go_wrong(operation, call, fault)
        self._log(operation, call, subject, fault, response)
        return response

    async def _read(self, request: web.Request) -> Call:
        account = self._provider.authenticate(request)
        if request.method == "GET":
            return Call(request, account, None)
        raw = await request.read()
        try:
            body = msgspec.json.decode(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        return Call(request, account, body if isinstance(body, dict) else None)

    async def _go_wrong(self, operation: Operation, call: Call, fault: Fault) -> web.StreamResponse:
        wrong = Wrongdoing(fault, call.request, self._provider, lambda: self._act(operation, call))
        if fault.plan.acts:
            await wrong.true_answer()
        answer = refusal(fault, call.request, self._provider)
        if answer is None:
            return await spoil(wrong)
        if fault.plan.stored and operation.keyed and call.account and call.key:
            self._store(operation, call, answer)
        return send(answer)

    async def _act(self, operation: Operation, call: Call) -> Answer:
        try:
            answer = self._checked(operation, call)
        except RefusedCallError as no:
            answer = self._provider.error(no.status, no.code, no.message)
        if answer.first is not None:
            await answer.first()
        return answer

    def _checked(self, operation: Operation, call: Call) -> Answer:
        if call.account is None:
            raise refuse("invalid_key", "This key is unknown or revoked.", 401)
        if call.request.method != "GET" and call.body is None:
            raise refuse("invalid_json", "The body is not a JSON object.")
        return self._once(operation, call) if operation.keyed else operation.act(call)

    def _once(self, operation: Operation, call: Call) -> Answer:
        """Carry the call out, or give the answer its key got before: an error too."""
        key = call.key
        if not key or len(key) > MAX_KEY_LENGTH:
            raise refuse(
                "idempotency_key_required", f"Send an {KEY_HEADER} of 1 to {MAX_KEY_LENGTH} characters."
            )
        stored = self._stage.stored_answer((call.owner, operation.name, key))
        if stored is None:
            return self._for_the_first_time(operation, call)
        if stored.digest != _digest(call):
            raise refuse("idempotency_key_reused", "This key came with another body before.", 409)
        return Answer(stored.answer.status, stored.answer.body, {"Idempotency-Replayed": "true"})

    def _for_the_first_time(self, operation: Operation, call: Call) -> Answer:
        try:
            answer = operation.act(call)
        except RefusedCallError as no:
            answer = self._provider.error(no.status, no.code, no.message)
        self._store(operation, call, answer)
        return answer

    def _store(self, operation: Operation, call: Call, answer: Answer) -> None:
        scope = (call.owner, operation.name, call.key or "")
        self._stage.store_answer(scope, StoredAnswer(_digest(call), Answer(answer.status, answer.body)))

    def _log(
        self,
        operation: Operation,
        call: Call,
        subject: Subject,
        fault: Fault | None,
        response: web.StreamResponse,
    ) -> None:
        dropped = call.request.transport is None or call.request.transport.is_closing()
        self._stage.call_log.append(
            {
                "at": rfc3339(self._stage.now()),
                "operation": operation.name,
                "reference": subject.reference,
                "key": call.key,
                "fault": None if fault is None else fault.kind.value,
                "status": None if dropped else response.status,
            }
        )


def _digest(call: Call) -> str:
    canonical = msgspec.json.encode(call.body, order="sorted")
    return hashlib.sha256(canonical).hexdigest()
