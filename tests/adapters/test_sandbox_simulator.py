"""Sandbox Pay over real HTTP: what it promises, and every way it breaks its promises on order."""

import asyncio
import hashlib
import hmac
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from paystate.kit.clock import SECOND, SystemClock, monotonic, parse_rfc3339, rfc3339
from paystate.simulators import RunningSimulator, simulator_names, start_simulator
from paystate.simulators.control import control_is_local, is_loopback
from paystate.simulators.shelf import Shelf, Window

KEY, SECRET = "sk_sandbox_paystate", "whsec_sandbox_paystate"
DEADLINE_SECONDS = 8


async def until(ready: Callable[[], Any]) -> Any:
    """Wait for a condition, not for a time; an awaitable one is awaited each time."""
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        found = ready()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


class Shop:
    """A merchant of Sandbox Pay with its own webhook receiver."""

    def __init__(self, simulator: RunningSimulator, http: aiohttp.ClientSession, hook: str) -> None:
        self.simulator, self.http, self.hook, self.key = simulator, http, hook, KEY
        self.base = simulator.base_url
        self.received: list[tuple[str, bytes]] = []
        self.answers: list[int] = []

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        auth = {"Authorization": f"Bearer {self.key}"}
        sent = None if body is None else json.dumps(body).encode()
        async with self.http.request(method, self.base + path, data=sent, headers=auth | headers) as answer:
            return answer.status, await answer.json()

    async def start(self, reference: str = "ref1", idem: str = "", **fields: Any) -> tuple[int, Any]:
        body = {"reference": reference, "amount": 1_000, "currency": "EUR", "description": "Two tickets"} | {
            "returnUrl": "http://shop.test/return",
            "cancelUrl": "http://shop.test/cancel",
            "webhookUrl": self.hook,
        }
        headers = {"Idempotency-Key": idem or f"key-{reference}"}
        return await self.call("POST", "/v1/checkouts", body | fields, **headers)

    async def started(self, reference: str = "ref1", **fields: Any) -> dict[str, Any]:
        status, checkout = await self.start(reference, **fields)
        assert status == 201
        return checkout

    async def control(self, path: str, body: Any, method: str = "POST") -> Any:
        status, answer = await self.call(method, f"/_control/{path}", body)
        assert status < 300, answer
        return answer

    async def force(self, outcome: str, **fields: Any) -> Any:
        return await self.control("outcomes", {"reference": "ref1", "outcome": outcome} | fields)

    async def fault(self, operation: str, kind: str, **fields: Any) -> str:
        return (await self.control("faults", {"operation": operation, "kind": kind} | fields))["id"]

    async def act(self, checkout: dict[str, Any], act: str) -> tuple[int, str]:
        url = f"{checkout['url']}/act"
        async with self.http.post(url, data={"act": act}, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "")

    async def ask(self, checkout: dict[str, Any]) -> dict[str, Any]:
        return (await self.call("GET", f"/v1/checkouts/{checkout['id']}"))[1]

    async def objects(self) -> dict[str, Any]:
        return (await self.call("GET", "/_control/objects"))[1]

    async def hits(self) -> int:
        return sum(fault["hits"] for fault in (await self.objects())["faults"])

    async def refund(self, transaction: str, amount: int, idem: str) -> tuple[int, Any]:
        body = {"transaction": transaction, "amount": amount, "reference": idem}
        return await self.call("POST", "/v1/refunds", body, **{"Idempotency-Key": idem})

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async def receive(request: web.Request) -> web.Response:
        own.received.append((request.headers["Sandbox-Signature"], await request.read()))
        return web.Response(status=own.answers.pop(0) if own.answers else 200)

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator = await start_simulator("sandbox")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        own = Shop(simulator, http, f"http://127.0.0.1:{receiver.addresses[0][1]}/hook")
        yield own
    await simulator.stop()
    await receiver.cleanup()


def signature_holds(signature: str, body: bytes, secret: str = SECRET) -> bool:
    parts = dict(part.split("=", 1) for part in signature.split(","))
    wanted = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, parts["v1"])


async def test_is_found_by_its_name_and_an_unknown_name_is_refused() -> None:
    assert "sandbox" in simulator_names()
    assert "control" not in simulator_names()
    with pytest.raises(KeyError):
        await start_simulator("control")


