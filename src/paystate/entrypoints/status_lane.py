"""The status of a payment link, made for polling: one indexed read and ready-made bytes, in front of the framework."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from paystate.domain.payments.glance import BY_ID, BY_SHORT_CODE, Glance, glance_of
from paystate.entrypoints.api.desk import Desk
from paystate.entrypoints.api.problems import send_problem
from paystate.entrypoints.http_protocol import answer_at_once, decoded, encoded
from paystate.entrypoints.incoming import Incoming, new_request_id
from paystate.entrypoints.middleware import (
    COMMON_HEADERS,
    LOOPBACK,
    REVALIDATE,
    STRICT_TRANSPORT,
    TrustedProxy,
    completed,
    host_of,
)
from paystate.entrypoints.status_answer import rendered
from paystate.flows.expire_payments import expire_one
from paystate.kit.clock import SECOND, monotonic
from paystate.kit.errors import NotFound, PaystateError, Refused, TooMany
from paystate.kit.ids import System, is_id, is_short_code
from paystate.machinery.db import Database
from paystate.machinery.db.point_reads import SqlitePointReads, open_point_reads
from paystate.machinery.logs import get_logger
from paystate.machinery.rate_limits import address_key

PREFIX, SUFFIX = "/api/payment-links/", "/status"
WHO = System("status of a public payment link")
KEPT_ANSWERS = 10_000
EXPIRY_GAP_SECONDS = 2.0
"""How often a link past its time is put to its provider again because somebody polls it."""

CLOCK_SECONDS = 0.25
"""How old our reading of the database's clock may be; expiry itself is decided by the database's own."""

HOSTS_REMEMBERED = 1_024
Line = tuple[bytes, bytes]
T = TypeVar("T")
CORS: tuple[Line, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Retry-After, RateLimit, RateLimit-Policy"),
)
PREFLIGHT: tuple[Line, ...] = (
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"If-None-Match, Prefer"),
    (b"access-control-max-age", b"86400"),
)
STRICT_TRANSPORT_LINE = encoded([STRICT_TRANSPORT])
METHODS = ("GET", "HEAD", "OPTIONS")
log = get_logger(__name__)


class Answer(NamedTuple):
    """A status ready to be sent: what it is of, its header lines with and without a body, its bytes."""

    version: int
    past: bool
    until: int
    """When it has to be looked at anew without a new version; 0: never. What is past is looked at each time."""

    etag: bytes
    head: bytes
    head_unchanged: bytes
    body: bytes


class DatabaseClock:
    """The database's time without a query each time: its distance from our monotonic clock, measured now and then."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._distance = 0
        self._until = 0.0

    def at(self, moment: float) -> int:
        """The time at a moment of the monotonic clock, while what we know is fresh; else 0."""
        return self._distance + int(moment * SECOND) if moment < self._until else 0

    async def now(self) -> int:
        """Microseconds since 1970."""
        at = monotonic()
        if at >= self._until:
            now = await self._db.read(lambda tx: tx.now)
            at = monotonic()
            self._distance, self._until = now - int(at * SECOND), at + CLOCK_SECONDS
        return self._distance + int(at * SECOND)


