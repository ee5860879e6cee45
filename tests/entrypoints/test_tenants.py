"""Tenants and scopes over every operation of the document: another merchant's id answers like an unknown one."""

import itertools
import re
from typing import Any

import pytest
from tests import a
from tests.entrypoints.running_web import WHO, serving

from paystate.domain import alerts, cases
from paystate.domain.alerts import NewAlert, Severity
from paystate.domain.cases import NewCase
from paystate.domain.connections import NewProviderEvent, body_aad, inbox_store
from paystate.domain.merchants import SCOPES
from paystate.kit.ids import new_id
from paystate.machinery.jobs import JobEngine, job

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PREFIXES = {
    "paymentId": "pay",
    "customerId": "cus",
    "connectionId": "con",
    "eventId": "pev",
    "keyId": "key",
    "caseId": "cas",
    "alertId": "alt",
    "runId": "run",
}
BODIES: dict[str, dict[str, Any]] = {
    "updatePayment": {"description": "stolen"},
    "updateCustomer": {"name": "stolen"},
    "updateConnection": {"name": "stolen"},
    "updateJob": {"batchSize": 1},
    "resolveAlert": {"reason": "stolen"},
    "resolveCase": {"action": "ACCEPT", "reason": "stolen"},
    "resolvePayment": {"action": "ACCEPT", "reason": "stolen"},
}


def jobs_of(shop: a.Shop) -> JobEngine:
    """An engine with one job that nobody runs."""
    declared: dict[str, Any] = {}

    @job("sweep-nothing", schedule="0 0 1 1 *", description="for tests", into=declared)
    async def sweep(_context: Any, _run: Any) -> dict[str, Any]:
        return {"found": 0}

    return JobEngine(shop.app.db, shop.app.ctx, owner="test", jobs=declared)


@pytest.fixture
async def web(shop):
    async with serving(shop, jobs=jobs_of(shop)) as running:
        yield running


