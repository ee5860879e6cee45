"""The arithmetic of the hash chain: one entry after the other, one block after the other."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

GENESIS = "0" * 64
"""What the first block follows."""

ENTRY_COLUMNS = (
    "position",
    "id",
    "merchant_id",
    "actor",
    "action",
    "resource_id",
    "before",
    "after",
    "reason",
    "address",
    "request_id",
    "commit_id",
    "at",
)
"""What of an entry is sealed, in this order: everything."""

BLOCK_COLUMNS = ("id", "first_position", "last_position", "previous_hash", "closed_at")
"""What of a block is sealed besides its entries."""


def canonical(values: Sequence[Any]) -> bytes:
    """One row as bytes that two different rows never share: a JSON array of its columns."""
    return msgspec.json.encode(list(values))


def link(previous: str, row: bytes) -> str:
    """``h_i = SHA256(h_{i-1} || row)``, both as they are written down: hex, then JSON."""
    return hashlib.sha256(previous.encode() + row).hexdigest()


def seal(previous: str, entries: Iterable[Sequence[Any]], block: Sequence[Any]) -> str:
    """The hash of a block: its entries linked to the block before, and its own columns linked last."""
    last = previous
    for entry in entries:
        last = link(last, canonical(entry))
    return link(last, canonical(block))
