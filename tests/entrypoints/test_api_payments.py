"""Payments over HTTP: from creation to what became of them, and everything that can be done on the way."""

import asyncio

from tests.entrypoints.running_web import Web

from paystate.kit.clock import HOUR, MINUTE, SECOND, rfc3339


async def test_a_payment_is_created_and_read_again(web) -> None:
    made = await web.payment(
        description="Tea", reference="r-1", customer={"externalId": "ann"}, metadata={"a": "b"}
    )
    assert (made["state"], made["amountDisplay"], made["warnings"]) == ("OPEN", "€10.00", [])
    assert made["payUrl"].endswith(f"/pay/{made['shortCode']}")
    assert made["flags"] == dict.fromkeys(
        ["late", "partial", "over", "duplicate", "resolvedByHand", "disputed"], False
    )
    again = await web.get(f"/api/payments/{made['id']}")
    assert (again.status, again.headers["ETag"]) == (200, 'W/"1"')
    same = {name: value for name, value in made.items() if name != "warnings"}
    assert {name: value for name, value in again.json.items() if name != "warnings"} == same
    listed = await web.get("/api/payments?state=OPEN&reference=r-1&bundleId=none")
    assert listed.json == {"data": [], "hasMore": False, "nextCursor": None}
    listed = await web.get(f"/api/payments?state=OPEN&customerId={made['customerId']}")
    assert [p["id"] for p in listed.json["data"]] == [made["id"]]


async def test_money_is_shown_as_people_write_it(web) -> None:
    shown = {
        (1_490, "JPY"): "¥1,490",
        (123_456_789, "EUR"): "€1,234,567.89",
        (5, "USD"): "$0.05",
        (1_005, "KWD"): "KWD\u00a01.005",
        (14_900, "ZAR"): "ZAR\u00a0149.00",
        (150_000_000, "HBAR"): "1.50000000 HBAR",
    }
    for (amount, currency), text in shown.items():
        assert (await web.payment(amount=amount, currency=currency))["amountDisplay"] == text


async def test_from_checkout_to_paid_with_its_story(web, clock) -> None:
    made = await web.payment(reference="order-7")
    path = f"/api/payments/{made['id']}"
    checkout = await web.post(
        f"/api/payment-links/{made['shortCode']}/checkout", {"provider": "sandbox"}, key=None
    )
    assert (checkout.status, checkout.json["provider"], checkout.json["form"]) == (200, "sandbox", None)
    assert checkout.json["redirectUrl"].startswith("http://127.0.0.1")
    listed = (await web.get(f"{path}/attempts")).json["data"]
    assert [(a["id"], a["state"]) for a in listed] == [(checkout.json["attemptId"], "LIVE")]
    await web.shop.sandbox.control(
        "outcomes", {"reference": listed[0]["providerReference"], "outcome": "pay"}
    )
    clock.advance(5 * SECOND)
    asked = await web.post(f"{path}/verify")
    assert (asked.status, asked.json["nextCheckAt"] is not None) == (200, True)
    await web.shop.look()
    paid = (await web.get(path)).json
    assert (paid["state"], paid["paymentMethod"], paid["transactionInfo"]["amount"]) == (
        "PAID",
        "SANDBOX",
        1000,
    )
    moves = (await web.get(f"{path}/timeline")).json["data"]
    assert [(m["fromState"], m["toState"]) for m in moves] == [(None, "OPEN"), ("OPEN", "PAID")]
    [asking] = (await web.get(f"{path}/verifications")).json["data"]
    assert (asking["outcome"], asking["decision"], asking["trigger"]) == ("SUCCEEDED", "paid", "MANUAL")
    audit = (await web.get(f"/api/audit-log?resourceId={made['id']}")).json["data"]
    assert [entry["action"] for entry in audit] == ["payment.verify"]


async def test_an_open_payment_can_be_changed(web, clock) -> None:
    """The amount too, until a checkout was started for it."""
    made = await web.payment(bundleId="gold", customer={"externalId": "ann"})
    path = f"/api/payments/{made['id']}"
    at = rfc3339(clock.now() + HOUR)
    changed = await web.patch(
        path,
        {
            "amount": 2500,
            "description": "More tea",
            "reference": "r-9",
            "planName": "Gold",
            "latePolicy": "ACCEPT",
            "metadata": {"k": "v"},
            "expiresAt": at,
            "providers": ["sandbox"],
            "returnUrl": "https://shop.example/x",
        },
    )
    assert changed.status == 200, changed.text
    body = changed.json
    assert (body["amount"], body["description"], body["reference"], body["planName"]) == (
        2500,
        "More tea",
        "r-9",
        "Gold",
    )
    assert (body["latePolicy"], body["metadata"], body["expiresAt"], body["staleAt"]) == (
        "ACCEPT",
        {"k": "v"},
        at,
        None,
    )
    assert (body["version"], body["providers"]) == (2, ["sandbox"])
    same = await web.patch(path, {"amount": 2500, "reference": "r-9"})
    assert (same.status, same.json["version"]) == (200, 2)
    cleared = await web.patch(
        path, {"reference": None, "returnUrl": None, "expiresAt": None, "providers": None}
    )
    assert (cleared.json["reference"], cleared.json["returnUrl"], cleared.json["expiresAt"]) == (
        None,
        None,
        None,
    )
    assert cleared.json["staleAt"] == rfc3339(clock.now() + 30 * MINUTE)
    assert (await web.post(f"/api/payment-links/{made['shortCode']}/checkout", {}, key=None)).status == 200
    refused = await web.patch(path, {"amount": 1})
    assert (refused.status, refused.code) == (409, "invalid_state")
    assert (await web.patch(path, {"description": "still fine"})).status == 200
    await web.payment(reference="taken")
    assert (await web.patch(path, {"reference": "taken"})).code == "duplicate_reference"
    assert (await web.patch(path, {"providers": ["none"]})).code == "provider_not_configured"
    assert (
        await web.patch(path, {"expiresAt": rfc3339(clock.now())})
    ).code == "validation_failed:invalid_expiry"


