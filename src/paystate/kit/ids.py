"""Identifiers: prefixed and time-ordered for rows, purely random for what strangers may see."""

import re
import secrets
from functools import lru_cache
from typing import NewType

from paystate.kit.clock import MILLISECOND, Instant

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_BITS = 48
_TIME_LENGTH, _RANDOM_LENGTH, _BODY_LENGTH = 10, 16, 26
# Every digit comes up for 8 of the 256 bytes, so random bytes become random digits, 5 bits each, in one step.
_DIGIT_OF_BYTE = bytes(ord(_CROCKFORD[byte & 31]) for byte in range(256))
_ID = re.compile(r"([a-z]{3})_[0-7][0-9a-hjkmnp-tv-z]{25}\Z")
_SHORT_CODE = re.compile(r"[0-9a-hjkmnp-tv-z]{26}\Z")

MerchantId = NewType("MerchantId", str)

REFERENCE_LENGTH = 20
"""16–25 characters of a–z0–9 fit every provider; 20 carry 103 random bits."""


class System:
    """Says why a piece of code reads across merchants. Only worker flows and the audit hold one."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        if not reason:
            raise ValueError("a reason is required")
        self.reason = reason

    def __repr__(self) -> str:
        return f"System({self.reason!r})"


Who = MerchantId | System
"""On whose behalf a store function reads or writes."""


def _crockford(value: int, length: int) -> str:
    digits = [""] * length
    for place in range(length - 1, -1, -1):
        digits[place] = _CROCKFORD[value & 31]
        value >>= 5
    return "".join(digits)


def new_id(prefix: str, now: Instant | int) -> str:
    """``pay_`` and 26 characters: 48 bits of milliseconds, then 80 fresh random bits (never neighbour + 1)."""
    digits = secrets.token_bytes(_RANDOM_LENGTH).translate(_DIGIT_OF_BYTE).decode("ascii")
    return f"{prefix}_{_time_digits(int(now) // MILLISECOND)}{digits}"


@lru_cache(maxsize=16)
def _time_digits(milliseconds: int) -> str:
    """The same for every id of a transaction, whose time stands still."""
    return _crockford(milliseconds & ((1 << _TIME_BITS) - 1), _TIME_LENGTH)


def is_id(prefix: str, text: str) -> bool:
    """Whether the text has the exact shape of an id of this kind; upper case is another id."""
    match = _ID.match(text)
    return match is not None and match.group(1) == prefix


def new_short_code() -> str:
    """128 random bits in 26 characters: the public name of a payment link (ASVS 11.5.1)."""
    return _crockford(secrets.randbits(128), _BODY_LENGTH)


def is_short_code(text: str) -> bool:
    """Whether the text has the shape of a short code."""
    return _SHORT_CODE.match(text) is not None


def new_provider_reference() -> str:
    """An attempt's own reference at its provider: 20 characters of a–z0–9, never reused."""
    return "".join(secrets.choice(_BASE36) for _ in range(REFERENCE_LENGTH))
