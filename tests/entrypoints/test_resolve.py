"""Cases and payments resolved over HTTP."""

import asyncio

from paystate.kit.clock import SECOND


async def _in_review(web, clock, amount=999):
    payment, attempt = await web.shop.opened(1000, "EUR")
    await web.shop.sandbox.outcome(attempt, "pay", amount=amount, transaction="t1")
    clock.advance(5 * SECOND)
    await web.shop.look()
    [case] = (await web.get(f"/api/cases?state=OPEN&paymentId={payment.id}")).json["data"]
    return payment, case


async def test_a_case_is_resolved_once_with_its_audit_entries(web, clock) -> None:
    payment, case = await _in_review(web, clock)
    path = f"/api/cases/{case['id']}/resolve"
    body = {"action": "ACCEPT", "reason": "the rest came by bank"}
    done = await web.post(path, body, headers={"Idempotency-Key": "decide-1"})
    assert (done.status, done.json["state"], done.json["resolution"]) == (200, "RESOLVED", "ACCEPT")
    again = await web.post(path, body, headers={"Idempotency-Key": "decide-1"})
    assert (again.status, again.text, again.headers["Idempotency-Replayed"]) == (200, done.text, "true")
    other = await web.post(path, body)
    assert (other.status, other.code) == (409, "invalid_state")
    shown = (await web.get(f"/api/payments/{payment.id}")).json
    assert (shown["state"], shown["flags"]["resolvedByHand"]) == ("PAID", True)
    log = (await web.get(f"/api/audit-log?resourceId={payment.id}")).json["data"]
    assert [(e["action"], e["reason"], e["after"]["state"]) for e in log] == [
        ("payment.resolve", "the rest came by bank", "PAID")
    ]


async def test_what_a_decision_must_say(web, clock) -> None:
    _, case = await _in_review(web, clock)
    path = f"/api/cases/{case['id']}/resolve"
    for body in (
        {"action": "ACCEPT"},
        {"action": "ACCEPT", "reason": ""},
        {"action": "FORGET", "reason": "x"},
        {"action": "REJECT", "reason": "x", "to": "PAID"},
        {"action": "KEEP_WAITING", "reason": "x", "hours": 0},
        {"action": "ACCEPT", "reason": "x", "transactionIds": ["t9"]},
    ):
        assert (await web.post(path, body)).status == 422, body
    reader = await web.new_key(["payments:read", "payments:write"])
    refused = await web.post(path, {"action": "ACCEPT", "reason": "x"}, key=reader)
    assert (refused.status, refused.code) == (403, "insufficient_scope")
    _, stranger = await web.other_merchant()
    unknown = await web.post(path, {"action": "ACCEPT", "reason": "x"}, key=stranger)
    assert (unknown.status, unknown.code) == (404, "not_found")
    assert (await web.get(f"/api/cases/{case['id']}")).json["state"] == "OPEN"


async def test_two_keys_at_once_are_one_decision(web, clock) -> None:
    payment, case = await _in_review(web, clock)
    replies = await asyncio.gather(
        web.post(f"/api/cases/{case['id']}/resolve", {"action": "REJECT", "reason": "x", "to": "EXPIRED"}),
        web.post(f"/api/payments/{payment.id}/resolve", {"action": "ACCEPT", "reason": "y"}),
    )
    assert sorted(r.status for r in replies) == [200, 409], [r.text for r in replies]


async def test_a_payment_is_settled_by_hand(web) -> None:
    made = await web.payment()
    path = f"/api/payments/{made['id']}/resolve"
    refused = await web.post(path, {"action": "REJECT", "reason": "x"})
    assert (refused.status, refused.code) == (409, "invalid_state")
    done = await web.post(path, {"action": "ACCEPT", "reason": "cash"})
    assert (done.status, done.json["state"], done.json["flags"]["resolvedByHand"]) == (200, "PAID", True)
    [case] = (await web.get("/api/cases?state=RESOLVED")).json["data"]
    assert (case["reason"], case["resolutionReason"]) == ("opened_by_hand", "cash")
