"""Pages of a list: opaque, signed cursors that belong to one list of one merchant."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from paystate.kit.errors import invalid

T = TypeVar("T")

MAX_LIMIT = 100
DEFAULT_LIMIT = 25
_MAC_BYTES = 12


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, newest first, and the position after which the next one starts (None: this was the last)."""

    rows: Sequence[T]
    next_position: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """At most `limit` rows after the row whose id is `after`."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None


def page_of(rows: Sequence[T], ids: Sequence[str], limit: int) -> Page[T]:
    """A page from `limit + 1` fetched rows: the extra one only proves that there is more."""
    more = len(rows) > limit
    return Page(rows[:limit], ids[limit - 1] if more else None)


def encode_cursor(position: str, *, scope: str, key: bytes) -> str:
    """A cursor that only this installation can have made, for this scope (list and merchant) only."""
    return base64.urlsafe_b64encode(_mac(position, scope, key) + position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *, scope: str, key: bytes) -> str:
    """The position inside a cursor. Raises Refused `invalid_cursor` for one that was altered or borrowed."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[_MAC_BYTES:].decode("ascii")
    except (binascii.Error, ValueError):
        raw, position = b"", ""
    if not raw or not hmac.compare_digest(raw[:_MAC_BYTES], _mac(position, scope, key)):
        raise invalid("/cursor", "invalid_cursor", "Use nextCursor of the previous page, unchanged.")
    return position


def _mac(position: str, scope: str, key: bytes) -> bytes:
    return hmac.new(key, f"{scope}\0{position}".encode(), hashlib.sha256).digest()[:_MAC_BYTES]
