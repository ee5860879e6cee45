"""Inbound rate limits: buckets in this process's memory, and the address a request is counted under.

Decision: per process. A limit is there to keep one sender from using up one process; it costs no query, and with N
web processes an address may send N times as much. A window starts with a key's first request and admits exactly
`limit`; so a client that keeps the pace of the limit is never refused, while one that waits for the seam of two
windows may send twice the limit around it.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import NamedTuple

MAX_KEYS = 50_000
"""Keys a bucket remembers (some 12 MB); beyond it the one whose window is oldest is forgotten."""

MAX_HOPS = 16
_ADDRESSES_REMEMBERED = 8_192

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]


class Hit(NamedTuple):
    """What a bucket says to one request. `retry_after_seconds` is 0 for an allowed one."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


class Limiter:
    """One named bucket: `limit` requests per key in `window_seconds`."""

    __slots__ = (
        "_max_keys",
        "_policy",
        "_policy_line",
        "_prefix",
        "_windows",
        "limit",
        "name",
        "window_seconds",
    )

    def __init__(self, name: str, limit: int, window_seconds: int, *, max_keys: int = MAX_KEYS) -> None:
        assert min(limit, window_seconds, max_keys) > 0
        assert name.replace("-", "").isalnum()
        self.name = name
        self.limit = limit
        self.window_seconds = window_seconds
        self._max_keys = max_keys
        self._windows: dict[str, list[float]] = {}
        self._prefix = f'"{name}";r='.encode()
        self._policy = (b"ratelimit-policy", f'"{name}";q={limit};w={window_seconds}'.encode())
        self._policy_line = b"%b: %b\r\n" % self._policy

    def hit(self, key: str, now_seconds: float) -> Hit:
        """Count one request. `now_seconds` never goes back; refused requests are not counted."""
        window = self._windows.get(key)
        if window is None or now_seconds - window[0] >= self.window_seconds:
            return self._open(key, now_seconds)
        # Rounding of large floats must not make a window longer than it is.
        left = min(self.window_seconds, ceil(window[0] + self.window_seconds - now_seconds))
        if window[1] >= self.limit:
            return Hit(
                allowed=False, limit=self.limit, remaining=0, reset_seconds=left, retry_after_seconds=left
            )
        window[1] += 1
        return Hit(True, self.limit, self.limit - int(window[1]), left, 0)  # noqa: FBT003 -- half the price

    def headers(self, hit: Hit) -> list[tuple[bytes, bytes]]:
        """RateLimit and RateLimit-Policy as the IETF draft writes them, and Retry-After for a refusal; for raw ASGI."""
        lines = [
            (b"ratelimit", b"%b%d;t=%d" % (self._prefix, hit.remaining, hit.reset_seconds)),
            self._policy,
        ]
        if not hit.allowed:
            lines.append((b"retry-after", b"%d" % hit.retry_after_seconds))
        return lines

    def encoded(self, hit: Hit) -> bytes:
        """The header lines of an allowed hit as they go over the wire."""
        return b"ratelimit: %b%d;t=%d\r\n%b" % (
            self._prefix,
            hit.remaining,
            hit.reset_seconds,
            self._policy_line,
        )

    def __len__(self) -> int:
        return len(self._windows)

    def _open(self, key: str, now_seconds: float) -> Hit:
        """A new window goes to the end, so that the first key in the dictionary is the oldest."""
        windows = self._windows
        if windows.pop(key, None) is None and len(windows) >= self._max_keys:
            del windows[next(iter(windows))]
        windows[key] = [now_seconds, 1]
        return Hit(
            allowed=True,
            limit=self.limit,
            remaining=self.limit - 1,
            reset_seconds=self.window_seconds,
            retry_after_seconds=0,
        )


def address_key(address: str) -> str:
    """What an address is counted under: IPv4 as it is, IPv6 by its /64, because one household has all of that."""
    return address if ":" not in address else _network_of(address)


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _network_of(address: str) -> str:
    parsed = _parse(address)
    if parsed is None:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def client_address(peer: str, forwarded_for: Sequence[bytes], trusted: Networks) -> str:
    """Who really asks: the peer, or, behind trusted proxies, the last address none of them vouches for (F7, T33).

    `forwarded_for` are the values of X-Forwarded-For in the order received. They are read right to left, each entry
    only as long as the one who wrote it is trusted; what cannot be read ends the walk at its writer.
    """
    if not trusted or not forwarded_for or not _is_trusted(peer, trusted):
        return peer
    return _walk(peer, b",".join(forwarded_for).decode("latin-1"), trusted)


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _walk(peer: str, forwarded_for: str, trusted: Networks) -> str:
    current = peer
    for entry in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        parsed = _parse(_without_port(entry.strip()))
        if parsed is None:
            return current
        current = str(parsed)
        if not _is_trusted(current, trusted):
            return current
    return current


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _is_trusted(address: str, trusted: Networks) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """IPv4 written as IPv6 (::ffff:192.0.2.1) is IPv4."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if parsed.version == 6 else parsed