async def operations(web) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path template, operation) of the whole document."""
    document = (await web.get("/api/openapi.json", key=None)).json
    return [(m.upper(), path, op) for path, item in document["paths"].items() for m, op in item.items()]


async def things(web) -> dict[str, str]:
    """One thing of each kind that belongs to the shop."""
    made = await web.payment(customer={"externalId": "ann"}, bundleId="gold")
    shop = web.shop

    def rest(tx) -> tuple[str, str]:
        alert = NewAlert("stuck_payments", shop.id, Severity.WARNING, "Stuck", {}, shop.id)
        alerts.raise_alert(tx, WHO, alert, shop.app.ctx.operators)
        case = NewCase(shop.id, made["id"], None, "late", {}, "accept")
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
            named=[],
        )
        return cases.open_cases(tx, WHO, [case])[0], inbox_store.receive(tx, WHO, event).id

    case_id, event_id = await shop.app.db.write(rest)
    key = (await web.post("/api/api-keys", {"name": "k", "scopes": ["payments:read"]})).json
    [alert] = (await web.get("/api/alerts")).json["data"]
    return {
        "alertId": alert["id"],
        "paymentId": made["id"],
        "customerId": made["customerId"],
        "connectionId": shop.connection.id,
        "caseId": case_id,
        "eventId": event_id,
        "keyId": key["id"],
        "customer": made["customerId"],
    }


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: ids[match.group(1)], path)


async def test_every_operation_says_what_it_needs(web) -> None:
    for method, path, op in await operations(web):
        assert op["x-scope"] in (*SCOPES, "public", "cron"), (method, path)
        assert bool(op["security"]) is (op["x-scope"] != "public")


async def test_no_credential_and_every_wrong_scope(web) -> None:
    """BI90, T39: route × scope, generated; refused before any body or id is looked at."""
    keys = {scope: await web.new_key([scope]) for scope in SCOPES}
    for method, path, op in await operations(web):
        if op["x-scope"] == "public":
            continue
        address = filled(
            path, dict.fromkeys([*PREFIXES, "customer", "name", "idOrCode", "shortCode"], "nothing")
        )
        bare = await web.call(method, address, key=None)
        assert (bare.status, bare.code) == (401, "unauthenticated"), (method, path)
        needed = "jobs" if op["x-scope"] == "cron" else op["x-scope"]
        for scope, key in keys.items():
            reply = await web.call(method, address, key=key)
            expected = {403} if scope != needed else {200, 400, 404, 422}
            assert reply.status in expected, (method, path, scope, reply.text)


async def test_another_merchants_ids_are_unknown(web) -> None:
    """T24, BI6: own, foreign and unknown ids on every operation that takes one."""
    own = await things(web)
    unknown = {name: new_id(prefix, 0) for name, prefix in PREFIXES.items()} | {"customer": new_id("cus", 0)}
    _, stranger = await web.other_merchant()
    tried = 0
    for method, path, op in await operations(web):
        names = re.findall(r"\{(\w+)\}", path)
        if not names or not set(names) <= set(own):
            continue
        body = BODIES.get(op["operationId"])
        foreign = await web.call(method, filled(path, own), body, key=stranger)
        nobody = await web.call(method, filled(path, unknown), body, key=stranger)
        assert (foreign.status, foreign.code) == (404, "not_found"), (method, path, foreign.text)
        shown = [{n: v for n, v in reply.json.items() if n != "requestId"} for reply in (foreign, nobody)]
        assert shown[0] == shown[1], (method, path)
        tried += 1
    assert tried >= 20
    for method, path, _ in await operations(web):
        if method == "GET" and set(re.findall(r"\{(\w+)\}", path)) <= set(own) and "{" in path:
            assert (await web.get(filled(path, own))).status == 200, path
    payment = await web.get(f"/api/payments/{own['paymentId']}")
    assert (payment.json["description"], payment.json["state"], payment.json["version"]) == ("", "OPEN", 1)


async def test_lists_hold_only_ones_own(web) -> None:
    own = await things(web)
    _, stranger = await web.other_merchant()
    for _, path, op in [
        o for o in await operations(web) if o[0] == "GET" and o[2]["operationId"].startswith("list")
    ]:
        if "{" in path or op["x-scope"] == "cron" or path == "/api/providers":
            continue
        mine, theirs = (await web.get(path)).json["data"], (await web.get(path, key=stranger)).json["data"]
        assert mine, path
        assert not {row["id"] for row in mine} & {row["id"] for row in theirs}, path
    for query in (f"customerId={own['customerId']}", "bundleId=gold"):
        assert (await web.get(f"/api/payments?{query}", key=stranger)).json["data"] == []
    assert (await web.get("/api/payments/stats", key=stranger)).json["pending"]["total"] == 0
    taken = await web.post(
        "/api/payments", {"amount": 1, "currency": "EUR", "customerId": own["customerId"]}, key=stranger
    )
    assert (taken.status, taken.code) == (404, "not_found")


async def test_fields_nobody_may_set(web) -> None:
    """T37: every column of the row that is not a field of the request."""
    columns = [
        "id",
        "state",
        "status",
        "seq",
        "version",
        "merchantId",
        "shortCode",
        "slot",
        "slotKey",
        "dueAt",
        "late",
        "paidAt",
    ]
    columns += [
        "transactionId",
        "transactionAmount",
        "paymentMethod",
        "resolvedByHand",
        "createdAt",
        "reviewReason",
        "orderId",
    ]
    made = await web.payment()
    for column, method in itertools.product(columns, ("POST", "PATCH")):
        path = "/api/payments" if method == "POST" else f"/api/payments/{made['id']}"
        sent = {"amount": 1, "currency": "EUR", column: 1} if method == "POST" else {column: 1}
        reply = await web.call(method, path, sent)
        assert (reply.status, reply.code) == (422, "validation_failed:unknown_field"), column
        assert reply.json["errors"][0]["pointer"] == f"/{column}"
