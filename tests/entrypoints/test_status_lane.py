"""The status lane: the published fields, freshness, expiry on reading, its own limit, and who is counted."""

import asyncio

import pytest
from tests import a
from tests.entrypoints.running_web import serving

from paystate.kit.clock import HOUR, MINUTE, SECOND, monotonic

FIELDS = [
    "id",
    "shortCode",
    "currentStatus",
    "statusMessage",
    "lastEventType",
    "lastEventTimestamp",
    "paymentMethod",
    "validTransitions",
    "transactionInfo",
    "expiresAt",
    "isExpired",
    "updatedAt",
]


def path_of(name: str) -> str:
    return f"/api/payment-links/{name}/status"


async def until(web, name: str, status: str):
    """The lane reads the database's clock a few times a second: look until it has."""
    deadline = monotonic() + 10
    while True:
        reply = await web.get(path_of(name), key=None)
        if reply.json["currentStatus"] == status or monotonic() > deadline:
            return reply
        await asyncio.sleep(0.02)


async def test_exactly_the_published_fields(web, clock) -> None:
    """A2: before, during and after; amounts in major units, methods in capitals."""
    payment, attempt = await web.shop.opened(10_000, "EUR")
    for name in (payment.id, payment.short_code):
        reply = await web.get(path_of(name), key=None)
        assert (reply.status, list(reply.json)) == (200, FIELDS)
    shown = reply.json
    assert (shown["currentStatus"], shown["lastEventType"], shown["paymentMethod"]) == (
        "OPEN",
        "CHECKOUT_STARTED",
        "SANDBOX",
    )
    assert (shown["transactionInfo"], shown["isExpired"], shown["expiresAt"]) == (None, False, None)
    assert "PAID" in shown["validTransitions"]
    await web.shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await web.shop.look()
    paid = (await web.get(path_of(payment.short_code), key=None)).json
    assert (paid["currentStatus"], paid["lastEventType"], paid["validTransitions"]) == ("PAID", "PAID", [])
    info = paid["transactionInfo"]
    assert list(info) == ["transactionId", "paymentMethod", "timestamp", "amount", "currency"]
    assert (info["amount"], info["currency"], info["paymentMethod"]) == ("100.00", "EUR", "SANDBOX")


async def test_an_unchanged_status_is_304(web, clock) -> None:
    payment = await web.shop.payment()
    path = path_of(payment.short_code)
    first = await web.get(path, key=None)
    tag = first.headers["ETag"]
    assert tag.startswith("W/")
    again = await web.get(path, key=None, headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status, again.text) == (304, "")
    await web.post(f"/api/payments/{payment.id}/cancel")
    changed = await web.get(path, key=None, headers={"If-None-Match": tag})
    assert (changed.status, changed.json["currentStatus"]) == (200, "CANCELED")
    head = await web.call("HEAD", path, key=None)
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["Content-Length"]) == len((await web.get(path, key=None)).text)


async def test_reading_past_the_expiry_expires(web, clock) -> None:
    """A2: there and then, and the old ETag is no longer good although nobody wrote anything before."""
    payment = await web.shop.payment(expires_in=HOUR)
    tag = (await web.get(path_of(payment.short_code), key=None)).headers["ETag"]
    clock.advance(HOUR + SECOND)
    reply = await until(web, payment.short_code, "EXPIRED")
    assert (reply.json["isExpired"], reply.json["lastEventType"]) == (True, "EXPIRED")
    assert reply.headers["ETag"] != tag
    assert (await web.shop.now(payment)).state.value == "EXPIRED"


async def test_a_live_checkout_is_asked_about_before_it_expires(web, clock) -> None:
    """A2, X2: `isExpired` is true at once, the state follows the provider; the money that came in time counts."""
    payment, attempt = await web.shop.opened(expires_in=HOUR)
    await web.shop.sandbox.outcome(attempt, "pay")
    clock.advance(HOUR + SECOND)
    deadline = monotonic() + 10
    while not (reply := await web.get(path_of(payment.id), key=None)).json["isExpired"]:
        assert monotonic() < deadline
        await asyncio.sleep(0.02)
    assert reply.json["currentStatus"] == "OPEN"
    assert (await web.shop.attempts(payment))[0].next_check_at <= clock.now() + SECOND
    clock.advance(2 * SECOND)
    await web.shop.look()
    assert (await web.get(path_of(payment.id), key=None)).json["currentStatus"] == "PAID"


