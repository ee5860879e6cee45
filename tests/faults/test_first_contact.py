"""Webhooks that come before our own commit, calls that act and drop, floods: seen from outside, over real processes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.faults.customers import Customers
from tests.faults.processes import Installation, until

from paystate.kit.clock import monotonic

pytestmark = pytest.mark.timeout(240)
FLOOD = 2_000
FLOOD_AT_ONCE = 50
MIN_GAP_SECONDS = 1.0
MATCH_SECONDS = 20.0
"""Five seconds until it is tried again, and five between two looks; the rest is the machine's."""


async def test_what_comes_before_our_commit_is_matched_later(people: Customers) -> None:
    """T20, P9, P5: the provider speaks of a checkout whose id we do not have yet; or made one and hung up."""
    shop = people.shop
    for role in _roles(shop):
        shop.add(role)
    await asyncio.gather(
        *(p.start("attempt.after_call=sleep:1.5@1" if p in shop.webs else "") for p in shop.processes)
    )

    early = await people.create("early")
    going = asyncio.create_task(people.check_out(early))
    await until(
        lambda: shop.webs[0].fired(), 10, "the provider has made the checkout, we have not kept its id"
    )
    [made] = (await shop.sandbox.objects())["checkouts"]
    replies = [
        await people.webhook("evt_by_their_id", checkout=made["id"]),
        await people.webhook("evt_of_nobody", checkout="chk_of_nobody", reference="nobody"),
    ]
    assert not going.done()
    assert [(reply.status, reply.tries) for reply in replies] == [(200, 1), (200, 1)]
    assert _inbox(shop) == {"evt_by_their_id": "UNMATCHED", "evt_of_nobody": "UNMATCHED"}
    assert await going == made["id"]

    await _pays_before_the_answer(people)
    await _made_but_not_told(people)
    await until(
        lambda: _inbox(shop)["evt_by_their_id"] == "HANDLED", MATCH_SECONDS, "the early webhook is matched"
    )
    [matched] = shop.rows(
        "SELECT a.checkout_id, a.hint_no FROM provider_events e JOIN attempts a ON a.id = e.attempt_id "
        "WHERE e.provider_event_id = 'evt_by_their_id'"
    )
    assert matched["checkout_id"] == made["id"]
    assert matched["hint_no"] >= 1
    assert _inbox(shop)["evt_of_nobody"] == "UNMATCHED"
    await people.pay(made["id"])
    await people.reaches(early, "PAID")
    await _ends_well(people, 3)


async def test_a_flood_of_valid_webhooks_costs_one_call_a_second(people: Customers) -> None:
    """T19: each of 2,000 authentic webhooks is stored and hints; the provider is asked at most once per gap."""
    shop = people.shop
    for role in _roles(shop):
        shop.add(role)
    await shop.start_all()
    payment = await people.create("flooded")
    checkout = await people.check_out(payment)
    [attempt] = shop.rows("SELECT provider_reference FROM attempts")
    named = {"checkout": checkout, "reference": attempt["provider_reference"]}
    before, began = await _asked(shop), monotonic()
    free = asyncio.Semaphore(FLOOD_AT_ONCE)

    async def one(number: int) -> int:
        async with free:
            return (await people.webhook(f"evt_flood_{number}", **named)).status

    statuses = await asyncio.gather(*(one(number) for number in range(FLOOD)))
    asked, seconds = await _asked(shop) - before, monotonic() - began
    assert set(statuses) == {200}
    assert [row["n"] for row in shop.rows("SELECT count(*) AS n FROM provider_events")] == [FLOOD]
    assert 1 <= asked <= seconds / MIN_GAP_SECONDS + 1, (asked, seconds)
    assert (await people.look(payment))["state"] == "PENDING_VERIFICATION"
    await people.pay(checkout)
    await people.reaches(payment, "PAID")
    await _ends_well(people, 1)


async def _pays_before_the_answer(people: Customers) -> None:
    """The provider's own webhook says "paid" before its create call is answered."""
    shop = people.shop
    payment = await people.create("early-and-paid")
    await shop.sandbox.fault("webhook", "early", outcome="pay", times=1)
    await people.check_out(payment)
    await people.reaches(payment, "PAID")


async def _made_but_not_told(people: Customers) -> None:
    """The provider makes the checkout and hangs up: the stored start is sent again, with its key, and there is one."""
    shop = people.shop
    payment = await people.create("made-not-told")
    [planned] = [await shop.sandbox.fault("start", "act_then_drop", times=1)]
    checkout = await people.check_out(payment)
    faults: Mapping[str, Any] = {fault["id"]: fault for fault in (await shop.sandbox.objects())["faults"]}
    assert faults[planned["id"]]["hits"] == 1
    await people.pay(checkout)
    await people.reaches(payment, "PAID")


def _roles(shop: Installation) -> list[str]:
    return ["serve"] if shop.is_sqlite else ["web", "worker"]


def _inbox(shop: Installation) -> dict[str, str]:
    rows = shop.rows("SELECT provider_event_id, state FROM provider_events")
    return {row["provider_event_id"]: row["state"] for row in rows}


async def _asked(shop: Installation) -> int:
    return int((await shop.sandbox.objects())["calls"].get("ask", 0))


async def _ends_well(people: Customers, payments: int) -> None:
    """Each payment was paid through one checkout, and every invariant holds."""
    shop = people.shop
    await people.nothing_acknowledged_is_missing()
    await shop.stop_all()
    objects = await shop.sandbox.objects()
    references = [checkout["reference"] for checkout in objects["checkouts"]]
    assert len(references) == len(set(references)) == payments
    assert len(shop.rows("SELECT 1 FROM proofs")) == payments
    report = await shop.audit()
    assert (report.broken, report.sound) == ([], True), report.as_result()
