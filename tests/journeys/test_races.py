"""Twenty hints race on each of 200 payments: each is settled once, with one proof, one journal, one event per move."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest
from tests.faults.customers import Customers
from tests.faults.processes import Installation, installation, until

PAYMENTS = 200
AT_ONCE = 12
"""Payments whose hints are in flight together: about 240 requests."""

SENT_BY_PROVIDER = 5
ATTEMPTS = "SELECT checkout_id, provider_reference FROM attempts"
PATHS = (
    ("OPEN", "PAID"),
    ("OPEN", "PENDING_VERIFICATION", "PAID"),
)


@pytest.mark.timeout(300)
async def test_each_payment_is_settled_once_whoever_races(database_url: str, tmp_path) -> None:
    """On PostgreSQL over four processes, on SQLite over the API of its one."""
    names = ["serve"] if database_url.startswith("sqlite") else ["web", "web", "worker", "worker"]
    async with installation(database_url, tmp_path) as shop, Customers(shop) as people:
        for name in names:
            shop.add(name)
        await shop.start_all()
        opened = await in_turns([_open(people, number) for number in range(PAYMENTS)], 24)
        references = {row["checkout_id"]: row["provider_reference"] for row in shop.rows(ATTEMPTS)}
        await shop.sandbox.fault("webhook", "duplicate", count=SENT_BY_PROVIDER)
        statuses = await in_turns([_hints(people, *one, references[one[2]]) for one in opened], AT_ONCE)
        assert {status for answers in statuses for status in answers} <= {200, 202, 303}
        assert {len(answers) + SENT_BY_PROVIDER for answers in statuses} == {20}
        await until(lambda: _all_settled(shop), 30, "every payment is paid and every webhook handled")
        await people.nothing_acknowledged_is_missing()
        await shop.stop_all()
        _each_settled_once(shop)
        await _provider_agrees(shop)
        report = await shop.audit()
        assert (report.broken, report.stuck, report.sound) == ([], 0, True), report.as_result()


async def in_turns(work: list[Awaitable[Any]], at_once: int) -> list[Any]:
    """All of it, so many at a time."""
    free = asyncio.Semaphore(at_once)

    async def one(item: Awaitable[Any]) -> Any:
        async with free:
            return await item

    return await asyncio.gather(*(one(item) for item in work))


async def _open(people: Customers, number: int) -> tuple[int, Mapping[str, Any], str]:
    payment = await people.create(f"race-{number}", 1000 + number, web=number)
    return number, payment, await people.check_out(payment, web=number + 1)


async def _hints(
    people: Customers, number: int, payment: Mapping[str, Any], checkout: str, reference: str
) -> list[int]:
    """The money moves, and everybody says so at once: the provider five times, the others fifteen times."""
    named = {"checkout": checkout, "reference": reference}
    event = f"evt_race_{number}"
    hints = [
        *(people.webhook(event, web=n, **named) for n in range(3)),
        *(people.webhook(f"{event}_{n}", web=n, **named) for n in range(2)),
        *(people.come_back(payment, web=n) for n in range(3)),
        people.come_back(payment, "?status=paid&success=true"),
        people.come_back(payment, "?from=cancel", web=1),
        *(people.verify(payment, web=n) for n in range(3)),
        *(people.ask("GET", f"/api/payment-links/{payment['shortCode']}/status", web=n) for n in range(2)),
    ]
    random.Random(number).shuffle(hints)
    early, late = hints[: number % 5], hints[number % 5 :]
    before = await asyncio.gather(*early)
    _, *after = await asyncio.gather(people.pay(checkout), *late)
    return [reply.status for reply in (*before, *after)]


def _all_settled(shop: Installation) -> bool:
    open_now = shop.rows("SELECT 1 FROM payments WHERE state <> 'PAID'")
    unhandled = shop.rows("SELECT 1 FROM provider_events WHERE state <> 'HANDLED'")
    unasked = shop.rows("SELECT 1 FROM attempts WHERE state <> 'SUCCEEDED' OR lease_until IS NOT NULL")
    return not open_now and not unhandled and not unasked


def _each_settled_once(shop: Installation) -> None:
    ids = {row["id"] for row in shop.rows("SELECT id FROM payments")}
    assert len(ids) == PAYMENTS
    once = Counter(dict.fromkeys(ids, 1))
    assert Counter(row["payment_id"] for row in shop.rows("SELECT payment_id FROM proofs")) == once
    assert Counter(row["payment_id"] for row in shop.rows("SELECT payment_id FROM receipts")) == once
    captured = [
        row["key"] for row in shop.rows("SELECT \"key\" FROM journals WHERE kind = 'payment_captured'")
    ]
    assert Counter(key.split(":")[1] for key in captured) == once
    moves = shop.rows("SELECT payment_id, seq, to_state FROM payment_moves ORDER BY payment_id, seq")
    events = shop.rows("SELECT resource_id, version FROM events")
    assert Counter((m["payment_id"], m["seq"]) for m in moves) == Counter(
        (e["resource_id"], e["version"]) for e in events
    )
    for payment_id in ids:
        mine = [m for m in moves if m["payment_id"] == payment_id]
        assert [m["seq"] for m in mine] == list(range(1, len(mine) + 1))
        assert tuple(m["to_state"] for m in mine) in PATHS
    [clearing] = shop.rows("SELECT balance FROM ledger_accounts WHERE code = '1100'")
    fees = sum(row["balance"] for row in shop.rows("SELECT balance FROM ledger_accounts WHERE code = '5100'"))
    assert clearing["balance"] + fees == sum(1000 + number for number in range(PAYMENTS))
    webhooks = shop.rows("SELECT deliveries FROM provider_events")
    # Three events of each payment: the provider's own, sent five times, and two of ours, one of them three times.
    assert Counter(row["deliveries"] for row in webhooks) == {5: PAYMENTS, 3: PAYMENTS, 1: 2 * PAYMENTS}


async def _provider_agrees(shop: Installation) -> None:
    """O1: one checkout for each attempt, one transaction for each payment."""
    objects = await shop.sandbox.objects()
    references = Counter(checkout["reference"] for checkout in objects["checkouts"])
    assert references == Counter(row["provider_reference"] for row in shop.rows(ATTEMPTS))
    assert len(objects["transactions"]) == PAYMENTS