async def test_unknown_links_look_alike(web) -> None:
    """T25: a 404 of constant shape, whatever was asked for."""
    replies = [
        await web.get(path_of(name), key=None)
        for name in ("0" * 26, "pay_01h2xcejqtf2nbrexx3vqjhp41", "x", "%00" * 26)
    ]
    assert {(r.status, r.code, len(r.text)) for r in replies} == {(404, "not_found", len(replies[0].text))}


async def test_any_site_may_embed_it(web) -> None:
    """CORS for this address alone, without credentials."""
    payment = await web.shop.payment()
    path = path_of(payment.short_code)
    for reply in (
        await web.get(path, key=None),
        await web.get(path_of("0" * 26), key=None),
        await web.call("OPTIONS", path, key=None, headers={"Origin": "https://shop.example"}),
    ):
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in reply.headers
        assert "RateLimit" in reply.headers["Access-Control-Expose-Headers"]
    assert "If-None-Match" in reply.headers["Access-Control-Allow-Headers"]
    checkout = await web.post(f"/api/payment-links/{payment.short_code}/checkout", {}, key=None)
    assert "Access-Control-Allow-Origin" not in checkout.headers


@pytest.fixture
async def limited(database_url, tmp_path, clock):
    values = {"trusted_proxies": "127.0.0.0/8"}
    async with a.shop(database_url, tmp_path, clock, **values) as shop, serving(shop) as web:
        yield web


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_301st_poll_is_refused(limited) -> None:
    """A3, BI93, T33: 300 in 15 minutes by client address, apart from the API's bucket."""
    web = limited
    payment = await web.shop.payment()
    path = path_of(payment.short_code)
    who = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    for _ in range(300):
        reply = await web.get(path, key=None, headers=who)
        assert reply.status == 200
    assert reply.headers["RateLimit-Policy"] == '"polling";q=300;w=900'
    assert '"polling";r=0' in reply.headers["RateLimit"]
    refused = await web.get(path, key=None, headers={"X-Forwarded-For": "7.7.7.7, 203.0.113.9"})
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert '"polling";r=0' in refused.headers["RateLimit"]
    assert (await web.get(path, key=None, headers={"X-Forwarded-For": "203.0.113.10"})).status == 200
    assert (await web.get(f"/api/payments/{payment.id}", headers=who)).status == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_forwarded_address_is_believed_from_proxies_only(database_url, tmp_path, clock) -> None:
    """T33, F7: rotating X-Forwarded-For from an untrusted peer changes nothing."""
    async with (
        a.shop(database_url, tmp_path, clock, polling_rate_limit="5/900") as shop,
        serving(shop) as web,
    ):
        path = path_of((await shop.payment()).short_code)
        replies = [await web.get(path, key=None, headers={"X-Forwarded-For": f"6.6.6.{n}"}) for n in range(7)]
        assert [r.status for r in replies] == [200] * 5 + [429] * 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_guessing_links_is_stopped(database_url, tmp_path, clock) -> None:
    """T25, BI74: the lane and the links of the API count misses together."""
    async with (
        a.shop(database_url, tmp_path, clock, code_miss_rate_limit="6/900") as shop,
        serving(shop) as web,
    ):
        statuses = [(await web.get(path_of(f"{n:026d}"), key=None)).status for n in range(4)]
        statuses += [
            (await web.post(f"/api/payment-links/{n:026d}/checkout", {}, key=None)).status for n in range(4)
        ]
        assert statuses == [404] * 6 + [429] * 2


async def test_bundles_show_their_own_deadline(web, clock) -> None:
    """C1: a bundle without `expiresAt` is stale after 30 minutes, and says so."""
    made = await web.payment(customer={"externalId": "ann"}, bundleId="gold")
    shown = (await web.get(path_of(made["shortCode"]), key=None)).json
    assert shown["expiresAt"] == made["staleAt"] is not None
    clock.advance(31 * MINUTE)
    assert (await until(web, made["shortCode"], "EXPIRED")).json["isExpired"] is True
