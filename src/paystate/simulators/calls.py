"""Takes one call of a simulated API through counting, faults, credentials and idempotency to its answer."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from paystate.kit.clock import rfc3339
from paystate.simulators.fault_answers import Wrongdoing, refusal, send, spoil
from paystate.simulators.faults import CALL_KINDS, Fault, Subject
from paystate.simulators.stage import NO_DETAILS, Answer, Provider, Stage, StoredAnswer

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Keys:
    """How a provider does a call once per key: where the key is, whether it must be there, what a reuse is told."""

    header: str = "Idempotency-Key"
    required: bool = True
    reused_status: int = 409
    reused_code: str = "idempotency_key_reused"
    replayed: str = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read. `account` is None when its credentials are not valid, `body` when it could not be parsed."""

    request: web.Request
    account: str | None
    body: dict[str, Any] | None
    raw: bytes = b""
    key: str | None = None

    @property
    def owner(self) -> str:
        """The account; asked for only where credentials were checked."""
        if self.account is None:
            raise RuntimeError("this call carries no valid credentials")
        return self.account


class RefusedCallError(Exception):
    """A call the provider says no to; `details` are for providers whose errors say more than a code."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def refuse(code: str, message: str, status: int = 422, **details: Any) -> RefusedCallError:
    """``raise refuse("invalid_amount", "…")``."""
    return RefusedCallError(status, code, message, details)


def no_subject(_call: Call) -> Subject:
    """For calls that are about nothing in particular."""
    return Subject()


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call: the name faults use, what it does, what it is about."""

    name: str
    act: Callable[[Call], Answer]
    subject: Callable[[Call], Subject] = no_subject
    keys: Keys | None = None
    """Carried out once per key; None: the provider knows no keys here."""
    public: bool = False
    """Needs no credentials: a token is asked for, or a form is posted by a browser."""
    raw: bool = False
    """Reads `call.raw` itself; its body need not be parsable."""


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
        call = await self._read(operation, request)
        subject = operation.subject(call)
        fault = stage.plan.take(operation.name, CALL_KINDS, subject, stage.now())
        if fault is None:
            response: web.StreamResponse = send(await self._act(operation, call))
        else:
            response = await self._go_wrong(operation, call, fault)
        if not response.prepared:
            response.headers.update(self._provider.headers())
        self._log(operation, call, subject, fault, response)
        return response

    async def _read(self, operation: Operation, request: web.Request) -> Call:
        account = self._provider.authenticate(request)
        key = None if operation.keys is None else request.headers.get(operation.keys.header)
        if request.method == "GET":
            return Call(request, account, None, key=key)
        raw = await request.read()
        return Call(request, account, self._provider.read_body(request, raw), raw, key)

    async def _go_wrong(self, operation: Operation, call: Call, fault: Fault) -> web.StreamResponse:
        wrong = Wrongdoing(
            fault,
            call.request,
            self._provider,
            act=lambda: self._act(operation, call),
            recall=lambda: self._recalled(operation, call),
        )
        if fault.plan.acts:
            await wrong.true_answer()
        answer = refusal(fault, call.request, self._provider)
        if answer is None:
            return await spoil(wrong)
        if fault.plan.stored and operation.keys is not None and call.account and call.key:
            self._store(operation, call, answer)
        return send(answer)

    async def _act(self, operation: Operation, call: Call) -> Answer:
        try:
            answer = self._checked(operation, call)
        except RefusedCallError as no:
            answer = self._told(no)
        if answer.first is not None:
            await answer.first()
        return answer

    def _recalled(self, operation: Operation, call: Call) -> Answer | None:
        """What a copy that lags behind would say; None where the call is not a question."""
        if call.request.method != "GET":
            return None
        with self._provider.in_the_past():
            try:
                return self._checked(operation, call)
            except RefusedCallError as no:
                return self._told(no)

    def _told(self, no: RefusedCallError) -> Answer:
        return self._provider.error(no.status, no.code, no.message, no.details)

    def _checked(self, operation: Operation, call: Call) -> Answer:
        if call.account is None and not operation.public:
            raise refuse("invalid_key", "This key is unknown or revoked.", 401)
        if call.request.method != "GET" and call.body is None and not operation.raw:
            raise refuse("invalid_json", "The body is not a JSON object.")
        keys = operation.keys
        return operation.act(call) if keys is None else self._once(operation, keys, call)

    def _once(self, operation: Operation, keys: Keys, call: Call) -> Answer:
        """Carry the call out, or give the answer its key got before: an error too."""
        key = call.key
        if key is None and not keys.required:
            return operation.act(call)
        if not key or len(key) > MAX_KEY_LENGTH:
            raise refuse(
                "idempotency_key_required", f"Send an {keys.header} of 1 to {MAX_KEY_LENGTH} characters."
            )
        stored = self._stage.stored_answer((call.owner, operation.name, key))
        if stored is None:
            return self._for_the_first_time(operation, call)
        if stored.digest != _digest(call):
            raise refuse(keys.reused_code, "This key came with another body before.", keys.reused_status)
        return Answer(stored.answer.status, stored.answer.body, {keys.replayed: "true"})

    def _for_the_first_time(self, operation: Operation, call: Call) -> Answer:
        try:
            answer = operation.act(call)
        except RefusedCallError as no:
            answer = self._told(no)
        self._store(operation, call, answer)
        return answer

    def _store(self, operation: Operation, call: Call, answer: Answer) -> None:
        scope = (call.owner, operation.name, call.key or "")
        self._stage.store_answer(scope, StoredAnswer(_digest(call), replace(answer, headers={}, first=None)))

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
    canonical = msgspec.json.encode([call.request.path, call.body], order="sorted")
    return hashlib.sha256(canonical).hexdigest()
