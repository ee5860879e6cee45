"""What a merchant and its API keys may look like, decided on plain values."""

import ipaddress
from collections.abc import Sequence
from enum import StrEnum

import phonenumbers

from paystate.kit.clock import MINUTE, Instant
from paystate.kit.errors import Refused, invalid
from paystate.kit.text import clean_text

MAX_NAME_LENGTH = 100
MAX_ADDRESSES = 50
DEFAULT_STALE_AFTER = 30 * MINUTE
"""C1: a bundle payment is stale half an hour after opening."""

TOUCH_GAP = MINUTE
"""`last_used_at` of a key is written at most once in this time."""

SCOPES = (
    "payments:read",
    "payments:write",
    "refunds:write",
    "escrow:release",
    "payouts:write",
    "webhooks:manage",
    "ledger:read",
    "jobs",
    "admin",
)
"""Everything a key may be allowed to do; none contains another."""


class LatePolicy(StrEnum):
    """What happens to money that arrives for an expired or cancelled payment."""

    ACCEPT = "accept"
    REVIEW = "review"
    REFUND = "refund"


def clean_name(name: str) -> str:
    """The name of a merchant or a key as it is stored. Raises Refused."""
    return clean_text(name, pointer="/name", max_length=MAX_NAME_LENGTH, min_length=1)


def parse_scopes(values: Sequence[str], *, pointer: str = "/scopes") -> tuple[str, ...]:
    """The scopes in their published order, each once. Raises Refused `invalid_scope` for an unknown one or none."""
    chosen = set(values)
    if not chosen or not chosen <= set(SCOPES):
        raise invalid(pointer, "invalid_scope", f"One or more of these are expected: {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in chosen)


def parse_region(region: str | None) -> str | None:
    """The region in which national phone numbers are read, such as ``ZA``. Raises Refused `invalid_region`."""
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise invalid(
            "/defaultRegion", "invalid_region", "An ISO 3166 code of two capital letters is expected."
        )
    return region


def parse_addresses(values: Sequence[str], *, pointer: str = "/addresses") -> tuple[str, ...]:
    """Addresses and networks in their normal form. Raises Refused `invalid_address` or `too_many`."""
    if len(values) > MAX_ADDRESSES:
        raise invalid(pointer, "too_many", f"At most {MAX_ADDRESSES} addresses are allowed.")
    return tuple(_network(value, pointer) for value in values)


def address_allowed(allowed: Sequence[str], address: str) -> bool:
    """Whether a key may be used from this address; an empty list allows every one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return not allowed
    seen = getattr(parsed, "ipv4_mapped", None) or parsed
    return not allowed or any(seen in ipaddress.ip_network(network) for network in allowed)


def touch_due(last_used_at: Instant | None, now: Instant) -> bool:
    """Whether the use of a key is worth a write."""
    return last_used_at is None or now - last_used_at >= TOUCH_GAP


def _network(value: str, pointer: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise _bad_address(pointer) from None


def _bad_address(pointer: str) -> Refused:
    return invalid(pointer, "invalid_address", "An IP address or a network such as 192.0.2.0/24 is expected.")
