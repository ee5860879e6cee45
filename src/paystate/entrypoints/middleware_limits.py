"""Bounds what one request may cost: bytes, seconds to send them, and how many are worked on at once (F4)."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paystate.entrypoints.api.problems import send_problem
from paystate.entrypoints.incoming import header, incoming
from paystate.kit.clock import monotonic
from paystate.kit.errors import Refused, Unavailable
from paystate.machinery.settings import Settings

WEBHOOKS = "/api/webhooks/"
STREAMS = "/events"
CLOSE = (b"connection", b"close")
MAX_LENGTH_DIGITS = 18


class Limits:
    """413 for too many bytes, 408 for a body that stalls, 503 when too much is going on. Streams are not counted."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._body_limit = settings.request_body_limit
        self._webhook_limit = settings.webhook_body_limit
        self._seconds = settings.request_body_seconds
        self._most = settings.max_running_requests
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._webhook_limit if scope["path"].startswith(WEBHOOKS) else self._body_limit
        if _declared(scope) > limit:
            await send_problem(too_large(limit), scope, send, incoming(scope))
        elif scope["path"].endswith(STREAMS):
            await self._app(scope, receive, send)
        elif self._running >= self._most:
            error = Unavailable(
                "Too many requests are being worked on; try again in a moment.", code="overloaded"
            )
            await send_problem(error, scope, send, incoming(scope))
        else:
            await self._bounded(scope, receive, send, limit)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._running += 1
        try:
            if _declared(scope) or header(scope, b"transfer-encoding") is not None:
                body = _Body(receive, send, limit, self._seconds)
                await self._app(scope, body.receive, body.send)
            else:
                await self._app(scope, receive, send)
        finally:
            self._running -= 1


class _Body:
    """One request's body on its way in: counted, timed, and the connection closed when it was not read to its end."""

    def __init__(self, receive: Receive, send: Send, limit: int, seconds: float) -> None:
        self._receive, self._send = receive, send
        self._left = limit
        self._limit = limit
        self._seconds = seconds
        self._until: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        message = await self._in_time()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise too_large(self._limit)
            self._complete = not message.get("more_body", False)
        return message

    async def _in_time(self) -> Message:
        if self._until is None:
            self._until = monotonic() + self._seconds
        try:
            async with asyncio.timeout(max(0.0, self._until - monotonic())):
                return await self._receive()
        except TimeoutError:
            raise Refused("The body took too long to arrive.", code="request_timeout") from None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._complete:
            kept = [line for line in message.get("headers", ()) if line[0].lower() != b"connection"]
            message["headers"] = [*kept, CLOSE]
        await self._send(message)


def too_large(limit: int) -> Refused:
    """More bytes than this address takes."""
    return Refused(f"At most {limit} bytes are read.", code="payload_too_large")


def _declared(scope: Scope) -> int:
    text = header(scope, b"content-length") or b"0"
    return int(text) if text.isdigit() and len(text) <= MAX_LENGTH_DIGITS else 10**MAX_LENGTH_DIGITS
