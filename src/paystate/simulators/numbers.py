"""Ids of providers that count: whole numbers of 64 bits, larger than a double holds exactly."""

import hashlib
from itertools import count

from paystate.kit.clock import MILLISECOND, Instant

_IN_ONE_MILLISECOND = 1_000_000
_MOST_DIGITS = 19
_FIFTEEN_DIGITS = 1_000_000_000_000_000
_made = count()


def fresh_number(now: Instant) -> str:
    """A new one; they grow with time."""
    return str(now // MILLISECOND * _IN_ONE_MILLISECOND + next(_made) % _IN_ONE_MILLISECOND)


def number_of(object_id: str) -> int:
    """The number itself; of an id that somebody forced upon us, one that is always the same."""
    if object_id.isascii() and object_id.isdigit() and len(object_id) <= _MOST_DIGITS:
        return int(object_id)
    return int(hashlib.sha256(object_id.encode()).hexdigest(), 16) % _FIFTEEN_DIGITS
