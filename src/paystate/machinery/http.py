"""The only way out: one HTTP client with a total deadline, a size cap and a check of the address really connected to.

A URL says little about where a request goes: decimal, octal, mapped and translated addresses, names that change their
answer. So nothing here judges the text of a host; the resolver and the socket factory judge addresses.
"""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from paystate.kit.clock import SECOND, SystemClock, from_datetime, monotonic
from paystate.kit.errors import PaystateError

MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_POOLS: Final = 16
CONNECTIONS_PER_POOL: Final = 200
KEEPALIVE_SECONDS: Final = 4.0
"""Below the 5 s after which common servers hang up, so that a request seldom meets a connection just closed."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _nothing_to_guard() -> None:
    """Until the database says otherwise, no transaction can be open."""


guard: Callable[[], None] = _nothing_to_guard
"""Called before each request; `machinery.db` sets it to one that raises while a transaction is open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status; header names are in lower case, repeated ones joined, cookies left out."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    duration_seconds: float


class NoAnswer(PaystateError):
    """No complete answer within the limits.

    `reason`: timeout, connection_refused, unreachable, dns, tls, address_blocked, too_large, encoded, disconnected,
    protocol, invalid_request or closed. `sent` is False only when certainly nothing of the request left.
    """

    code = "no_answer"
    retryable = True

    def __init__(self, reason: str, *, sent: bool, detail: str) -> None:
        super().__init__(detail, reason=reason, sent=sent)
        self.reason = reason
        self.sent = sent


class _Lost(Exception):
    """The connection ended before the answer began."""


class AddressBlocked(OSError):
    """The address is not one that this installation may connect to."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is not public, or scheme and port do not fit it")


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NEVER_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments, partly "global" for Python
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # the metadata server of Azure has a public address
        "240.0.0.0/4",
        "2001::/23",  # protocol assignments with Teredo
        "2001:db8::/32",
        "3fff::/20",
    )
)


def is_public(address: Address) -> bool:
    """Whether the address, and any IPv4 address wrapped in it, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _NEVER_PUBLIC)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end at: mapped, NAT64, 6to4, ISATAP."""
    value = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (value >> 32) & 0xFDFF_FFFF == 0x0000_5EFE:
        return ipaddress.IPv4Address(value & 0xFFFF_FFFF)
    return address.sixtofour


@dataclass(frozen=True, slots=True)
class _Policy:
    """Which addresses may be connected to over one scheme."""

    scheme: str
    allow_private: tuple[Network, ...]

    def allows(self, host: str, port: int) -> bool:
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # the kernel connects there over IPv4
        if any(address in network for network in self.allow_private):
            return True
        return self.scheme == "https" and port in (80, 443) and is_public(address)

    def socket(
        self, info: tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
    ) -> socket.socket:
        """The last word: sees every address just before the connect, literal ones too."""
        family, kind, protocol, _, where = info
        if not self.allows(where[0], where[1]):
            raise AddressBlocked
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Answers of the system's resolver that the policy allows."""

    def __init__(self, policy: _Policy, lookup: AbstractResolver) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup.resolve(host, port, family)
        allowed = [result for result in found if self._policy.allows(result["host"], result["port"])]
        if found and not allowed:
            raise AddressBlocked
        return allowed

    async def close(self) -> None:
        """The lookup is shared by all pools and closed by its owner."""


@dataclass(slots=True)
class _Progress:
    """How far a request came."""

    sent: bool = False


_progress: ContextVar[_Progress] = ContextVar("_progress")