async def test_a_checkout_is_paid_on_its_page_and_told_by_a_signed_webhook(shop: Shop) -> None:
    checkout = await shop.started()
    assert (checkout["status"], checkout["account"], checkout["live"]) == ("open", "acct_sandbox", False)
    async with shop.http.get(checkout["url"]) as page:
        assert "EUR 10.00" in await page.text()
    assert await shop.act(checkout, "pay") == (303, "http://shop.test/return")
    paid = await shop.ask(checkout)
    money = {"amount": 1_000, "currency": "EUR", "reference": "ref1", "fee": 15, "amountRefunded": 0}
    assert paid["status"] == "paid"
    assert paid["transaction"].items() >= money.items()
    await until(lambda: shop.received)
    signature, body = shop.received[0]
    assert signature_holds(signature, body)
    assert json.loads(body)["data"] == {"checkout": checkout["id"], "reference": "ref1"}
    assert (await shop.act(checkout, "pay"))[0] == 409


@pytest.mark.parametrize(
    ("act", "status", "target", "event"),
    [
        ("decline", "open", "/checkout/", "checkout.declined"),
        ("fail", "failed", "/checkout/", "checkout.failed"),
        ("expire", "expired", "/checkout/", "checkout.expired"),
        ("pay_slowly", "processing", "shop.test/return", "checkout.processing"),
        ("pay_and_close", "paid", "/checkout/", "checkout.paid"),
        ("pay_wrong_amount", "paid", "shop.test/return", "checkout.paid"),
        ("pay_other_currency", "paid", "shop.test/return", "checkout.paid"),
    ],
)
async def test_every_button_does_what_it_says(
    shop: Shop, act: str, status: str, target: str, event: str
) -> None:
    checkout = await shop.started()
    code, location = await shop.act(checkout, act)
    assert code == 303
    assert target in location
    asked = await shop.ask(checkout)
    assert asked["status"] == status
    await until(lambda: shop.types() == [event])
    paid = asked["transaction"] or {"amount": 0, "currency": ""}
    wanted = {
        "pay_wrong_amount": (500, "EUR"),
        "pay_other_currency": (1_000, "USD"),
        "pay_and_close": (1_000, "EUR"),
    }
    assert (paid["amount"], paid["currency"]) == wanted.get(act, (0, ""))
    async with shop.http.get(checkout["url"]) as page:
        assert ("Pay EUR 10.00" in await page.text()) == (status == "open")


async def test_leaving_changes_nothing_and_text_of_the_shop_is_escaped(shop: Shop) -> None:
    checkout = await shop.started(description="<script>alert(1)</script>")
    assert await shop.act(checkout, "leave") == (303, "http://shop.test/cancel")
    assert (await shop.act(checkout, "nonsense"))[0] == 422
    assert (await shop.ask(checkout))["status"] == "open"
    async with shop.http.get(checkout["url"]) as page:
        assert "<script>" not in await page.text()


async def test_a_key_gives_its_first_answer_again_errors_included(shop: Shop) -> None:
    first = await shop.start(idem="k")
    await shop.force("pay")
    assert await shop.start(idem="k") == first
    status, error = await shop.start(idem="k", amount=2)
    assert (status, error["error"]["code"]) == (409, "idempotency_key_reused")
    status, error = await shop.start(idem="other")
    assert (status, error["error"]["code"]) == (409, "duplicate_reference")
    await shop.control("reset", {})
    await shop.start(idem="k1")
    refused = await shop.start(idem="k2")
    await shop.force("fail")
    assert await shop.start(idem="k2") == refused
    assert (await shop.start(idem="k3"))[0] == 201
    await shop.force("expire")
    assert (await shop.start(idem="k4"))[0] == 201


WRONG_FIELDS = (
    ("amount", (0, 1.0, True, "1", None, 10**15 + 1)),
    ("currency", ("XXX", "eur")),
    ("reference", ("a b", "", "r" * 101)),
    ("expiresAt", ("2020-01-01T00:00:00Z", "soon")),
    ("returnUrl", ("javascript:1", "//evil", "https://a\r\nX: 1")),
    ("idem", ("k" * 256,)),
)