async def test_a_draft_opens_and_its_clock_starts_then(web, clock) -> None:
    made = await web.payment(draft=True, expiresIn=3600)
    assert (made["state"], made["expiresAt"], made["openedAt"]) == ("DRAFT", None, None)
    clock.advance(5 * HOUR)
    opened = await web.post(f"/api/payments/{made['id']}/open")
    assert (opened.status, opened.json["state"]) == (200, "OPEN"), opened.text
    assert opened.json["expiresAt"] == rfc3339(clock.now() + HOUR)
    assert (await web.post(f"/api/payments/{made['id']}/open")).json == opened.json


async def test_opening_a_draft_meets_the_same_conflict_as_a_create(web) -> None:
    """C2: the slot is taken at open."""
    values = {"customer": {"externalId": "ann"}, "bundleId": "gold"}
    draft = await web.payment(draft=True, **values)
    other = await web.payment(**values)
    replies = await asyncio.gather(*(web.post(f"/api/payments/{draft['id']}/open") for _ in range(5)))
    for reply in replies:
        assert (reply.status, reply.code) == (409, "PENDING_SAME_BUNDLE")
        assert reply.json["conflict"]["id"] == other["id"]
        assert reply.json["actions"]["complete"]["url"].endswith(f"/pay/{other['shortCode']}")
    await web.post(f"/api/payments/{other['id']}/cancel")
    assert (await web.post(f"/api/payments/{draft['id']}/open")).json["state"] == "OPEN"


async def failed(web: Web, clock, **values):
    """A payment whose only checkout failed."""
    payment, attempt = await web.shop.opened(**values)
    await web.shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    await web.shop.look()
    assert (await web.shop.now(payment)).state.value == "FAILED"
    return payment


async def test_a_failed_payment_is_tried_again_while_its_time_lasts(web, clock) -> None:
    payment = await failed(web, clock, customer="ann", bundle_id="gold")
    path = f"/api/payments/{payment.id}"
    again = await web.post(f"{path}/retry", headers={"Idempotency-Key": "k"})
    assert (again.status, again.json["state"]) == (200, "OPEN")
    replayed = await web.post(f"{path}/retry", headers={"Idempotency-Key": "k"})
    assert (replayed.text, replayed.headers["Idempotency-Replayed"]) == (again.text, "true")
    assert (await web.shop.now(payment)).slot_key is not None
    late = await failed(web, clock, expires_in=HOUR)
    clock.advance(2 * HOUR)
    assert (await web.post(f"/api/payments/{late.id}/retry")).code == "invalid_state"


async def test_a_retry_does_not_take_a_slot_that_is_taken(web, clock) -> None:
    payment = await failed(web, clock, customer="ann", bundle_id="gold")
    other = await web.payment(customer={"externalId": "ann"}, bundleId="gold")
    reply = await web.post(f"/api/payments/{payment.id}/retry")
    assert (reply.status, reply.code, reply.json["conflict"]["id"]) == (
        409,
        "PENDING_SAME_BUNDLE",
        other["id"],
    )


async def test_a_cancel_that_the_provider_does_not_answer_is_202(web) -> None:
    """The wish stands, the slot is free at once, the state follows the answer."""
    payment, _ = await web.shop.opened(customer="ann", bundle_id="gold")
    await web.shop.sandbox.fault("any", "outage")
    reply = await web.post(f"/api/payments/{payment.id}/cancel")
    assert (reply.status, reply.json["state"]) == (202, "OPEN"), reply.text
    assert reply.json["cancelRequestedAt"] is not None
    await web.shop.sandbox.heal()
    assert (await web.payment(customer={"externalId": "ann"}, bundleId="gold"))["state"] == "OPEN"
    audit = (await web.get(f"/api/audit-log?resourceId={payment.id}")).json["data"]
    assert [entry["action"] for entry in audit] == ["payment.cancel"]


