"""Takes providers' webhooks: the raw body is checked, stored, made a hint of, and answered at once."""

from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from paystate.app import App
from paystate.entrypoints.api.problems import problem
from paystate.entrypoints.incoming import incoming
from paystate.flows.take_hint import AFTER_ACK, Taken, take_webhook
from paystate.kit.clock import monotonic
from paystate.kit.errors import NotFound, PaystateError, Refused, TooMany
from paystate.kit.ids import is_id
from paystate.machinery.failpoints import afailpoint
from paystate.machinery.metrics import counter
from paystate.machinery.rate_limits import Limiter, address_key

PATH = "/api/webhooks/{provider}/{connection_id}"
UNKNOWN_PROVIDER = "unknown"
HEADERS = {"Cache-Control": "no-store"}
REFUSED_FROM = 400

received = counter(
    "paystate_provider_events_total",
    "Messages from providers, by what became of them.",
    ["provider", "result"],
)


def routes(app: App) -> list[Route]:
    """The address of every connection's webhooks."""
    limit = app.settings.webhook_rate_limit
    return [Route(PATH, Hook(app, Limiter("refused-webhooks", limit.count, limit.seconds)))]


@dataclass(frozen=True, slots=True)
class Hook:
    """The endpoint as an ASGI app, so that every method but POST is refused by us and never acts.

    Only refused messages count against their address, and only they are turned away beyond the limit: a provider
    sends for many merchants from the same few addresses, so junk that somebody provokes there must not silence it.
    """

    app: App
    junk: Limiter = field(repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)
        if response.status_code < REFUSED_FROM:
            await afailpoint(AFTER_ACK)

    async def _answer(self, request: Request) -> Response:
        try:
            taken = await self._take(request)
        except PaystateError as error:
            return self._refusal(request, error)
        self._count(request, "received" if taken.is_new else "duplicate")
        return JSONResponse({"received": True, "id": taken.event_id}, headers=HEADERS)

    async def _take(self, request: Request) -> Taken:
        if request.method != "POST":
            raise Refused("Webhooks are sent by POST.", code="method_not_allowed", allow=["POST"])
        body = await read_body(request, self.app.settings.webhook_body_limit)
        connection_id = request.path_params["connection_id"]
        if not is_id("con", connection_id):
            raise NotFound("There is no such webhook address.")
        return await take_webhook(
            self.app.ctx, request.path_params["provider"], connection_id, request.headers, body
        )

    def _refusal(self, request: Request, error: PaystateError) -> Response:
        """Unavailable is our own shortage: the provider sends again, and nobody is counted for it."""
        facts = incoming(request.scope)
        self._count(request, error.code)
        if not isinstance(error, Refused | NotFound):
            return problem(error, facts)
        hit = self.junk.hit(address_key(facts.address), monotonic())
        if hit.allowed:
            return problem(error, facts)
        return problem(
            TooMany(
                "Too many refused webhooks from your address.", retry_after_seconds=hit.retry_after_seconds
            ),
            facts,
        )

    def _count(self, request: Request, result: str) -> None:
        named = request.path_params["provider"]
        provider = named if named in self.app.ctx.providers else UNKNOWN_PROVIDER
        received.labels(provider, result).inc()


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body. Raises Refused `payload_too_large` as soon as it is known to be larger."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> Refused:
    return Refused(f"A webhook may have at most {limit} bytes.", code="payload_too_large")