@pytest.mark.parametrize("wrong", [{name: value} for name, values in WRONG_FIELDS for value in values])
async def test_what_is_not_valid_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    status, error = await shop.start(**wrong)
    assert status == 422
    assert error["error"].keys() == {"code", "message"}


async def test_accounts_are_apart_and_keys_come_and_go(shop: Shop) -> None:
    mine = await shop.started()
    other = {"account": "acct_two", "secretKey": "sk_two", "webhookSecret": "whsec_two", "live": True}
    await shop.control("accounts", other)
    shop.key = "sk_two"
    assert (await shop.call("GET", "/v1/account"))[1]["live"] is True
    assert (await shop.call("GET", f"/v1/checkouts/{mine['id']}"))[0] == 404
    assert (await shop.call("GET", "/v1/checkouts"))[1]["data"] == []
    await shop.control("accounts", {"account": "acct_two", "secretKey": "sk_new"})
    assert (await shop.call("GET", "/v1/account"))[0] == 200
    await shop.control("accounts", {"account": "acct_two", "revoke": ["sk_two"]})
    status, error = await shop.call("GET", "/v1/account")
    assert (status, error["error"]["code"]) == (401, "invalid_key")


async def test_close_and_pay_exclude_each_other(shop: Shop) -> None:
    for number in range(20):
        checkout = await shop.started(f"race{number}")
        close = shop.call("POST", f"/v1/checkouts/{checkout['id']}/close", {})
        pay = shop.act(checkout, "pay")
        if number % 2:
            (paid, _), (closed, answer) = await asyncio.gather(pay, close)
        else:
            (closed, answer), (paid, _) = await asyncio.gather(close, pay)
        assert (await shop.ask(checkout))["status"] == ("closed" if closed == 200 else "paid")
        assert closed == 200 or answer["error"]["code"] == "already_paid"
        assert (closed, paid) in {(200, 409), (409, 303)}
    settled = await shop.started("settled")
    await shop.act(settled, "pay")
    assert (await shop.call("POST", f"/v1/checkouts/{settled['id']}/close", {}))[0] == 409
    gone = await shop.started("gone")
    closed_twice = [await shop.call("POST", f"/v1/checkouts/{gone['id']}/close", {}) for _ in range(2)]
    assert closed_twice[0] == closed_twice[1]
    assert (await shop.act(gone, "pay"))[0] == 409
    processing = await shop.started()
    await shop.force("process")
    assert (await shop.call("POST", f"/v1/checkouts/{processing['id']}/close", {}))[0] == 409


async def test_a_checkout_expires_when_looked_at_and_can_be_paid_late(shop: Shop) -> None:
    checkout = await shop.started(expiresAt=rfc3339(SystemClock().now() + SECOND))
    await until(lambda: _is(shop, checkout, "expired"))
    assert (await shop.call("POST", f"/v1/checkouts/{checkout['id']}/close", {}))[1]["status"] == "expired"
    assert (await shop.force("pay"))["status"] == "paid"


async def _is(shop: Shop, checkout: dict[str, Any], status: str) -> bool:
    return (await shop.ask(checkout))["status"] == status


async def test_a_forced_payment_can_lie_about_everything(shop: Shop) -> None:
    checkout = await shop.started()
    lies = {
        "amount": 1,
        "currency": "JPY",
        "transactionReference": "theirs",
        "account": "acct_x",
        "live": True,
    }
    await shop.force("pay", **lies, transaction="txn_same", paidAt="2026-01-02T03:04:05Z")
    asked = await shop.ask(checkout)
    paid = asked["transaction"]
    assert (asked["account"], asked["live"], asked["amount"]) == ("acct_x", True, 1_000)
    assert (paid["amount"], paid["currency"], paid["reference"]) == (1, "JPY", "theirs")
    assert (paid["id"], paid["paidAt"]) == ("txn_same", "2026-01-02T03:04:05Z")
    await shop.force("pay")
    assert [t["amount"] for t in (await shop.objects())["transactions"]] == [1, 1_000]
    await shop.started("ref2")
    await shop.force("process", reference="ref2", afterSeconds=0.1)
    await until(lambda: _has_types(shop, {"checkout.processing", "checkout.paid"}))


