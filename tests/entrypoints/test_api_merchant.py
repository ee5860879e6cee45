"""What belongs to a merchant beside payments: customers, connections, provider events, keys, cases."""

from tests.entrypoints.running_web import WHO

from paystate.domain.connections import NewProviderEvent, body_aad, inbox_store
from paystate.kit.clock import SECOND
from paystate.kit.ids import new_id

SECRETS = {"secretKey": "sk_sandbox_paystate", "webhookSecret": "whsec_sandbox_paystate"}


async def test_customers(web) -> None:
    made = await web.post("/api/customers", {"externalId": "a-1", "phone": "+27821234567", "name": "Ann"})
    assert made.status == 201, made.text
    path = f"/api/customers/{made.json['id']}"
    taken = await web.post("/api/customers", {"phone": "+27821234567"})
    assert (taken.status, taken.code) == (409, "customer_conflict")
    assert taken.json["conflict"] == {"customerId": made.json["id"], "field": "phone"}
    changed = await web.patch(
        path, {"phone": None, "email": "ann@shop.example"}, headers={"If-Match": 'W/"1"'}
    )
    assert (changed.json["phone"], changed.json["email"], changed.json["name"]) == (
        None,
        "ann@shop.example",
        "Ann",
    )
    stale = await web.patch(path, {"name": "B"}, headers={"If-Match": 'W/"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")
    assert (await web.get(path)).headers["ETag"] == 'W/"2"'
    assert [c["id"] for c in (await web.get("/api/customers")).json["data"]] == [made.json["id"]]


async def test_connections_never_show_their_secrets(web, clock) -> None:
    """Created only for whom the provider says the credentials are; sealed, audited, and tested again."""
    base = web.shop.sandbox.base_url
    _, other = await web.other_merchant()
    fields = {"baseUrl": base, **SECRETS}
    taken = await web.post("/api/connections", {"provider": "sandbox", "fields": fields}, key=other)
    assert (taken.status, taken.code) == (409, "account_connected")
    wrong = await web.post(
        "/api/connections", {"provider": "sandbox", "fields": {**fields, "secretKey": "sk_no"}}, key=other
    )
    assert (wrong.status, wrong.code) == (422, "credentials_refused:refused")
    assert [e["pointer"] for e in wrong.json["errors"]] == ["/fields/secretKey"]
    bare = await web.post(
        "/api/connections", {"provider": "sandbox", "fields": {"baseUrl": base, "x": "1"}}, key=other
    )
    assert {(e["pointer"], e["code"]) for e in bare.json["errors"]} == {
        ("/fields/secretKey", "required"),
        ("/fields/webhookSecret", "required"),
        ("/fields/x", "unknown_field"),
    }
    far = await web.post(
        "/api/connections",
        {"provider": "sandbox", "fields": {**fields, "baseUrl": "http://shop.example"}},
        key=other,
    )
    assert far.code == "validation_failed:url_not_allowed"
    assert (
        await web.post("/api/connections", {"provider": "none", "fields": fields}, key=other)
    ).code == "provider_not_configured"
    path = f"/api/connections/{web.shop.connection.id}"
    disabled = await web.patch(path, {"enabled": False})
    assert (disabled.status, disabled.json["state"]) == (200, "DISABLED")
    made = await web.post(
        "/api/connections", {"provider": "sandbox", "name": "Main", "fields": fields}, key=other
    )
    assert (made.status, made.json["account"], made.json["settings"]) == (
        201,
        "acct_sandbox",
        {"baseUrl": base},
    ), made.text
    assert made.json["webhookUrl"].endswith(f"/api/webhooks/sandbox/{made.json['id']}")
    tested = await web.post(f"/api/connections/{made.json['id']}/test", key=other)
    assert (tested.status, tested.json["ok"], tested.json["account"]) == (200, True, "acct_sandbox")
    clock.advance(SECOND)  # lists are ordered by the millisecond
    renamed = await web.patch(
        f"/api/connections/{made.json['id']}",
        {"name": "Second", "fields": {"webhookSecret": "whsec_new"}},
        key=other,
    )
    assert (renamed.status, renamed.json["name"], renamed.json["version"]) == (200, "Second", 2)
    shown = [
        taken,
        made,
        tested,
        renamed,
        await web.get("/api/connections", key=other),
        await web.get("/api/audit-log", key=other),
    ]
    assert not any(secret in reply.text for reply in shown for secret in [*SECRETS.values(), "whsec_new"])
    actions = [entry["action"] for entry in shown[-1].json["data"]]
    assert actions == ["connection.updated", "connection.created"]


async def test_new_credentials_must_be_the_same_accounts(web) -> None:
    """Proofs are bound to the account (invariant 5)."""
    path = f"/api/connections/{web.shop.connection.id}"
    refused = await web.patch(path, {"fields": {"secretKey": "sk_wrong"}})
    assert (refused.status, refused.code) == (422, "credentials_refused")
    assert (await web.patch(path, {"fields": {"x": "y"}})).json["errors"][0]["pointer"] == "/fields/x"
    assert (await web.post(f"{path}/test")).json["ok"] is True


async def test_a_provider_that_does_not_answer_is_unavailable(web) -> None:
    _, other = await web.other_merchant()
    await web.shop.sandbox.fault("any", "outage")
    fields = {"baseUrl": web.shop.sandbox.base_url, **SECRETS}
    reply = await web.post("/api/connections", {"provider": "sandbox", "fields": fields}, key=other)
    assert (reply.status, reply.code, reply.json["retryable"]) == (503, "provider_unavailable", True)
    assert "Retry-After" in reply.headers


async def test_providers_say_what_they_need(web) -> None:
    listed = (await web.get("/api/providers")).json["data"]
    sandbox = next(p for p in listed if p["name"] == "sandbox")
    assert set(sandbox["secretFields"]) == set(SECRETS)
    assert "close" in sandbox["capabilities"]


async def test_a_providers_message_is_looked_at_again(web) -> None:
    shop = web.shop
    payment, attempt = await shop.opened()

    def receive(tx):
        event_id = new_id("pev", tx.now)
        event = NewProviderEvent(
            id=event_id,
            merchant_id=shop.id,
            connection_id=shop.connection.id,
            provider_event_id="evt_1",
            type="checkout.paid",
            body=shop.app.ctx.keys.seal(b"{}", aad=body_aad(event_id, shop.id)),
            body_hash="0",
            authentic=True,
            named=[{"reference": attempt.provider_reference, "checkoutId": None}],
        )
        return inbox_store.receive(tx, WHO, event).id

    event_id = await shop.app.db.write(receive)
    assert (await web.get(f"/api/provider-events/{event_id}")).json["state"] == "RECEIVED"
    again = await web.post(f"/api/provider-events/{event_id}/reprocess")
    assert (again.status, again.json["state"], again.json["attemptId"]) == (200, "HANDLED", attempt.id)
    [after] = await shop.attempts(payment)
    assert (after.check_trigger, after.hint_no) == ("manual", attempt.hint_no + 1)
    assert [e["id"] for e in (await web.get("/api/provider-events?state=HANDLED")).json["data"]] == [event_id]


async def test_keys_are_listed_without_themselves(web, clock) -> None:
    made = (
        await web.post(
            "/api/api-keys", {"name": "shop", "scopes": ["payments:read"], "addresses": ["127.0.0.0/8"]}
        )
    ).json
    assert (await web.get("/api/payments", key=made["key"])).status == 200
    listed = (await web.get("/api/api-keys")).json["data"]
    shown = next(key for key in listed if key["id"] == made["id"])
    assert (shown["key"], shown["last4"], shown["addresses"]) == (None, made["key"][-4:], ["127.0.0.0/8"])
    assert shown["lastUsedAt"] is not None
    assert (
        await web.post("/api/api-keys", {"name": "x", "scopes": ["everything"]})
    ).code == "validation_failed:invalid_value"
    bad = await web.post("/api/api-keys", {"name": "x", "scopes": ["jobs"], "addresses": ["nowhere"]})
    assert bad.code == "validation_failed:invalid_address"
    clock.advance(SECOND)
    revoked = await web.post(f"/api/api-keys/{made['id']}/revoke")
    assert (revoked.status, revoked.json["revokedAt"] is not None) == (200, True)
    assert (await web.get("/api/payments", key=made["key"])).status == 401
    actions = [
        entry["action"] for entry in (await web.get(f"/api/audit-log?resourceId={made['id']}")).json["data"]
    ]
    assert actions == ["api_key.revoked", "api_key.created"]


async def test_cases_are_read(web, clock) -> None:
    payment, attempt = await web.shop.opened(1000, "EUR")
    await web.shop.sandbox.outcome(attempt, "pay", amount=999)
    clock.advance(5_000_000)
    await web.shop.look()
    [case] = (await web.get(f"/api/cases?state=OPEN&paymentId={payment.id}")).json["data"]
    assert (case["reason"], case["state"]) == ("amount_mismatch", "OPEN")
    assert (await web.get(f"/api/cases/{case['id']}")).json == case
    assert (await web.get("/api/cases?state=RESOLVED")).json["data"] == []
