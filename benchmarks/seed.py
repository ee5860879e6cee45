"""Rows to measure on: a merchant with a sandbox connection, and as many open payments as a figure needs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paystate.domain import connections, merchants
from paystate.domain.connections import NewConnection, secrets_aad
from paystate.domain.payments.model import attempts, payment_moves, payments
from paystate.kit.clock import HOUR, MINUTE, SECOND
from paystate.kit.ids import MerchantId, System, new_id, new_short_code
from paystate.machinery.db import Database, Tx, bulk_insert, open_database
from paystate.machinery.secrets import KeyRing

WHO = System("rows for a benchmark")
CHUNK = 5_000
AMOUNT, CURRENCY = 2_500, "EUR"
SECRETS = {"secretKey": "sk_sandbox_paystate", "webhookSecret": "whsec_sandbox_paystate"}
ACCOUNT = "acct_sandbox"
ENTRY_FLAGS = ("late", "partial", "over", "duplicate", "resolved_by_hand", "disputed")
HIGHEST_RATE = 10_000
"""The largest budget a connection may have; far beyond what one provider 50 ms away can use up."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rows they are."""

    merchant_id: str
    connection_id: str


def reference_of(number: int) -> str:
    """Our reference of the attempt with this number; the stub works it out from the checkout's id alone."""
    return f"bench{number:015d}"


def checkout_of(number: int) -> str:
    return f"chk_{number:015d}"


def add_owner(tx: Tx, key: str, base_url: str, rate_per_second: int) -> Owner:
    """A merchant and its connection to a sandbox at this address."""
    merchant = merchants.create_merchant(tx, WHO, name="Tea House")
    connection_id, merchant_id = new_id("con", tx.now), MerchantId(merchant.id)
    sealed = KeyRing.parse(key).seal(
        json.dumps(SECRETS).encode(), aad=secrets_aad(connection_id, merchant_id)
    )
    new = NewConnection(
        id=connection_id,
        merchant_id=merchant_id,
        provider="sandbox",
        name="Sandbox",
        account=ACCOUNT,
        live=False,
        settings={"baseUrl": base_url},
        secrets=sealed,
        rate_per_second=rate_per_second,
    )
    connections.create_connection(tx, WHO, new)
    return Owner(merchant.id, connection_id)


def fill(
    url: str,
    key: str,
    count: int,
    *,
    start: int = 0,
    base_url: str = "http://127.0.0.1:9",
    due: bool = False,
    expired: bool = False,
) -> None:
    """Open payments, numbered from `start`: with an attempt that is `due` to be asked about, or `expired` without one."""
    database = open_database(url, statement_timeout_seconds=120)
    try:
        owner = database.write_sync(lambda tx: _owner(tx) or add_owner(tx, key, base_url, HIGHEST_RATE))
        for numbers in _chunks(start, start + count):
            _write(database, owner, numbers, due=due, expired=expired)
    finally:
        database.close()


def _owner(tx: Tx) -> Owner | None:
    found = tx.conn.exec_driver_sql("SELECT merchant_id, id FROM connections").first()
    return None if found is None else Owner(*found)


def _chunks(start: int, end: int) -> Iterator[Sequence[int]]:
    for first in range(start, end, CHUNK):
        yield range(first, min(first + CHUNK, end))


def _write(database: Database, owner: Owner, numbers: Sequence[int], *, due: bool, expired: bool) -> None:
    def write(tx: Tx) -> None:
        expires_at = tx.now - MINUTE if expired else tx.now + 24 * HOUR
        rows = [payment_row(owner, n, tx.now, expires_at) for n in numbers]
        bulk_insert(tx, payment_moves, [move_row(row, tx.id) for row in rows])
        bulk_insert(tx, payments, rows)
        if due:
            bulk_insert(
                tx,
                attempts,
                [attempt_row(owner, r["id"], n, tx.now) for n, r in zip(numbers, rows, strict=True)],
            )

    database.write_sync(write)


def payment_row(owner: Owner, number: int, now: int, expires_at: int) -> dict[str, Any]:
    """An OPEN payment link as the API makes it."""
    created = now - 10 * MINUTE
    row: dict[str, Any] = dict.fromkeys(c.name for c in payments.columns)
    return (
        row
        | dict.fromkeys(ENTRY_FLAGS, False)
        | {
            "id": new_id("pay", created),
            "merchant_id": owner.merchant_id,
            "short_code": new_short_code(),
            "state": "OPEN",
            "seq": 1,
            "version": 1,
            "amount": AMOUNT,
            "currency": CURRENCY,
            "description": "Two tickets for the evening show",
            "reference": f"order-{number}",
            "expires_at": expires_at,
            "due_at": expires_at,
            "opened_at": created,
            "late_policy": "review",
            "last_event_type": "CREATED",
            "last_event_at": created,
            "metadata": '{"cart":"4711"}',
            "created_at": created,
            "updated_at": created,
        }
    )


def move_row(payment: dict[str, Any], commit_id: str) -> dict[str, Any]:
    return {
        "payment_id": payment["id"],
        "seq": 1,
        "prev_seq": None,
        "from_state": None,
        "to_state": payment["state"],
        "merchant_id": payment["merchant_id"],
        "actor": "key:benchmark",
        "reason": "created",
        "attempt_id": None,
        "commit_id": commit_id,
        "at": payment["created_at"],
    }


def attempt_row(owner: Owner, payment_id: str, number: int, now: int) -> dict[str, Any]:
    """A LIVE checkout that is due to be asked about."""
    created = now - 5 * MINUTE
    row: dict[str, Any] = dict.fromkeys(c.name for c in attempts.columns)
    return row | {
        "id": new_id("att", created),
        "payment_id": payment_id,
        "merchant_id": owner.merchant_id,
        "connection_id": owner.connection_id,
        "provider": "sandbox",
        "state": "LIVE",
        "provider_reference": reference_of(number),
        "idempotency_key": f"key-{number}",
        "request": b'{"reference":"' + reference_of(number).encode() + b'"}',
        "request_hash": "0" * 64,
        "start_failures": 0,
        "start_until": created + 23 * HOUR,
        "checkout_id": checkout_of(number),
        "checkout": '{"kind":"redirect","url":"http://127.0.0.1/checkout"}',
        "close_wanted": False,
        "next_check_at": now - SECOND,
        "check_band": 0,
        "check_trigger": "poll",
        "claim_no": 1,
        "hint_no": 0,
        "last_asked_at": now - 4 * SECOND,
        "last_answer_at": now - 4 * SECOND,
        "last_outcome": "PENDING",
        "unpaid_answers": 1,
        "silent_count": 0,
        "unwritten": 0,
        "created_at": created,
    }
