"""The corpus of bad input (docs/reference/bad-input.md): always a problem document, never a 5xx, and the input is never echoed."""

import asyncio
import json
from typing import Any

import pytest
from tests.entrypoints.running_web import WHO, add_key

from paystate.domain.merchants import create_merchant
from paystate.kit.clock import DAY, SECOND, rfc3339

CANARY = "zq9canary"
OK = {"amount": 1000, "currency": "EUR"}


def body(**values: Any) -> dict[str, Any]:
    return {**OK, "customer": {"externalId": "ann"}, "returnUrl": "https://shop.example/back", **values}


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "BI17 proto": (body(__proto__=CANARY), "unknown_field"),
    "BI17 status": (body(status="PAID"), "unknown_field"),
    "BI17 merchantId": (body(merchantId="mer_" + CANARY), "unknown_field"),
    "BI17 paidAt": (body(paidAt=CANARY), "unknown_field"),
    "BI17 fee": (body(fee=1), "unknown_field"),
    "BI17 snake case": (body(return_url="https://shop.example"), "unknown_field"),
    "BI17 nested": (body(customer={"externalId": "ann", "id": CANARY}), "unknown_field"),
    "BI18 zero": (body(amount=0), "amount_out_of_range"),
    "BI18 negative": (body(amount=-1), "amount_out_of_range"),
    "BI19 float": (body(amount=12.0), "invalid_type"),
    "BI19 fraction": (body(amount=12.5), "invalid_type"),
    "BI19 text": (body(amount="1000"), "invalid_type"),
    "BI19 true": (body(amount=True), "invalid_type"),
    "BI19 null": (body(amount=None), "invalid_type"),
    "BI20 10^15+1": (body(amount=10**15 + 1), "amount_out_of_range"),
    "BI20 2^53+1": (body(amount=2**53 + 1), "amount_out_of_range"),
    "BI20 2^63": (body(amount=2**63), "amount_out_of_range"),
    "BI20 2^64": (body(amount=2**64), "amount_out_of_range"),
    "BI25 empty": (body(reference=""), "invalid_length"),
    "BI25 256": (body(reference="x" * 256), "invalid_length"),
    "BI25 spaces": (body(reference="   "), "invalid_characters"),
    "BI25 outer spaces": (body(reference=" x "), "invalid_characters"),
    "BI31 long": (body(description="x" * 10_001), "too_long"),
    "BI32 51 keys": (body(metadata={f"k{n}": "v" for n in range(51)}), "invalid_metadata"),
    "BI32 long key": (body(metadata={"k" * 41: "v"}), "invalid_metadata"),
    "BI32 long value": (body(metadata={"k": "v" * 501}), "invalid_metadata"),
    "BI32 nested": (body(metadata={"k": {"a": CANARY}}), "invalid_metadata"),
    "BI32 number": (body(metadata={"k": 1}), "invalid_metadata"),
    "BI32 17 KB": (body(metadata={f"key{n}": "ü" * 500 for n in range(17)}), "invalid_metadata"),
    "BI32 list": (body(metadata=[]), "invalid_metadata"),
    "BI33 description": (body(description="card 4111 1111 1111 1111"), "card_data_forbidden"),
    "BI33 reference": (body(reference="4111111111111111"), "card_data_forbidden"),
    "BI33 metadata": (body(metadata={"note": "4111-1111-1111-1111"}), "card_data_forbidden"),
    "BI33 name": (body(customer={"name": "4111111111111111"}), "card_data_forbidden"),
    "BI35 both": (body(expiresIn=60, expiresAt="2026-12-01T00:00:00Z"), "invalid_expiry"),
    "BI35 expiresIn 0": (body(expiresIn=0), "invalid_expiry"),
    "BI35 expiresIn 10^9": (body(expiresIn=10**9), "invalid_expiry"),
    "BI35 number": (body(expiresAt=1_900_000_000), "invalid_expiry"),
    "BI91 +12": (body(customer={"phone": "+12"}), "invalid_phone"),
    "BI91 letters": (body(customer={"phone": "call me"}), "invalid_phone"),
    "BI91 17 digits": (body(customer={"phone": "+12345678901234567"}), "invalid_phone"),
    "BI91 national without region": (body(customer={"phone": "0821234567"}), "invalid_phone"),
    "required": ({"currency": "EUR"}, "required"),
    "wrong type": (body(customer="ann"), "not_an_object"),
    "customer twice": (body(customerId="cus_01h2xcejqtf2nbrexx3vqjhp41"), "invalid_combination"),
    "late policy": (body(latePolicy="accept"), "invalid_value"),
    "draft as text": (body(draft="yes"), "invalid_type"),
    "providers twice": (body(providers=["sandbox", "sandbox"]), "invalid_value"),
}
for currency in ("eur", "EU", "EURO", "XXX", "ZZZ", "ЕUR", "EUR ", ""):
    FIELDS[f"BI21 {currency!r}"] = (body(currency=currency), "unsupported_currency")
