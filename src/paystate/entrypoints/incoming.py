"""What the edge found out about a request before anybody reads it: its id, who sent it, over what."""

import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any

KEY = "paystate.incoming"
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(secrets.randbelow(1 << 20))


def new_request_id() -> str:
    """Unique over processes and cheap enough for the hot lane; says nothing about other requests."""
    return f"req_{_PROCESS}{next(_numbers):08x}"


@dataclass(slots=True)
class Incoming:
    """Facts of one request; each layer of the edge fills in its own."""

    request_id: str
    address: str = ""
    secure: bool = False
    rate_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """RateLimit lines of the bucket that counted this request."""


def incoming(scope: Any) -> Incoming:
    """The facts of this request; fresh ones when no edge stood in front (a test, an embedded app)."""
    found = scope.get(KEY)
    if not isinstance(found, Incoming):
        client = scope.get("client")
        found = scope[KEY] = Incoming(new_request_id(), client[0] if client else "127.0.0.1")
    return found


def header(scope: Any, name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def headers(scope: Any, name: bytes) -> list[bytes]:
    """Every value of a header, in the order received."""
    return [bytes(value) for key, value in scope["headers"] if key == name]