async def _has_types(shop: Shop, types: set[str]) -> bool:
    return set(shop.types()) >= types


async def test_lists_come_in_pages_oldest_first_each_row_once(shop: Shop) -> None:
    made = [(await shop.started(f"r{number}"))["id"] for number in range(7)]
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        _, page = await shop.call("GET", f"/v1/checkouts?limit=2{cursor}")
        seen += [row["id"] for row in page["data"]]
        cursor = f"&cursor={page['nextCursor']}"
    assert (seen, page["nextCursor"]) == (made, None)
    assert (await shop.call("GET", "/v1/checkouts?createdFrom=2099-01-01T00:00:00Z"))[1]["data"] == []
    assert len((await shop.call("GET", "/v1/checkouts?createdTo=2099-01-01T00:00:00Z"))[1]["data"]) == 7
    for wrong in ("limit=0", "limit=101", "limit=x", "cursor=x", "createdFrom=today"):
        assert (await shop.call("GET", f"/v1/checkouts?{wrong}"))[0] == 422
    await shop.force("pay", reference="r3")
    await shop.force("pay", reference="r1", paidAt="2026-01-01T00:00:00Z")
    _, paid = await shop.call("GET", "/v1/transactions")
    assert [row["reference"] for row in paid["data"]] == ["r1", "r3"]
    assert [row["id"] for row in (await shop.call("GET", "/v1/checkouts?reference=r3"))[1]["data"]] == [
        made[3]
    ]


async def test_refunds_never_exceed_what_came_unless_forced(shop: Shop) -> None:
    checkout = await shop.started()
    transaction = (await shop.force("pay"))["transaction"]["id"]
    status, refund = await shop.refund(transaction, 600, "r1")
    assert (status, refund["status"]) == (201, "succeeded")
    assert await shop.refund(transaction, 600, "r1") == (201, refund)
    assert (await shop.refund(transaction, 600, "r2"))[1]["error"]["code"] == "refund_exceeds_available"
    assert (await shop.ask(checkout))["transaction"]["amountRefunded"] == 600
    await shop.control("refund_mode", {"status": "pending"})
    pending = (await shop.refund(transaction, 400, "r3"))[1]
    assert (await shop.refund(transaction, 1, "r4"))[0] == 409
    await shop.control("outcomes", {"refund": pending["id"], "outcome": "succeed"})
    assert (await shop.ask(checkout))["status"] == "refunded"
    assert (await shop.call("GET", f"/v1/refunds/{pending['id']}"))[1]["status"] == "succeeded"
    assert len((await shop.call("GET", f"/v1/refunds?transaction={transaction}"))[1]["data"]) == 2
    await shop.control("refund_mode", {"status": "succeeded"})
    await shop.force("refund", amount=50)
    assert (await shop.ask(checkout))["transaction"]["amountRefunded"] == 1_050
    await until(lambda: shop.types().count("refund.succeeded") == 3)


async def test_webhooks_are_tried_again_until_they_are_taken(shop: Shop) -> None:
    shop.answers = [500, 302]
    await shop.started()
    await shop.force("pay")
    await until(lambda: len(shop.received) == 3)
    assert len({body for _, body in shop.received}) == 1
    log = await until(lambda: _attempts(shop, 3))
    assert [(row["attempt"], row["result"]) for row in log] == [(1, 500), (2, 302), (3, 200)]
    await shop.control("webhooks/resend", {"event": log[0]["event"]})
    await until(lambda: len(shop.received) == 4)
    assert shop.received[3] == shop.received[0]


async def _attempts(shop: Shop, number: int) -> list[dict[str, Any]]:
    log = (await shop.objects())["webhookAttempts"]
    return log if len(log) == number else []


