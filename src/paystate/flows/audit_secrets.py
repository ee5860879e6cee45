"""The invariant of secrets: no text that people or programs may read holds a credential."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from paystate.domain.connections import secrets_aad
from paystate.flows.audit_check import ROWS_SHOWN, Checked, Finding
from paystate.kit.clock import monotonic
from paystate.machinery.db import Tx
from paystate.machinery.secrets import KeyRing, SealBroken

NUMBER, NAME = 22, "No secret in logs, events, outbox or error bodies"

READABLE = (
    ("events", "id", "data"),
    ("payment_moves", "payment_id", "reason"),
    ("verifications", "id", "detail"),
    ("receipts", "id", "reason"),
    ("refunds", "id", "reason"),
    ("cases", "id", "reason"),
    ("cases", "id", "evidence"),
    ("cases", "id", "resolution_reason"),
    ("connections", "id", "state_reason"),
    ("connections", "id", "settings"),
    ("connection_breakers", "connection_id", "reason"),
    ("alerts", "id", "title"),
    ("alerts", "id", "detail"),
    ("alerts", "id", "ended_reason"),
    ("alert_deliveries", "id", "address"),
    ("alert_deliveries", "id", "last_error"),
    ("provider_events", "id", "named"),
    ("payment_intents", "conflict_id", "body"),
    ("idempotency_keys", "route", "body"),
    ("audit_log", "id", "before"),
    ("audit_log", "id", "after"),
    ("audit_log", "id", "reason"),
    ("journals", "id", "description"),
    ("journals", "id", "tags"),
    ("job_runs", "id", "error"),
    ("job_runs", "id", "result"),
)
"""(table, its id, column) of every text that is written from what others said or answered to somebody."""

CREDENTIAL = re.compile(
    r"(?<![A-Za-z0-9])(?:psk_[A-Za-z0-9_-]{20,}|(?:(?:sk|rk|whsec)_|FLWSECK[_-])[A-Za-z0-9_-]{12,})"
    r"|\b[Bb]earer [A-Za-z0-9._~+/=-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_MARKS = ("sk_", "rk_", "whsec_", "FLWSECK", "earer ", "PRIVATE KEY-")
"""One of these is in every text that CREDENTIAL matches; they are quick to look for."""

SHORTEST_SECRET = 8
"""A shorter value of a connection, such as a region, would be found in innocent texts."""

_FRAGMENT = 6
_FRAGMENTS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Known:
    """The connections' own secrets, and the connections whose secrets no key on the ring opens."""

    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    unopened: Sequence[str] = ()


def known_secrets(tx: Tx, keys: KeyRing | None) -> Known:
    """Every secret value of every connection in the clear; without keys none."""
    if keys is None:
        return Known()
    opened: set[str] = set()
    unopened: list[str] = []
    for row in tx.rows(sa.text("SELECT id, merchant_id, secrets FROM connections ORDER BY id")):
        try:
            values = json.loads(keys.open(row.secrets, aad=secrets_aad(row.id, row.merchant_id)))
        except SealBroken:
            unopened.append(row.id)
        else:
            opened |= {str(v) for v in values.values() if len(str(v)) >= SHORTEST_SECRET}
    return Known(frozenset(opened), tuple(unopened))


def check_secrets(tx: Tx, known: Known) -> Checked:
    """Look through every readable text; what is found is named by its place and never shown."""
    started = monotonic()
    found: set[tuple[str, str]] = set()
    for marks in _batches(known):
        for table, key, column in READABLE:
            found |= {
                (str(row.subject), f"{table}.{column} shows a credential")
                for row in _candidates(tx, table, key, column, marks)
                if _shows(row.value, known)
            }
    rows = tuple(Finding(*pair) for pair in sorted(found)[:ROWS_SHOWN])
    return Checked(NUMBER, NAME, len(found), rows, monotonic() - started)


def _batches(known: Known) -> Iterator[Sequence[str]]:
    """What to look for first: the marks of all credentials, and the beginnings of our own secrets.

    Beginnings only, since a database may log what it is asked; the whole secret is compared here.
    """
    beginnings = {secret[:_FRAGMENT] for secret in known.secrets}
    own = sorted(text for text in beginnings if not any(mark in text for mark in _MARKS))
    words = [*_MARKS, *own]
    for first in range(0, len(words), _FRAGMENTS_AT_ONCE):
        yield words[first : first + _FRAGMENTS_AT_ONCE]


def _candidates(tx: Tx, table: str, key: str, column: str, marks: Sequence[str]) -> Sequence[Any]:
    place = "instr" if tx.on_sqlite else "strpos"
    values = {f"mark{n}": mark for n, mark in enumerate(marks)}
    within = " OR ".join(f'{place}("{column}", :{name}) > 0' for name in values)
    return tx.rows(
        sa.text(f'SELECT {key} AS subject, "{column}" AS value FROM {table} WHERE {within}'), values
    )


def _shows(text: str, known: Known) -> bool:
    return CREDENTIAL.search(text) is not None or any(secret in text for secret in known.secrets)
