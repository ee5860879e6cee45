"""One pending payment for a customer and bundle: who is refused, what they are told, and every way out of it."""

import asyncio
from urllib.parse import urlsplit

import pytest

from paystate.kit.clock import HOUR, MINUTE, SECOND

ANN = {"externalId": "ann"}
GOLD = {"customer": ANN, "bundleId": "gold", "planName": "Gold"}


async def _refused(town, **values):
    reply = await town.ask_for(**{**GOLD, **values})
    assert (reply.status, reply.code) == (409, "PENDING_SAME_BUNDLE"), reply.text
    return reply.json


def _path_of(action) -> str:
    url = urlsplit(action["url"])
    return f"{url.path}?{url.query}" if url.query else url.path


async def test_of_twenty_at_once_one_is_created(town) -> None:
    """C2: the others hear 409 with both ways out, all about the one that was."""
    replies = await asyncio.gather(*(town.ask_for(**GOLD) for _ in range(20)))
    [made] = [reply.json for reply in replies if reply.status == 201]
    refused = [reply for reply in replies if reply.status != 201]
    assert {(reply.status, reply.code) for reply in refused} == {(409, "PENDING_SAME_BUNDLE")}
    assert len(refused) == 19
    assert {reply.json["conflict"]["id"] for reply in refused} == {made["id"]}
    assert all(set(reply.json["actions"]) == {"complete", "cancel"} for reply in refused)
    assert len(await town.web.shop.rows("SELECT id FROM payments")) == 1
    await town.audit()


async def test_the_first_way_out_leads_to_the_existing_payment(town) -> None:
    first = await town.payment(**GOLD)
    said = await _refused(town)
    page = await town.web.get(_path_of(said["actions"]["complete"]), key=None)
    assert page.status == 200
    await town.check_out(first)
    await town.at_provider(first, "pay")
    await town.pass_time(5 * SECOND)
    assert await town.state(first) == "PAID"
    again = await town.payment(**GOLD)
    assert again["state"] == "OPEN"
    await town.audit()


async def test_the_second_way_out_ends_the_old_one_at_its_provider_and_starts_the_new_one(town) -> None:
    """C5: what was refused is kept; looking at the page acts on nothing, its button finishes it, twice is once."""
    old = await town.opened(amount=1000, **GOLD)
    said = await _refused(town, amount=2500, description="Gold, yearly")
    path = _path_of(said["actions"]["cancel"])
    asked = await town.web.get(path, key=None, headers={"Accept": "text/html"})
    assert (asked.status, "Cancel &amp; Start New" in asked.text) == (200, True)
    assert await town.state(old) == "OPEN"
    town.clock.advance(2 * SECOND)
    done = await town.press(path)
    assert done.status == 303, done.text
    code = done.headers["Location"].rpartition("/")[2]
    [checkout] = (await town.sandbox.objects())["checkouts"]
    assert (await town.state(old), checkout["status"]) == ("CANCELED", "closed")
    [new] = [p for p in (await town.web.get("/api/payments")).json["data"] if p["shortCode"] == code]
    assert (new["state"], new["amount"], new["description"], new["bundleId"]) == (
        "OPEN",
        2500,
        "Gold, yearly",
        "gold",
    )
    again = await town.press(path)
    assert again.headers["Location"] == done.headers["Location"]
    assert len((await town.web.get("/api/payments")).json["data"]) == 2
    await town.audit()


async def test_another_bundle_is_nobody_s_conflict(town) -> None:
    first = await town.payment(**GOLD)
    for bundle in ("silver", "bronze"):
        made = await town.ask_for(customer=ANN, bundleId=bundle)
        assert made.status == 201
        [warning] = made.json["warnings"]
        assert first["id"] in {one["id"] for one in warning["payments"]}
    someone_else = await town.ask_for(customer={"externalId": "bob"}, bundleId="gold")
    assert (someone_else.status, someone_else.json["warnings"]) == (201, [])
    free = await town.web.post(
        "/api/payments/can-proceed", {"customerId": first["customerId"], "bundleId": "iron"}
    )
    assert (free.json["canProceed"], free.json["recommendation"]) == (True, "proceed")


async def test_the_one_in_the_way_turns_out_paid(town) -> None:
    """C2: the provider is asked before anybody is refused; the answer says so, and offers nothing to cancel."""
    first = await town.opened(**GOLD)
    await town.at_provider(first, "pay")
    town.clock.advance(2 * SECOND)
    said = await _refused(town)
    assert (said["alreadyPaid"], said["conflict"]["id"], said["conflict"]["state"]) == (
        True,
        first["id"],
        "PAID",
    )
    assert "actions" not in said
    assert await town.state(first) == "PAID"
    await town.audit()