async def test_the_record_file_brings_everything_back(shop: Shop, tmp_path: Any) -> None:
    path = tmp_path / "sandbox.jsonl"
    first = await start_simulator("sandbox", record_file=path)
    shop.base = first.base_url
    await shop.control(
        "accounts", {"account": "acct_two", "secretKey": "sk_two", "webhookSecret": "whsec_two"}
    )
    await shop.started("kept")
    await shop.force("pay", reference="kept")
    paid = (await shop.objects())["transactions"][0]["id"]
    await shop.refund(paid, 300, "r")
    await shop.started("slow")
    await shop.force("process", reference="slow", afterSeconds=1)
    before, stored = await shop.objects(), await shop.start("kept")
    await first.stop()
    path.write_bytes(path.read_bytes() + b'{"kind":"checkout","obj')
    second = await start_simulator("sandbox", record_file=path)
    shop.base = second.base_url
    after = await shop.objects()
    kept = [row | {"url": ""} for row in before["checkouts"] if row["reference"] == "kept"]
    assert [row | {"url": ""} for row in after["checkouts"] if row["reference"] == "kept"] == kept
    assert after["accounts"] == before["accounts"]
    assert after["refunds"] == before["refunds"]
    assert after["transactions"][0] == before["transactions"][0]
    assert (await shop.start("kept")) == stored
    paid_later = {"type": "checkout.paid", "reference": "slow"}
    await until(lambda: any(_told(body).items() >= paid_later.items() for _, body in shop.received))
    await shop.control("reset", {})
    await second.stop()
    third = await start_simulator("sandbox", record_file=path)
    shop.base = third.base_url
    assert (await shop.objects())["checkouts"] == []
    await third.stop()


def _told(body: bytes) -> dict[str, Any]:
    event = json.loads(body)
    return {"type": event["type"], **event["data"]}


def test_a_shelf_forgets_the_oldest_and_stays_in_order() -> None:
    class Item:
        owner = "me"

        def __init__(self, number: int) -> None:
            self.id, self.at = f"i{number}", number

    gone: list[str] = []
    shelf: Shelf[Item] = Shelf(10, on_evict=lambda item: gone.append(item.id))
    for number in range(23):
        shelf.put(Item(number))
    rows, cursor = shelf.page("me", Window(limit=100))
    assert len(rows) == len(shelf) <= 10
    assert [row.id for row in rows] == [f"i{number}" for number in range(23)][-len(rows) :]
    assert (gone[0], cursor) == ("i0", None)


# --- faults of calls


async def raw(shop: Shop, path: str) -> tuple[int, bytes, Any]:
    auth = {"Authorization": f"Bearer {KEY}"}
    async with shop.http.get(shop.base + path, headers=auth, auto_decompress=False) as answer:
        return answer.status, await answer.read(), answer.headers


def unpacked_size(body: bytes) -> int:
    unpacker = zlib.decompressobj(wbits=31)
    size = 0
    while body:
        size += len(unpacker.decompress(body, 1_000_000))
        body = unpacker.unconsumed_tail
    return size


def is_cut(body: bytes) -> bool:
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    return body.startswith(b'{"id":"chk_')


def is_not_utf8(body: bytes) -> bool:
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    return True


CALL_FAULTS: dict[str, tuple[int, Callable[[bytes], bool]]] = {
    "error500": (500, lambda body: b"internal_error" in body),
    "error502": (502, lambda body: b"bad_gateway" in body),
    "error503": (503, lambda body: b"unavailable" in body),
    "rate_limit429": (429, lambda body: b"rate_limited" in body),
    "unauthorized401": (401, lambda body: b"invalid_key" in body),
    "not_found404": (404, lambda body: b"not_found" in body),
    "html": (200, lambda body: body.startswith(b"<!doctype html>")),
    "truncated": (200, is_cut),
    "empty": (200, lambda body: body == b""),
    "huge": (200, lambda body: len(body) > 50_000_000),
    "wrong_type": (200, lambda body: not isinstance(json.loads(body), dict)),
    "invalid_utf8": (200, is_not_utf8),
    "gzip_bomb": (200, lambda body: len(body) < 1_000_000 < 100_000_000 < unpacked_size(body)),
    "stale": (200, lambda body: json.loads(body)["status"] == "open"),
    "unknown_status": (200, lambda body: json.loads(body)["status"] == "quantum"),
    "slow": (200, lambda body: json.loads(body)["status"] == "paid"),
    "drip": (200, lambda body: json.loads(body)["status"] == "paid"),
}