class StatusLane:
    """Answers GET /api/payment-links/{id or short code}/status and hands everything else to `inner`."""

    def __init__(self, desk: Desk, inner: ASGIApp) -> None:
        settings = desk.app.settings
        self._desk = desk
        self._inner = inner
        self._polling = desk.limits.polling
        self._reads = open_point_reads(desk.app.db)
        self._clock = DatabaseClock(desk.app.db)
        self._proxies = TrustedProxy(inner, trusted=settings.trusted_proxies)
        self._trusts = bool(settings.trusted_proxies)
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._expiring: OrderedDict[str, float] = OrderedDict()
        self._served = _host_check(settings.trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._inner(scope, receive, send)
        path: str = scope["path"]
        if not (path.startswith(PREFIX) and path.endswith(SUFFIX)):
            return await self._inner(scope, receive, send)
        name = path[len(PREFIX) : -len(SUFFIX)]
        if "/" in name:
            return await self._inner(scope, receive, send)
        host, known = None, None
        for key, value in scope["headers"]:
            if key == b"if-none-match":
                known = value
            elif key == b"host":
                host = value if host is None else b""
        client = scope["client"]
        facts = Incoming(new_request_id(), client[0] if client else LOOPBACK, scope["scheme"] == "https")
        if self._trusts:
            self._proxies.look(scope, facts)
        try:
            await self._serve(scope, send, facts, name=name, host=host or b"", known=known)
        except PaystateError as error:
            await self._refuse(error, scope, send, facts)
        except Exception:
            log.exception("status_failed", path=PREFIX)
            await self._refuse(PaystateError("unforeseen"), scope, send, facts)

    async def close(self) -> None:
        """Give the connections back."""
        await self._reads.close()

    async def _serve(
        self,
        scope: Scope,
        send: Send,
        facts: Incoming,
        *,
        name: str,
        host: bytes,
        known: bytes | None,
    ) -> None:
        if not self._served(host):
            raise Refused("This host is not served here.", code="invalid_host")
        method = scope["method"]
        if method == "OPTIONS":
            await _preflight(send, facts)
            return
        if method not in ("GET", "HEAD"):
            raise Refused("This address is only read.", code="method_not_allowed", allow=METHODS)
        key = address_key(facts.address)
        moment = monotonic()
        hit = self._polling.hit(key, moment)
        if not hit.allowed:
            facts.rate_headers = self._polling.headers(hit)
            raise TooMany("Polled too often.", retry_after_seconds=hit.retry_after_seconds)
        answer = await self._answer(name, key, facts, moment)
        status, head, body = 200, answer.head, answer.body
        if known is not None and answer.etag in known:
            status, head, body = 304, answer.head_unchanged, b""
        elif method == "HEAD":
            body = b""
        secure = STRICT_TRANSPORT_LINE if facts.secure else b""
        request_id = facts.request_id.encode()
        whole = b"%b%bx-request-id: %b\r\n%b" % (head, self._polling.encoded(hit), request_id, secure)
        if not answer_at_once(scope, status, whole, body):
            await send({"type": "http.response.start", "status": status, "headers": decoded(whole)})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, name: str, key: str, facts: Incoming, moment: float) -> Answer:
        sql = BY_SHORT_CODE if is_short_code(name) else BY_ID if is_id("pay", name) else None
        row = None
        if sql is not None:
            reads = self._reads
            row = (
                reads.first(sql, name)
                if isinstance(reads, SqlitePointReads)
                else await reads.first(sql, name)
            )
        if row is None:
            raise self._missed(key, facts)
        known = self._answers.get(row[0])
        still = known is not None and known.version == row[1]
        if known and still and (not known.until or 0 < self._clock.at(moment) < known.until):
            return known
        glance, past = Glance._make(row), False
        if glance.due_at is not None or glance.deadline is not None:
            now = self._clock.at(moment) or await self._clock.now()
            if glance.must_expire(now):
                glance = await self._expire(glance)
            past = glance.is_past(now)
        if known is not None and known.version == glance.version and known.past == past:
            return known
        return self._keep(glance, past=past)

    async def _expire(self, glance: Glance) -> Glance:
        """Bring it to its end there and then; one that its provider still holds is asked about, not at every poll."""
        now = monotonic()
        if self._expiring.get(glance.id, 0.0) > now:
            return glance
        self._expiring[glance.id] = now + EXPIRY_GAP_SECONDS
        _bound(self._expiring)
        return glance_of(await expire_one(self._desk.app.ctx, WHO, glance.id))

    def _keep(self, glance: Glance, *, past: bool) -> Answer:
        etag = b'W/"%d%b"' % (glance.version, b"x" if past else b"")
        lines = (
            (b"content-type", b"application/json"),
            (b"etag", etag),
            REVALIDATE,
            *COMMON_HEADERS,
            *CORS,
        )
        head, body = encoded(lines), rendered(glance, past=past)
        made = self._answers[glance.id] = Answer(
            glance.version,
            past,
            _until(glance, past=past),
            etag,
            head + b"content-length: %d\r\n" % len(body),
            head,
            body,
        )
        self._answers.move_to_end(glance.id)
        _bound(self._answers)
        return made

    def _missed(self, key: str, facts: Incoming) -> PaystateError:
        """Unknown names are counted apart: whoever tries many is told to stop (T25)."""
        misses = self._desk.limits.misses
        hit = misses.hit(key, monotonic())
        if hit.allowed:
            return NotFound("There is no such payment link.")
        facts.rate_headers = misses.headers(hit)
        return TooMany("Too many unknown links.", retry_after_seconds=hit.retry_after_seconds)

    async def _refuse(self, error: PaystateError, scope: Scope, send: Send, facts: Incoming) -> None:
        async def complete(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = completed([*message["headers"], *CORS], facts)
            await send(message)

        await send_problem(error, scope, complete, facts)


def _until(glance: Glance, *, past: bool) -> int:
    if past:
        return 1
    return min((moment for moment in (glance.due_at, glance.deadline) if moment is not None), default=0)


async def _preflight(send: Send, facts: Incoming) -> None:
    lines = completed([*PREFLIGHT, *CORS], facts)
    await send({"type": "http.response.start", "status": 204, "headers": lines})
    await send({"type": "http.response.body", "body": b""})


def _host_check(hosts: Iterable[str]) -> Callable[[bytes], bool]:
    known = frozenset(host.lower().strip("[]") for host in hosts)

    @lru_cache(maxsize=HOSTS_REMEMBERED)
    def served(host: bytes) -> bool:
        return "*" in known or host_of(host) in known

    return served


def _bound(memory: OrderedDict[str, T]) -> None:
    while len(memory) > KEPT_ANSWERS:
        memory.popitem(last=False)