for character in "\r\n\t\0\ud800\u202e\u200b\ufeff":
    FIELDS[f"BI26 {ord(character):04x}"] = (body(reference=f"a{character}b"), "invalid_characters")
for email in ("a@b", "a@b.c\nBcc:x", "a" * 400 + "@b.example", "a@b.example, c@d.example", '"a b"@c.example'):
    FIELDS[f"BI29 {email[:20]!r}"] = (body(customer={"email": email}), "invalid_email")
for url in (
    "javascript:alert(1)",
    "data:text/html,x",
    "//evil.example",
    "https:\\\\evil.example",
    "https:evil.example",
    "https://ok.example@evil.example",
    "http://shop.example",
    "https://shop.example/\r\nX: y",
    "https://shop.example/" + "a" * 2049,
    "https://user:pw@shop.example/",
    "https://shop.example/#fragment",
    "https://shop.example:0/",
    "https://shop.example:99999/",
    "https://shоp.example/",
    "",
):
    FIELDS[f"BI34 {url[:24]!r}"] = (body(returnUrl=url), "url_not_allowed")
for moment in (
    "2020-01-01T00:00:00Z",
    "2031-01-01T00:00:00Z",
    "2026-12-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-12-01T24:00:00Z",
    "1970-01-01T00:00:00Z",
    "2026-12-01T00:00:00+25:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2027-03-28T02:30:00[Europe/Berlin]",
    "tomorrow",
):
    FIELDS[f"BI35 {moment!r}"] = (body(expiresAt=moment), "invalid_expiry")


async def test_fields_are_refused_by_a_stable_code(web) -> None:
    for case, (sent, code) in FIELDS.items():
        reply = await web.call("POST", "/api/payments", raw=json.dumps(sent).encode())
        assert (reply.status, reply.code) == (422, f"validation_failed:{code}"), (case, reply.text)
        assert CANARY not in reply.text, case
        assert all(
            error["pointer"] != "" or code in ("unknown_field", "invalid_combination", "invalid_expiry")
            for error in reply.json["errors"]
        ), (case, reply.text)
    assert await web.shop.rows("SELECT id FROM payments") == []
    assert await web.shop.rows("SELECT id FROM customers") == []