@pytest.mark.parametrize("kind", CALL_FAULTS)
async def test_a_call_goes_wrong_once_as_planned(shop: Shop, kind: str) -> None:
    path = f"/v1/checkouts/{(await shop.started())['id']}"
    await shop.force("pay")
    fields = {"seconds": {"slow": 0.3, "drip": 0.001}[kind]} if kind in {"slow", "drip"} else {}
    await shop.fault("ask", kind, times=1, **fields)
    began = monotonic()
    status, body, headers = await raw(shop, path)
    assert status == CALL_FAULTS[kind][0]
    assert CALL_FAULTS[kind][1](body)
    assert (monotonic() - began >= 0.3) or not fields
    assert headers["Content-Type"].startswith("text/html" if kind == "html" else "application/json")
    assert await shop.hits() == 1
    assert json.loads((await raw(shop, path))[1])["status"] == "paid"
    assert await shop.hits() == 1


@pytest.mark.parametrize(("kind", "made"), [("outage", 0), ("act_then_drop", 1)])
async def test_a_connection_that_ends_without_an_answer_may_have_acted(
    shop: Shop, kind: str, made: int
) -> None:
    await shop.fault("start", kind, times=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await shop.start()
    assert len((await shop.objects())["checkouts"]) == made
    assert (await shop.start())[0] == 201
    found = await shop.objects()
    assert (len(found["checkouts"]), found["calls"]["start"]) == (1, 2)
    log = (await shop.call("GET", "/_control/calls?limit=10"))[1]["data"]
    assert [(row["fault"], row["status"], row["key"]) for row in log] == [
        (kind, None, "key-ref1"),
        (None, 201, "key-ref1"),
    ]


async def test_an_error_may_hide_that_the_call_acted_or_stick_to_its_key(shop: Shop) -> None:
    await shop.fault("start", "error502", times=1, acts=True)
    assert (await shop.start())[0] == 502
    assert len((await shop.objects())["checkouts"]) == 1
    assert (await shop.start())[0] == 201
    await shop.fault("start", "error500", times=1, stored=True)
    assert [(await shop.start("ref2"))[0] for _ in range(2)] == [500, 500]
    assert (await shop.start("ref2", idem="new"))[0] == 201
    assert len((await shop.objects())["checkouts"]) == 2


@pytest.mark.parametrize("after", [7, "Wed, 21 Oct 2026 07:28:00 GMT", -1, None])
async def test_a_rate_limit_names_its_time_as_told(shop: Shop, after: Any) -> None:
    await shop.fault("any", "rate_limit429", retryAfter=after)
    status, _, headers = await raw(shop, "/v1/account")
    assert (status, headers.get("Retry-After")) == (429, None if after is None else str(after))


async def test_faults_are_aimed_counted_and_taken_back(shop: Shop) -> None:
    one, two = await shop.started("one"), await shop.started("two")
    aimed = await shop.fault("ask", "error500", reference="two", afterCalls=1)
    assert [(await shop.call("GET", f"/v1/checkouts/{c['id']}"))[0] for c in (one, two, two, one)] == [
        200,
        200,
        500,
        200,
    ]
    await shop.control(f"faults/{aimed}", None, "DELETE")
    assert (await shop.ask(two))["status"] == "open"
    half = await shop.fault("account", "error500", chance=50, seed=7)
    answers = [(await shop.call("GET", "/v1/account"))[0] for _ in range(40)]
    assert 5 < answers.count(500) == await shop.hits() < 35
    assert half
    await shop.control("faults", None, "DELETE")
    await shop.fault("ask", "stale")
    assert ((await shop.ask(one))["status"], await shop.hits()) == ("open", 0)
    await shop.control("faults", None, "DELETE")
    assert (await shop.objects())["faults"] == []
    for wrong in (
        {"operation": "ask", "kind": "drop"},
        {"operation": "webhook", "kind": "html"},
        {"kind": "x"},
    ):
        assert (await shop.call("POST", "/_control/faults", {"operation": "ask"} | wrong))[0] == 422
    assert (await shop.call("POST", "/_control/faults", {"operation": "fly", "kind": "html"}))[0] == 422


async def test_a_new_object_is_not_found_for_a_while(shop: Shop) -> None:
    await shop.fault("ask", "not_found404", seconds=1)
    checkout = await shop.started()
    path = f"/v1/checkouts/{checkout['id']}"
    assert (await shop.call("GET", path))[0] == 404
    assert (await shop.call("GET", "/v1/checkouts?reference=ref1"))[1]["data"] == []
    await until(lambda: _status(shop, path, 200))
    assert SystemClock().now() >= parse_rfc3339(checkout["createdAt"]) + SECOND


async def _status(shop: Shop, path: str, status: int) -> bool:
    return (await shop.call("GET", path))[0] == status


async def test_latency_is_added_to_every_call(shop: Shop) -> None:
    await shop.control("latency", {"seconds": 0.2})
    began = monotonic()
    assert (await shop.call("GET", "/v1/account"))[0] == 200
    assert monotonic() - began >= 0.2
    assert (await shop.call("GET", "/_control/health"))[1] == {"status": "ok", "calls": 1}


# --- faults of webhooks


async def test_webhooks_are_dropped_doubled_and_wrongly_signed(shop: Shop) -> None:
    await shop.fault("webhook", "drop", reference="lost")
    await shop.fault("webhook", "duplicate", reference="twice", count=3)
    await shop.fault("webhook", "bad_signature", reference="forged")
    for reference in ("lost", "twice", "forged"):
        await shop.started(reference)
        await shop.force("pay", reference=reference)
    log = await until(lambda: _attempts(shop, 5))
    assert [row["reference"] for row in log if row["result"] == "dropped"] == ["lost"]
    told = [
        (json.loads(body)["data"]["reference"], signature_holds(signature, body))
        for signature, body in shop.received
    ]
    assert sorted(told) == [("forged", False)] + [("twice", True)] * 3
    assert len({body for _, body in shop.received}) == 2
    assert await shop.hits() == 3


async def test_webhooks_come_late_and_in_another_order(shop: Shop) -> None:
    await shop.fault("webhook", "delay", reference="late", seconds=0.4)
    await shop.fault("webhook", "reorder", reference="ref1", times=1)
    await shop.started("late")
    began = monotonic()
    await shop.force("pay", reference="late")
    await shop.started()
    await shop.force("decline")
    await shop.force("pay")
    await until(lambda: len(shop.received) == 3)
    assert monotonic() - began >= 0.4
    told = [_told(body) for _, body in shop.received]
    assert [event["type"] for event in told if event["reference"] == "ref1"] == [
        "checkout.paid",
        "checkout.declined",
    ]


@pytest.mark.parametrize(("fields", "status"), [({}, "open"), ({"outcome": "pay"}, "paid")])
async def test_a_webhook_can_be_there_before_the_answer(
    shop: Shop, fields: dict[str, str], status: str
) -> None:
    await shop.fault("webhook", "early", **fields)
    checkout = await shop.started()
    assert len(shop.received) == 1
    assert signature_holds(*shop.received[0])
    assert checkout["status"] == "open"
    assert (await shop.ask(checkout))["status"] == status


async def test_the_control_api_is_for_this_machine_only() -> None:
    assert not is_loopback("192.0.2.1")
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback(None)

    async def let_in(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    for path, remote, status in (
        ("/_control/reset", "192.0.2.1", 403),
        ("/_control/reset", "127.0.0.1", 204),
        ("/v1/x", "192.0.2.1", 204),
    ):
        request = make_mocked_request("POST", path).clone(remote=remote)
        assert (await control_is_local(request, let_in)).status == status


async def test_stopping_ends_answers_under_way_and_frees_the_port() -> None:
    first = await start_simulator("sandbox")
    port = int(first.base_url.rpartition(":")[2])
    with pytest.raises(OSError):
        await start_simulator("sandbox", port=port)
    async with aiohttp.ClientSession() as http:
        await http.post(
            f"{first.base_url}/_control/faults", json={"operation": "any", "kind": "drip", "seconds": 60}
        )
        async with http.get(f"{first.base_url}/v1/account") as dripping:
            await first.stop()
            with pytest.raises(aiohttp.ClientError):
                await dripping.read()
    again = await start_simulator("sandbox", port=port)
    await again.stop()