async def test_a_customer_cancels_by_the_short_code_only(web) -> None:
    made = await web.payment()
    by_id = await web.post(f"/api/payment-links/{made['id']}/cancel", key=None)
    assert by_id.status == 404
    done = await web.post(f"/api/payment-links/{made['shortCode']}/cancel", key=None)
    assert (done.status, done.json) == (
        200,
        {"shortCode": made["shortCode"], "state": "CANCELED", "cancelRequestedAt": None},
    )


async def test_a_silent_provider_is_no_error_of_a_checkout(web) -> None:
    """202: the attempt stands, and says when it is looked at."""
    made = await web.payment()
    await web.shop.sandbox.fault("start", "act_then_drop")
    reply = await web.post(f"/api/payment-links/{made['shortCode']}/checkout", {}, key=None)
    assert (reply.status, reply.json["redirectUrl"]) == (202, None), reply.text
    assert reply.json["nextCheckAt"] is not None


async def test_the_qr_code_leads_to_the_pay_page(web) -> None:
    made = await web.payment()
    for name in (made["shortCode"], made["id"]):
        picture = await web.get(f"/api/payment-links/{name}/qr.svg", key=None)
        assert (picture.status, picture.headers["Content-Type"]) == (200, "image/svg+xml")
        assert picture.text.startswith("<svg")


async def test_conflicts_are_told_before_a_form_is_shown(web, clock) -> None:
    """C3, C4, C5: the published words, whole minutes that never go below zero, and the cleanup."""
    question = {"phone": "+27821234567", "bundleId": "gold", "planName": "Gold"}
    free = await web.post("/api/payments/can-proceed", question)
    assert (free.status, free.json["canProceed"], free.json["conflicts"]) == (200, True, [])
    made = await web.payment(customer={"phone": "+27821234567"}, bundleId="gold", planName="Gold")
    clock.advance(10 * MINUTE)
    taken = (await web.post("/api/payments/can-proceed", question)).json
    assert (taken["canProceed"], taken["recommendation"]) == (False, "complete_existing")
    [conflict] = taken["conflicts"]
    assert (conflict["type"], conflict["payment"]["id"]) == ("same_bundle", made["id"])
    assert {n: a["label"] for n, a in conflict["actions"].items()} == {
        "complete": "Complete Existing Payment",
        "cancel": "Cancel & Start New",
    }
    other = (
        await web.post("/api/payments/can-proceed", {"customerId": made["customerId"], "bundleId": "silver"})
    ).json
    assert other["canProceed"] is True
    for name in ("%2B27821234567", made["customerId"]):
        pending = (await web.get(f"/api/payments/pending/{name}")).json
        [row] = pending["data"]
        assert (row["id"], row["ageInMinutes"], row["timeRemaining"]) == (made["id"], 10, 20)
        assert {n: a["label"] for n, a in row["actions"].items()} == {
            "complete": "Complete Payment",
            "cancel": "Cancel Payment",
        }
    clock.advance(25 * MINUTE)
    pending = (await web.get(f"/api/payments/pending/{made['customerId']}")).json
    assert (pending["summary"], pending["data"][0]["timeRemaining"]) == (
        {"total": 1, "active": 0, "stale": 1},
        0,
    )
    assert (await web.post("/api/payments/can-proceed", question)).json["canProceed"] is True
    done = await web.post(f"/api/payments/cleanup-stale/{made['customerId']}")
    assert (done.status, done.json) == (200, {"found": 1, "expired": [made["id"]], "asked": []})
    assert (await web.get(f"/api/payments/{made['id']}")).json["state"] == "EXPIRED"


async def test_figures_of_a_merchant(web, clock) -> None:
    """C7."""
    await web.payment(customer={"externalId": "ann"}, bundleId="gold")
    clock.advance(20 * MINUTE)
    await web.payment()
    draft = await web.payment(draft=True)
    await web.post(f"/api/payments/{draft['id']}/cancel")
    clock.advance(11 * MINUTE)
    stats = (await web.get("/api/payments/stats")).json
    assert {state: n for state, n in stats["byState"].items() if n} == {"OPEN": 2, "CANCELED": 1}
    assert stats["pending"] == {"total": 2, "active": 1, "stale": 1}
    assert [(b["fromMinutes"], b["count"]) for b in stats["ageOfPending"] if b["count"]] == [(5, 1), (30, 1)]


async def test_existing_payments_are_returned_or_replaced_as_asked(web) -> None:
    values = {"amount": 1000, "currency": "EUR", "customer": {"externalId": "ann"}, "bundleId": "gold"}
    first = (await web.post("/api/payments", values)).json
    same = await web.post("/api/payments", {**values, "onConflict": "RETURN_EXISTING"})
    assert (same.status, same.json["id"]) == (200, first["id"])
    fresh = await web.post("/api/payments", {**values, "onConflict": "CANCEL_EXISTING"})
    assert (fresh.status, fresh.json["id"] != first["id"]) == (201, True)
    assert (await web.get(f"/api/payments/{first['id']}")).json["state"] == "CANCELED"