RAW: dict[str, tuple[bytes, int, str]] = {
    "BI8 null": (b"null", 422, "validation_failed:not_an_object"),
    "BI8 list": (b"[]", 422, "validation_failed:not_an_object"),
    "BI8 text": (b'"x"', 422, "validation_failed:not_an_object"),
    "BI8 number": (b"1", 422, "validation_failed:not_an_object"),
    "BI8 empty": (b"", 400, "malformed_json"),
    "BI9 truncated": (b'{"amount": 1', 400, "malformed_json"),
    "BI9 trailing comma": (b'{"amount": 1,}', 400, "malformed_json"),
    "BI9 comment": (b'{"amount": 1 /* zq9canary */}', 400, "malformed_json"),
    "BI9 single quotes": (b"{'amount': 1}", 400, "malformed_json"),
    "BI10 UTF-16": (json.dumps(OK).encode("utf-16"), 400, "malformed_json"),
    "BI10 BOM": (b"\xef\xbb\xbf" + json.dumps(OK).encode(), 400, "malformed_json"),
    "BI10 Latin-1": (b'{"description": "\xff"}', 400, "malformed_json"),
    "BI10 overlong": (b'{"description": "\xc0\xaf"}', 400, "malformed_json"),
    "BI13 65,537 bytes": (b" " * 65_537, 413, "payload_too_large"),
    "BI15 deep": (b"[" * 30_000 + b"]" * 30_000, 400, "malformed_json"),
    "BI15 deep in a field": (b'{"metadata":' + b"[" * 200 + b"]" * 200 + b"}", 400, "malformed_json"),
    "BI15 many keys": (
        b"{" + b",".join(b'"%d":1' % n for n in range(6_000)) + b"}",
        400,
        "malformed_json",
    ),
    "BI15 5,000 digits": (b'{"amount": ' + b"9" * 5_000 + b"}", 400, "malformed_json"),
    "BI16 key twice": (b'{"amount": 1, "amount": 2, "currency": "EUR"}', 400, "malformed_json"),
    "BI18 minus zero": (b'{"amount": -0, "currency": "EUR"}', 422, "validation_failed:amount_out_of_range"),
    "BI19 exponent": (b'{"amount": 1e3, "currency": "EUR"}', 422, "validation_failed:invalid_type"),
    "BI19 NaN": (b'{"amount": NaN, "currency": "EUR"}', 400, "malformed_json"),
    "BI19 Infinity": (b'{"amount": Infinity, "currency": "EUR"}', 400, "malformed_json"),
    "BI17 surrogate as name": (
        b'{"\\ud800": 1, "amount": 1, "currency": "EUR"}',
        422,
        "validation_failed:invalid_characters",
    ),
}


@pytest.mark.parametrize("case", RAW)
async def test_bodies_that_are_no_json_of_ours(web, case: str) -> None:
    raw, status, code = RAW[case]
    reply = await web.post("/api/payments", raw=raw)
    assert (reply.status, reply.code) == (status, code)
    assert CANARY not in reply.text


