"""The control API every simulator has: faults, latency, replays, reset, and everything it knows."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from paystate.simulators.fault_answers import send
from paystate.simulators.faults import ANY_CALL, MAX_SECONDS, WEBHOOK, FaultRequest
from paystate.simulators.stage import Answer, Provider, Stage

PREFIX = "/_control"
MAX_LOG_ROWS = 10_000

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LatencyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /_control/latency``."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]


class ResendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /_control/webhooks/resend``."""

    event: str


def refusal(code: str, message: str, status: int = 422) -> Answer:
    """A refusal of the control API itself."""
    return Answer(status, {"error": {"code": code, "message": message}})


async def read_as(request: web.Request, kind: type[T]) -> T:
    """The JSON body as this type. Raises ValueError."""
    return msgspec.json.decode(await request.read() or b"{}", type=kind)


@web.middleware
async def control_is_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever may reach the provider's API from elsewhere may not steer it; a bad request is told why."""
    if not request.path.startswith(PREFIX + "/"):
        return await handler(request)
    if not is_loopback(request.remote):
        return send(refusal("loopback_only", "The control API answers this machine only.", 403))
    try:
        return await handler(request)
    except (ValueError, OverflowError) as error:
        return send(refusal("invalid_request", str(error)))


class Control:
    """The routes under ``/_control`` that do not depend on the provider."""

    def __init__(self, stage: Stage, provider: Provider) -> None:
        self._stage = stage
        self._provider = provider

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{PREFIX}/faults", self.add_fault),
            web.delete(f"{PREFIX}/faults", self.clear_faults),
            web.delete(f"{PREFIX}/faults/{{id}}", self.remove_fault),
            web.post(f"{PREFIX}/webhooks/resend", self.resend),
            web.post(f"{PREFIX}/latency", self.latency),
            web.post(f"{PREFIX}/reset", self.reset),
            web.get(f"{PREFIX}/objects", self.objects),
            web.get(f"{PREFIX}/calls", self.call_log),
            web.get(f"{PREFIX}/health", self.health),
        ]

    async def add_fault(self, request: web.Request) -> web.Response:
        plan = await read_as(request, FaultRequest)
        if plan.operation not in {*self._provider.operations, ANY_CALL, WEBHOOK}:
            raise ValueError("this provider has no such operation")
        return send(Answer(201, self._stage.plan.add(plan, self._stage.now()).wire()))

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._stage.plan.clear()
        return send(Answer(200, {}))

    async def remove_fault(self, request: web.Request) -> web.Response:
        if self._stage.plan.remove(request.match_info["id"]):
            return send(Answer(200, {}))
        return send(refusal("not_found", "No such fault.", 404))

    async def resend(self, request: web.Request) -> web.Response:
        wanted = await read_as(request, ResendRequest)
        delivery = self._provider.delivery(wanted.event)
        if delivery is None:
            return send(refusal("not_found", "No such event, or it has no address to go to.", 404))
        self._stage.sender.replay(delivery)
        return send(Answer(202, {"event": wanted.event}))

    async def latency(self, request: web.Request) -> web.Response:
        self._stage.latency_seconds = (await read_as(request, LatencyRequest)).seconds
        return send(Answer(200, {"seconds": self._stage.latency_seconds}))

    async def reset(self, _request: web.Request) -> web.Response:
        self._stage.reset()
        self._stage.record.write("reset", {})
        self._provider.reset()
        return send(Answer(200, {}))

    async def objects(self, _request: web.Request) -> web.Response:
        counts: dict[str, Any] = {
            "webhookAttempts": list(self._stage.sender.attempts),
            "calls": dict(self._stage.calls),
            "faults": [fault.wire() for fault in self._stage.plan],
        }
        return send(Answer(200, {**self._provider.objects(), **counts}))

    async def call_log(self, request: web.Request) -> web.Response:
        """The last calls, oldest first; `limit` of them."""
        limit = min(MAX_LOG_ROWS, max(1, int(request.query.get("limit", "1000"))))
        return send(Answer(200, {"data": list(self._stage.call_log)[-limit:]}))

    async def health(self, _request: web.Request) -> web.Response:
        return send(Answer(200, {"status": "ok", "calls": sum(self._stage.calls.values())}))


def is_loopback(address: str | None) -> bool:
    """Whether a peer's address is this machine."""
    return address is not None and ipaddress.ip_address(address.split("%")[0]).is_loopback