class _Connector(aiohttp.TCPConnector):
    """Notes when a request has a connection: from then on some of it may have left."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- the parent's signature
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        _progress.get().sent = True
        return connection


async def _once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Hides a lost connection from aiohttp, which would silently send idempotent requests a second time."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise _Lost from None


class Http:
    """One client per process; `close()` it at the end. `lookup` replaces the system's resolver."""

    def __init__(
        self,
        *,
        allow_private: Iterable[str | Network] = (),
        user_agent: str = "Paystate",
        pools: Mapping[str, int] | None = None,
        lookup: AbstractResolver | None = None,
    ) -> None:
        self._allow_private = tuple(ipaddress.ip_network(network) for network in allow_private)
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._limits = dict(pools or {})
        self._lookup = lookup
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._sessions: dict[tuple[str, str], aiohttp.ClientSession] = {}
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        deadline_seconds: float,
        max_bytes: int = MAX_ANSWER_BYTES,
        pool: str = "default",
    ) -> Answer:
        """One try, redirects not followed. Raises NoAnswer; RuntimeError inside a database transaction."""
        guard()
        started = monotonic()
        target = _target(url)
        _check_headers(headers or {})
        session = self._session(pool, target.scheme)
        progress = _Progress()
        token = _progress.set(progress)
        try:
            async with (
                asyncio.timeout(deadline_seconds),
                session.request(
                    method, target, headers=headers, data=body or None, allow_redirects=False
                ) as response,
            ):
                content = await _read(response, max_bytes)
                return Answer(response.status, _headers(response), content, monotonic() - started)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, _Lost) as failure:
            raise self._no_answer(failure, progress) from None
        finally:
            _progress.reset(token)

    def _no_answer(self, failure: Exception, progress: _Progress) -> NoAnswer:
        reason = "closed" if self._closed else _reason(failure)
        return NoAnswer(reason, sent=progress.sent, detail=_DETAILS[reason])

    def _session(self, pool: str, scheme: str) -> aiohttp.ClientSession:
        if self._closed:
            raise NoAnswer("closed", sent=False, detail=_DETAILS["closed"])
        try:
            return self._sessions[pool, scheme]
        except KeyError:
            return self._open_session(pool, scheme)

    def _open_session(self, pool: str, scheme: str) -> aiohttp.ClientSession:
        if len(self._sessions) >= 2 * MAX_POOLS:
            raise ValueError(f"more than {MAX_POOLS} pools; a pool is a kind of traffic, not a peer")
        policy = _Policy(scheme, self._allow_private)
        if self._lookup is None:
            self._lookup = aiohttp.ThreadedResolver()
        connector = _Connector(
            limit=self._limits.get(pool, CONNECTIONS_PER_POOL),
            ssl=self._tls,
            resolver=_Resolver(policy, self._lookup),
            socket_factory=policy.socket,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type",),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_once,),
        )
        return self._sessions.setdefault((pool, scheme), session)

    async def close(self) -> None:
        """Ends all connections; requests under way fail with reason `closed`."""
        self._closed = True
        for session in self._sessions.values():
            await session.close()
        if self._lookup is not None:
            await self._lookup.close()


def _target(url: str) -> URL:
    try:
        target = URL(url)
        usable = target.scheme in ("http", "https") and bool(target.raw_host) and target.port is not None
        if usable and target.raw_user is None and target.raw_password is None:
            return target.with_fragment(None)
    except (ValueError, TypeError):
        pass  # answered below like every other URL that cannot be used
    raise NoAnswer("invalid_request", sent=False, detail="The URL is not a plain http or https URL.")


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not name.isascii() or any(c in name + value for c in "\r\n\0"):
            raise NoAnswer("invalid_request", sent=False, detail="A request header is not valid.")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body, or NoAnswer as soon as it is too large or encoded: it is never inflated."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        response.close()
        raise NoAnswer("encoded", sent=True, detail=_DETAILS["encoded"])
    parts: list[bytes] = []
    room = max_bytes
    async for part in response.content.iter_any():
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    if room < 0:
        response.close()
        raise NoAnswer("too_large", sent=True, detail=_DETAILS["too_large"])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        if key != "set-cookie":
            kept[key] = f"{kept[key]}, {value}" if key in kept else value
    return kept


_DETAILS: Final = {
    "timeout": "No complete answer within the deadline.",
    "connection_refused": "Nothing listens at the address.",
    "unreachable": "No connection could be made.",
    "dns": "The host name has no address.",
    "tls": "The TLS connection could not be verified.",
    "address_blocked": "The address is not one that may be connected to.",
    "too_large": "The answer is larger than the limit.",
    "encoded": "The answer is compressed, which was not asked for.",
    "disconnected": "The connection was closed before the end of the answer.",
    "protocol": "The answer is not valid HTTP.",
    "invalid_request": "The request cannot be sent as it is.",
    "closed": "The client is closing.",
}


def _reason(failure: Exception) -> str:
    cause = failure.os_error if isinstance(failure, aiohttp.ClientConnectorError) else failure
    match failure, cause:
        case TimeoutError(), _:
            return "timeout"
        case _, AddressBlocked():
            return "address_blocked"
        case aiohttp.ClientConnectorDNSError(), _:
            return "dns"
        case aiohttp.ClientSSLError(), _:
            return "tls"
        case _, ConnectionRefusedError():
            return "connection_refused"
        case aiohttp.ClientConnectorError(), _:
            return "unreachable"
        case aiohttp.ClientResponseError(), _:
            return "protocol"
        case ValueError(), _:
            return "invalid_request"
    return "disconnected"


def retry_after_seconds(answer: Answer) -> float | None:
    """What the Retry-After header asks for, seconds or an HTTP date; None without a readable one. Not clamped."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (from_datetime(moment) - SystemClock().now()) / SECOND)