MEDIA = {
    "text": [("Content-Type", "text/plain")],
    "none": [("Content-Type", "(none)")],
    "xml": [("Content-Type", "application/xml")],
    "multipart": [("Content-Type", "multipart/form-data; boundary=x")],
    "latin-1": [("Content-Type", "application/json; charset=latin-1")],
    "twice": [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    "gzip": [("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
}


@pytest.mark.parametrize("case", MEDIA)
async def test_other_media_types_are_refused(web, case: str) -> None:
    """BI11, BI12."""
    reply = await web.post("/api/payments", raw=json.dumps(OK).encode(), headers=MEDIA[case])
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


CREDENTIALS = {
    "none": [],
    "empty": [("Authorization", "")],
    "basic": [("Authorization", "Basic eDp5")],
    "bare": [("Authorization", "Bearer")],
    "wrong": [("Authorization", "Bearer psk_" + "x" * 43)],
    "non-ASCII": [("Authorization", "Bearer psk_\u00fc\u00fc")],
    "10 KB": [("Authorization", "Bearer psk_" + "x" * 8_000)],
    "twice": [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
}


@pytest.mark.parametrize("case", CREDENTIALS)
async def test_credentials_that_are_none(web, case: str) -> None:
    """BI1, BI2; and before the body is looked at: the order of refusal."""
    reply = await web.post("/api/payments", raw=b"not json", key=None, headers=CREDENTIALS[case])
    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


async def test_revoked_expired_and_foreign_keys(web, clock) -> None:
    """BI3: all alike. The key of another address is known, and may not come from here."""
    expiring = await add_key(web.shop, web.shop.id, ["payments:read"], expires_at=clock.now() + SECOND)
    assert (await web.get("/api/payments", key=await web.new_key(["payments:read"]))).status == 200
    made = await web.post("/api/api-keys", {"name": "k", "scopes": ["payments:read"]})
    assert (await web.get("/api/payments", key=made.json["key"])).status == 200
    assert (await web.post(f"/api/api-keys/{made.json['id']}/revoke")).status == 200
    clock.advance(2 * SECOND)
    bodies = []
    for key in (made.json["key"], expiring, "psk_" + "a" * 43):
        reply = await web.get("/api/payments", key=key)
        assert (reply.status, reply.code) == (401, "unauthenticated")
        bodies.append({n: v for n, v in reply.json.items() if n != "requestId"})
    assert bodies[0] == bodies[1] == bodies[2]
    elsewhere = await add_key(web.shop, web.shop.id, ["payments:read"], addresses=["192.0.2.0/24"])
    assert (await web.get("/api/payments", key=elsewhere)).code == "address_not_allowed"


async def test_a_reading_key_does_not_write(web) -> None:
    """BI4, T39; refused before its body is read."""
    key = await web.new_key(["payments:read"])
    reply = await web.post("/api/payments", raw=b"not json", key=key)
    assert (reply.status, reply.code) == (403, "insufficient_scope")
    assert (
        await web.post("/api/api-keys", {"name": "x", "scopes": ["jobs"]}, key=await web.new_key(["admin"]))
    ).status == 403


async def test_a_key_in_the_query_is_no_key(web) -> None:
    """BI7."""
    reply = await web.get(f"/api/payments?api_key={web.key}", key=None)
    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert web.key not in reply.text


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1000000000",
        "limit=abc",
        "limit=1_0",
        "limit=1&limit=2",
        "limit=",
        "state=foo",
        "state=open",
        "sort=;drop",
        "createdFrom=yesterday",
        "createdFrom=2026-01-02T00:00:00Z&createdTo=2026-01-01T00:00:00Z",
        "reference=%00",
        "customerId=%ED%A0%80%00",
    ],
)
async def test_queries_that_mean_nothing(web, query: str) -> None:
    """BI49, BI51."""
    reply = await web.get(f"/api/payments?{query}")
    assert (reply.status, reply.code) == (422, "validation_failed:invalid_query")


async def test_texts_of_a_search_are_taken_literally(web) -> None:
    """BI52."""
    made = await web.payment(reference="100%_a\\b")
    for query, found in (("%25", 0), ("_", 0), ("100%25_a%5Cb", 1)):
        listed = await web.get(f"/api/payments?reference={query}")
        assert (listed.status, len(listed.json["data"])) == (200, found)
    assert listed.json["data"][0]["id"] == made["id"]
    assert (await web.get("/api/payments?reference=" + "x" * 10_000)).code == "validation_failed:too_long"


async def test_cursors_belong_to_their_list_and_merchant(web) -> None:
    """BI50."""
    for _ in range(3):
        await web.payment()
    first = await web.get("/api/payments?limit=2")
    assert first.json["hasMore"] is True
    cursor = first.json["nextCursor"]
    second = await web.get(f"/api/payments?limit=2&cursor={cursor}")
    assert (len(second.json["data"]), second.json["hasMore"], second.json["nextCursor"]) == (1, False, None)
    altered = ("B" if cursor.startswith("A") else "A") + cursor[1:]
    _, other = await web.other_merchant()
    for bad, key in ((cursor[:-2], "own"), (altered, "own"), ("%00", "own"), (cursor, other)):
        reply = await web.get(f"/api/payments?cursor={bad}", key=key)
        assert (reply.status, reply.code) == (422, "validation_failed:invalid_cursor")
    assert (await web.get(f"/api/customers?cursor={cursor}")).code == "validation_failed:invalid_cursor"


@pytest.mark.parametrize(
    "name",
    [
        "1",
        "-1",
        "%2e%2e%2fx",
        "%00",
        "x" * 10_000,
        "att_01h2xcejqtf2nbrexx3vqjhp41",
        "PAY_01H2XCEJQTF2NBREXX3VQJHP41",
        "pay_01h2xcejqtf2nbrexx3vqjhp41",
    ],
)
async def test_ids_of_nothing(web, name: str) -> None:
    """BI48: whatever the shape, the same 404."""
    for method, path in (
        ("GET", f"/api/payments/{name}"),
        ("POST", f"/api/payments/{name}/cancel"),
        ("GET", f"/api/payments/{name}/timeline"),
        ("GET", f"/api/customers/{name}"),
        ("GET", f"/api/connections/{name}"),
        ("GET", f"/api/cases/{name}"),
        ("GET", f"/api/provider-events/{name}"),
        ("GET", f"/api/payment-links/{name}/status"),
        ("POST", f"/api/payment-links/{name}/checkout"),
        ("GET", f"/api/payment-links/{name}/qr.svg"),
    ):
        reply = await web.call(method, path)
        assert (reply.status, reply.code) == (404, "not_found"), (method, path[:60])


async def test_good_input_that_looks_bad(web) -> None:
    """BI20, BI23, BI29, BI30, BI31: stored literally, shown as sent."""
    texts = ["<script>alert(1)</script>", "{{7*7}}", "${7*7}", "=cmd", "%n%s", "'; DROP TABLE payments; --"]
    for text in [*texts, "🍵" * 100, "مرحبا", "two\nlines"]:
        made = await web.payment(description=text)
        assert made["description"] == text
    for text in texts:
        assert (await web.post("/api/customers", {"name": text})).json["name"] == text
    assert (await web.payment(amount=2**31))["amount"] == 2**31
    assert (await web.payment(amount=1005, currency="KWD"))["amountDisplay"].endswith("1.005")
    named = await web.post("/api/customers", {"email": "ann@exämple.example"})
    assert named.json["email"] == "ann@xn--exmple-cua.example"


async def test_the_same_reference_twice(web) -> None:
    """BI27, BI28: NFC and NFD are the same text."""
    first = await web.payment(reference="caf\u00e9")
    for text in ("caf\u00e9", "cafe\u0301"):
        again = await web.post("/api/payments", body(reference=text))
        assert (again.status, again.code) == (409, "duplicate_reference")
        assert again.json["conflict"]["id"] == first["id"]


async def test_providers_that_are_not_configured(web) -> None:
    """BI40."""
    for name in ("nobody", "stripe-but-not-here"):
        reply = await web.post("/api/payments", body(providers=[name]))
        assert (reply.status, reply.code) == (422, "provider_not_configured")
    _, other = await web.other_merchant()
    reply = await web.post("/api/payments", body(providers=["sandbox"]), key=other)
    assert (reply.status, reply.code) == (422, "provider_not_configured")


async def test_origins_that_the_merchant_listed(web) -> None:
    """T26: exact after parsing."""
    made = await web.shop.app.db.write(
        lambda tx: create_merchant(tx, WHO, name="Strict", return_origins=["https://shop.example"])
    )
    key = await add_key(web.shop, made.id, ["payments:write"])
    for url, status in (
        ("https://shop.example/x", 201),
        ("https://SHOP.example:443/", 201),
        ("https://shop.example.evil/", 422),
    ):
        assert (await web.post("/api/payments", {**OK, "returnUrl": url}, key=key)).status == status, url


@pytest.mark.parametrize(
    "lines",
    [
        [("Idempotency-Key", "")],
        [("Idempotency-Key", "x" * 256)],
        [("Idempotency-Key", "a b")],
        [("Idempotency-Key", "\u00fc")],
        [("Idempotency-Key", "a"), ("Idempotency-Key", "a")],
    ],
)
async def test_idempotency_keys_that_are_none(web, lines) -> None:
    """BI41."""
    reply = await web.post("/api/payments", OK, headers=lines)
    assert (reply.status, reply.code) == (422, "validation_failed:invalid_idempotency_key")


async def test_a_replayed_create_answers_the_same(web) -> None:
    """BI42, BI43, BI45, BI46."""
    key = {"Idempotency-Key": "order-1"}
    bad = await web.post("/api/payments", body(amount=0), headers=key)
    assert bad.status == 422
    first = await web.post("/api/payments", body(), headers=key)
    assert (first.status, first.headers.get("Idempotency-Replayed")) == (201, None)
    for _ in range(2):
        again = await web.post("/api/payments", body(), headers=key)
        assert (again.status, again.text, again.headers["Idempotency-Replayed"]) == (201, first.text, "true")
    other = await web.post("/api/payments", body(amount=2), headers=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert (await web.post("/api/customers", {"name": "Ann"}, headers=key)).status == 201
    _, stranger = await web.other_merchant()
    assert (await web.post("/api/payments", OK, headers=key, key=stranger)).status == 201
    assert len(await web.shop.rows("SELECT id FROM payments")) == 2


async def test_the_same_key_twenty_times_at_once(web) -> None:
    """BI44."""
    replies = await asyncio.gather(
        *(web.post("/api/payments", body(), headers={"Idempotency-Key": "once"}) for _ in range(20))
    )
    for reply in replies:
        assert reply.status == 201 or (
            reply.code == "idempotency_in_progress" and "Retry-After" in reply.headers
        ), reply.text
    assert len({reply.text for reply in replies if reply.status == 201}) == 1
    assert len(await web.shop.rows("SELECT id FROM payments")) == 1


async def test_a_key_is_shown_once(web) -> None:
    """BI42: but for secrets shown once."""
    key = {"Idempotency-Key": "new-key"}
    first = await web.post("/api/api-keys", {"name": "shop", "scopes": ["payments:read"]}, headers=key)
    again = await web.post("/api/api-keys", {"name": "shop", "scopes": ["payments:read"]}, headers=key)
    assert first.json["key"].startswith("psk_")
    assert (again.json["id"], again.json["key"]) == (first.json["id"], None)


async def test_states_that_do_not_allow_it(web, clock) -> None:
    """BI53, BI77."""
    made = await web.payment()
    path = f"/api/payments/{made['id']}"
    first = await web.post(f"{path}/cancel")
    again = await web.post(f"{path}/cancel")
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    assert len(await web.shop.rows("SELECT id FROM events WHERE type = 'payment.canceled'")) == 1
    assert (await web.patch(path, {"amount": 5})).code == "invalid_state"
    checkout = await web.post(f"/api/payment-links/{made['shortCode']}/checkout", {}, key=None)
    assert (checkout.status, checkout.code) == (409, "invalid_state")
    assert (await web.shop.sandbox.objects())["calls"].get("start", 0) == 0
    paid, attempt = await web.shop.opened()
    await web.shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await web.shop.look()
    for reply in (
        await web.patch(f"/api/payments/{paid.id}", {"amount": 5}),
        await web.post(f"/api/payments/{paid.id}/cancel"),
        await web.post(f"/api/payments/{paid.id}/retry"),
        await web.post(f"/api/payments/{paid.id}/open"),
        await web.post(f"/api/payment-links/{paid.short_code}/checkout", key=None),
    ):
        assert (reply.status, reply.code) == (409, "invalid_state"), reply.text


async def test_ten_checkouts_at_once_are_one(web) -> None:
    """BI76."""
    made = await web.payment()
    replies = await asyncio.gather(
        *(
            web.post(f"/api/payment-links/{made['shortCode']}/checkout", {"provider": "sandbox"}, key=None)
            for _ in range(10)
        )
    )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["redirectUrl"] for reply in replies}) == 1
    assert len((await web.shop.sandbox.objects())["checkouts"]) == 1


async def test_twenty_creates_for_one_bundle(web) -> None:
    """BI92."""
    wanted = body(bundleId="gold", planName="Gold")
    replies = await asyncio.gather(*(web.post("/api/payments", wanted) for _ in range(20)))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 19
    for reply in replies:
        if reply.status == 409:
            assert reply.code == "PENDING_SAME_BUNDLE"
            assert reply.json["actions"]["complete"]["label"] == "Complete Existing Payment"
            assert reply.json["actions"]["cancel"]["label"] == "Cancel & Start New"
    other = await web.post("/api/payments", body(bundleId="silver"))
    assert other.status == 201
    assert "Gold" in other.json["warnings"][0]["message"]


async def test_hosts_and_methods(web) -> None:
    """BI83, BI84."""
    evil = await web.get("/api/payments", headers={"Host": "evil.example"})
    assert (evil.status, evil.code) == (400, "invalid_host")
    made = await web.payment()
    status = f"/api/payment-links/{made['shortCode']}/status"
    assert (await web.get(status, headers={"Host": "evil.example"})).code == "invalid_host"
    for method, path in (
        ("TRACE", "/api/payments"),
        ("DELETE", f"/api/payments/{made['id']}"),
        ("PUT", status),
    ):
        reply = await web.call(method, path)
        assert (reply.status, reply.code) == (405, "method_not_allowed"), method
        assert "GET" in reply.headers["Allow"]
    assert (await web.call("FOO", "/api/payments")).status == 400  # the server's own
    assert "PATCH" in (await web.call("DELETE", f"/api/payments/{made['id']}")).headers["Allow"]
    overridden = await web.get(f"/api/payments/{made['id']}", headers={"X-HTTP-Method-Override": "DELETE"})
    assert overridden.status == 200
    assert (
        await web.get(
            f"/api/payments/{made['id']}", headers={"Accept": "image/png", "Accept-Language": ";;;q="}
        )
    ).status == 200


async def test_versions(web) -> None:
    """BI94."""
    made = await web.payment()
    path = f"/api/payments/{made['id']}"
    for tag in ('W/"9"', '"nonsense"', "", "1"):
        reply = await web.patch(path, {"description": "x"}, headers={"If-Match": tag})
        assert (reply.status, reply.code) == (412, "version_conflict"), tag
    good = await web.patch(path, {"description": "x"}, headers={"If-Match": 'W/"1"'})
    assert (good.status, good.json["version"], good.headers["ETag"]) == (200, 2, 'W/"2"')
    assert (await web.get(path, headers={"If-None-Match": 'W/"1", W/"2"'})).status == 304
    assert (await web.get(path, headers={"If-None-Match": 'W/"1"'})).status == 200
    assert (await web.patch(path, {})).code == "validation_failed:nothing_to_change"


async def test_phones_in_a_path(web) -> None:
    """BI91."""
    await web.post("/api/payments", {**OK, "bundleId": "gold", "customer": {"phone": "+27821234567"}})
    found = await web.get("/api/payments/pending/%2B27821234567")
    assert (found.status, found.json["summary"]) == (200, {"total": 1, "active": 1, "stale": 0})
    assert (await web.get("/api/payments/pending/%2B12")).code == "validation_failed:invalid_phone"
    assert (await web.get("/api/payments/pending/0821234567")).code == "validation_failed:invalid_phone"
    assert (await web.get("/api/payments/pending/%00")).status == 404
    assert (await web.get("/api/payments/pending/%2B27821234568")).json["summary"]["total"] == 0


async def test_an_expiry_far_ahead_is_allowed_within_a_year(web, clock) -> None:
    """BI35: and not the present moment."""
    now = await web.post("/api/payments", {**OK, "expiresAt": rfc3339(clock.now())})
    assert now.code == "validation_failed:invalid_expiry"
    good = await web.post("/api/payments", {**OK, "expiresAt": rfc3339(clock.now() + 300 * DAY)})
    assert good.status == 201, good.text