async def test_a_stale_one_in_the_way_that_was_paid_in_time_is_paid(town) -> None:
    """C1, X2: 31 minutes old and expired by nobody before its provider was asked."""
    first = await town.opened(**GOLD)
    await town.at_provider(first, "pay")
    town.clock.advance(31 * MINUTE)
    said = await _refused(town)
    assert said["alreadyPaid"] is True
    assert await town.path(first) == ["OPEN", "PAID"]
    assert len(await town.web.shop.rows("SELECT id FROM payments")) == 1
    await town.audit()


async def test_a_stale_one_at_a_silent_provider_is_refused_never_expired(town) -> None:
    """C2: no answer → 409; once it answers that nobody paid, the next create goes through."""
    first = await town.opened(**GOLD)
    await town.sandbox.fault("any", "outage")
    town.clock.advance(31 * MINUTE)
    said = await _refused(town)
    assert "alreadyPaid" not in said
    assert await town.state(first) == "OPEN"
    await town.sandbox.heal()
    await town.pass_time(15 * MINUTE)
    second = await town.payment(**GOLD)
    assert (await town.state(first), await town.state(second)) == ("EXPIRED", "OPEN")
    await town.audit()


async def test_the_existing_one_is_returned_or_replaced_in_one_step(town) -> None:
    """C5: `onConflict`; the replacement ends the old checkout at its provider before it starts."""
    first = await town.opened(**GOLD)
    town.clock.advance(2 * SECOND)
    same = await town.ask_for(**GOLD, onConflict="RETURN_EXISTING")
    assert (same.status, same.json["id"]) == (200, first["id"])
    town.clock.advance(2 * SECOND)
    fresh = await town.ask_for(**GOLD, onConflict="CANCEL_EXISTING")
    assert (fresh.status, fresh.json["state"]) == (201, "OPEN")
    [checkout] = (await town.sandbox.objects())["checkouts"]
    assert (await town.state(first), checkout["status"]) == ("CANCELED", "closed")
    await town.audit()


async def test_a_replacement_does_not_cancel_money(town) -> None:
    """C2, X2: asked to cancel the one in the way, which was just paid: it is paid, and nothing new is started."""
    first = await town.opened(**GOLD)
    await town.at_provider(first, "pay")
    town.clock.advance(2 * SECOND)
    said = await _refused(town, onConflict="CANCEL_EXISTING")
    assert said["alreadyPaid"] is True
    assert await town.state(first) == "PAID"
    assert len(await town.web.shop.rows("SELECT id FROM payments")) == 1


async def test_of_twenty_replacements_at_once_one_is_left(town) -> None:
    """C2: whoever wins, one is pending, and nothing is lost on the way."""
    await town.payment(**GOLD)
    replies = await asyncio.gather(*(town.ask_for(**GOLD, onConflict="CANCEL_EXISTING") for _ in range(20)))
    assert {reply.status for reply in replies} <= {201, 409}
    made = [reply.json["id"] for reply in replies if reply.status == 201]
    assert made
    assert len(set(made)) == len(made)
    states = [p["state"] for p in (await town.web.get("/api/payments?limit=100")).json["data"]]
    assert states.count("OPEN") == 1
    assert set(states) == {"OPEN", "CANCELED"}
    await town.audit()


async def test_a_cancel_closes_at_the_provider_first(town) -> None:
    """C5: paid there a moment ago, it is not cancelled here."""
    unpaid, paid = await town.opened(), await town.opened()
    await town.at_provider(paid, "pay")
    town.clock.advance(2 * SECOND)
    for payment, state in ((unpaid, "CANCELED"), (paid, "PAID")):
        reply = await town.web.post(f"/api/payments/{payment['id']}/cancel")
        assert (reply.status, reply.json["state"]) == (200, state)
    closed = [c["status"] for c in (await town.sandbox.objects())["checkouts"]]
    assert sorted(closed) == ["closed", "paid"]
    await town.audit()


@pytest.mark.parametrize(("minutes", "offer"), [(29, 303), (31, 409)])
async def test_an_offer_to_start_new_lasts_half_an_hour(town, minutes: int, offer: int) -> None:
    first = await town.payment(**GOLD, expiresIn=3 * 3600)
    said = await _refused(town)
    town.clock.advance(minutes * MINUTE)
    assert (await town.press(_path_of(said["actions"]["cancel"]))).status == offer
    assert await town.state(first) == ("CANCELED" if offer == 303 else "OPEN")


async def test_pending_payments_of_a_customer_who_is_unknown_or_has_none(town) -> None:
    """C3: an empty list for a stranger, minutes that never go below zero, and phones as people write them."""
    await town.web.payment(customer={"phone": "+27 82 123 4567"}, bundleId="gold")
    nobody = (await town.web.get("/api/payments/pending/%2B27820000000")).json
    assert (nobody["data"], nobody["summary"]) == ([], {"total": 0, "active": 0, "stale": 0})
    town.clock.advance(3 * HOUR)
    [row] = (await town.web.get("/api/payments/pending/%2B27821234567")).json["data"]
    assert (row["ageInMinutes"], row["timeRemaining"]) == (180, 0)
