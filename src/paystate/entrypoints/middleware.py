"""The edge around everything: request ids, security headers, who is asking, for which host, and how often."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paystate.entrypoints.api.problems import send_problem
from paystate.entrypoints.incoming import KEY, Incoming, header, headers, incoming, new_request_id
from paystate.kit.clock import monotonic
from paystate.kit.errors import PaystateError, Refused, TooMany
from paystate.machinery.logs import bound, get_logger
from paystate.machinery.rate_limits import Limiter, Networks, address_key, client_address

LOOPBACK = "127.0.0.1"
COMMON_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=()"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What every answer carries unless it says something of its own; the CSP is that of the API."""

STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"private, no-cache")
UNCOUNTED = ("/healthz", "/readyz", "/metrics", "/embed/", "/api/webhooks/")
"""Paths with no bucket by address here: probes, files, and webhooks, which have a bucket of their own."""

KEYED, PUBLIC = "/api/", "/api/payment-links/"

log = get_logger(__name__)


class RequestId:
    """Gives each request its id and its facts, and puts the id on every line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = scope[KEY] = Incoming(new_request_id())
        with bound(request_id=facts.request_id):
            await self._app(scope, receive, send)


class LastResort:
    """Answers what nobody else caught; an exception never reaches the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if started:
                return  # the framework has logged and answered it already
            if isinstance(error, PaystateError):
                await send_problem(error, scope, note, incoming(scope))
                return
            log.exception("request_failed", path=scope["path"])
            await send_problem(PaystateError("unforeseen"), scope, note, incoming(scope))


class SecurityHeaders:
    """Completes the headers of every answer; what an answer says itself stands."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = incoming(scope)

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = completed(message.get("headers", ()), facts)
            await send(message)

        await self._app(scope, receive, complete)


def completed(given: Iterable[tuple[bytes, bytes]], facts: Incoming) -> list[tuple[bytes, bytes]]:
    """The headers with everything that was missing."""
    lines = [(name.lower(), value) for name, value in given]
    names = {name for name, _ in lines}
    lines += [line for line in COMMON_HEADERS if line[0] not in names]
    if b"cache-control" not in names:
        lines.append(REVALIDATE if b"etag" in names else NO_STORE)
    if facts.secure:
        lines.append(STRICT_TRANSPORT)
    lines += [line for line in facts.rate_headers if line[0] not in names]
    lines.append((b"x-request-id", facts.request_id.encode()))
    return lines


class TrustedProxy:
    """Finds out who really asks, and over what: proxies are believed only when they are listed (F7)."""

    def __init__(self, app: ASGIApp, *, trusted: Networks) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.look(scope, incoming(scope))
        await self._app(scope, receive, send)

    def look(self, scope: Scope, facts: Incoming) -> None:
        """Note in the facts who asks and whether over https."""
        client = scope.get("client")
        peer = client[0] if client else LOOPBACK
        facts.address = client_address(peer, headers(scope, b"x-forwarded-for"), self._trusted)
        facts.secure = scope.get("scheme") == "https" or self._says_https(scope, peer)

    def _says_https(self, scope: Scope, peer: str) -> bool:
        """A trusted proxy may say that its own side is https: seen by whether it may name another client."""
        if header(scope, b"x-forwarded-proto") != b"https" or not self._trusted:
            return False
        probe = "192.0.2.1"
        return client_address(peer, [probe.encode()], self._trusted) == probe


class TrustedHost:
    """Answers only for the hosts that this installation is known by (T53)."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.knows(headers(scope, b"host")):
            error = Refused("This host is not served here.", code="invalid_host")
            await send_problem(error, scope, send, incoming(scope))
            return
        await self._app(scope, receive, send)

    def knows(self, given: list[bytes]) -> bool:
        """Whether there is one Host line and it names us; the port does not count."""
        if "*" in self._hosts:
            return True
        return len(given) == 1 and host_of(given[0]) in self._hosts


def host_of(value: bytes) -> str:
    """``Shop.example:443`` → ``shop.example``; ``[::1]:80`` → ``::1``."""
    text = value.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]


class AddressLimit:
    """Counts what comes without a credential by its address; a caller with a key is counted by that."""

    def __init__(self, app: ASGIApp, *, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._counted_elsewhere(scope):
            facts = incoming(scope)
            hit = self._limiter.hit(address_key(facts.address), monotonic())
            facts.rate_headers = self._limiter.headers(hit)
            if not hit.allowed:
                error = TooMany("Too many requests; slow down.", retry_after_seconds=hit.retry_after_seconds)
                await send_problem(error, scope, send, facts)
                return
        await self._app(scope, receive, send)

    def _counted_elsewhere(self, scope: Scope) -> bool:
        """A credential counts only where somebody looks at it: the public part of the API does not."""
        path = scope["path"]
        if path.startswith(UNCOUNTED):
            return True
        if not path.startswith(KEYED) or path.startswith(PUBLIC):
            return False
        return any(name in (b"authorization", b"x-cron-secret") for name, _ in scope["headers"])
