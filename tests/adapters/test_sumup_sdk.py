"""SumUp's own Python client (`sumup` 0.4.0, unchanged) against the simulated SumUp, by its `base_url` option alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from paystate.kit.clock import monotonic
from paystate.simulators import start_simulator

sumup = pytest.importorskip("sumup", reason="the SDK is no dependency: pip install sumup==0.4.0")
errors = pytest.importorskip("sumup.errors")

MERCHANT, KEY, SECRET = "MH4H92C7", "sup_sk_paystate", "whsec_sumup_paystate"
DEADLINE_SECONDS = 8


@dataclass
class Desk:
    """The SDK's clients, and what SumUp told the merchant's address."""

    base: str
    http: aiohttp.ClientSession
    client: Any
    hook: str
    received: list[tuple[str, bytes]] = field(default_factory=list)

    async def control(self, path: str, body: Any) -> None:
        async with self.http.post(f"{self.base}/_control/{path}", json=body) as answer:
            assert answer.status < 300

    async def start(self, **more: Any) -> Any:
        fields = {
            "checkout_reference": "sdk-0001",
            "amount": 10.1,
            "currency": "EUR",
            "merchant_code": MERCHANT,
            "description": "Order 1",
            "return_url": self.hook,
            "redirect_url": "http://shop.test/thanks",
            "hosted_checkout": {"enabled": True},
        }
        return await self.client.checkouts.create(**fields | more)

    async def paid(self) -> Any:
        checkout = await self.start()
        await self.control("outcomes", {"checkout": checkout.id, "outcome": "pay"})
        return await self.client.checkouts.get(checkout.id)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async def receive(request: web.Request) -> web.Response:
        signature = request.headers.get("X-SumUp-Webhook-Signature", "")
        own.received.append((signature, await request.read()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator = await start_simulator("sumup")
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        sumup.AsyncSumup(api_key=KEY, base_url=simulator.base_url, timeout=10) as client,
    ):
        hook = f"http://127.0.0.1:{receiver.addresses[0][1]}/hook"
        own = Desk(simulator.base_url, http, client, hook)
        yield own
    await simulator.stop()
    await receiver.cleanup()


async def until(ready: Callable[[], Any]) -> Any:
    """Wait for a condition, not for a time."""
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        if ready():
            return ready()
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


async def test_a_checkout_from_its_start_to_its_payment(desk: Desk) -> None:
    until_ = datetime(2099, 1, 1, tzinfo=UTC)
    checkout = await desk.start(valid_until=until_)
    assert (checkout.status, checkout.amount, checkout.currency) == ("PENDING", 10.1, "EUR")
    assert (checkout.valid_until, checkout.merchant_code) == (until_, MERCHANT)
    async with desk.http.get(checkout.hosted_checkout_url) as page:
        assert page.status == 200
    form = {"act": "pay_by_card", "number": "5555 4444 3333 1111", "expiry": "12/99"}
    async with desk.http.post(f"{checkout.hosted_checkout_url}/act", data=form) as page:
        assert page.status == 200
    found = await desk.client.checkouts.list(checkout_reference="sdk-0001")
    assert [(c.id, c.status) for c in found] == [(checkout.id, "PAID")]
    paid = await desk.client.checkouts.get(checkout.id)
    assert [t.status for t in paid.transactions] == ["SUCCESSFUL"]
    assert paid.transaction_id == paid.transactions[0].id


async def test_a_transaction_its_refund_and_the_history(desk: Desk) -> None:
    paid = await desk.paid()
    transactions = desk.client.transactions
    record = await transactions.get(MERCHANT, id=paid.transaction_id)
    assert (record.amount, record.status, record.fee_amount) == (10.1, "SUCCESSFUL", 0.15)
    by_code = await transactions.get(MERCHANT, transaction_code=paid.transaction_code)
    assert by_code.id == record.id
    await transactions.refund(MERCHANT, paid.transaction_id, amount=4)
    record = await transactions.get(MERCHANT, id=paid.transaction_id)
    assert [(e.type, e.status, e.amount) for e in record.events] == [("REFUND", "REFUNDED", 4)]
    with pytest.raises(errors.UnprocessableEntityError) as refused:
        await transactions.refund(MERCHANT, paid.transaction_id, amount=6.11)
    assert refused.value.problem is not None
    await transactions.refund(MERCHANT, paid.transaction_id)
    history = await transactions.list(MERCHANT, limit=10)
    assert [(row.status, row.refunded_amount) for row in history.items] == [("REFUNDED", 10.1)]
    with pytest.raises(errors.ConflictError):
        await transactions.refund(MERCHANT, paid.transaction_id)


async def test_refusals_are_the_ones_the_client_knows(desk: Desk) -> None:
    checkout = await desk.start()
    with pytest.raises(errors.ConflictError) as refused:
        await desk.start()
    assert refused.value.body.error_code == "DUPLICATED_CHECKOUT"
    with pytest.raises(errors.PermissionDeniedError):
        await desk.start(checkout_reference="sdk-0002", merchant_code="OTHER")
    with pytest.raises(errors.BadRequestError):
        await desk.start(checkout_reference="sdk-0002", amount=0)
    with pytest.raises(errors.NotFoundError):
        await desk.client.checkouts.get("8f9316a3-cda9-42a9-9771-54d534315676")
    await desk.control("outcomes", {"checkout": checkout.id, "outcome": "pay"})
    with pytest.raises(errors.ConflictError) as refused:
        await desk.client.checkouts.deactivate(checkout.id)
    assert refused.value.body.error_code == "CHECKOUT_PROCESSED"
    async with sumup.AsyncSumup(api_key="wrong", base_url=desk.base) as stranger:
        with pytest.raises(errors.AuthenticationError) as refused:
            await stranger.checkouts.get(checkout.id)
    assert refused.value.problem is not None


async def test_ending_a_checkout(desk: Desk) -> None:
    checkout = await desk.start()
    assert (await desk.client.checkouts.deactivate(checkout.id)).status == "EXPIRED"


async def test_the_merchant(desk: Desk) -> None:
    merchant = await desk.client.merchants.get(MERCHANT)
    assert (merchant.merchant_code, merchant.sandbox, merchant.default_currency) == (MERCHANT, True, "EUR")
    with pytest.raises(errors.NotFoundError):
        await desk.client.merchants.get("OTHER")


async def test_its_signed_events_are_accepted_and_lead_to_the_checkout(desk: Desk) -> None:
    await desk.control("accounts", {"account": MERCHANT, "extra": {"webhooks": "events"}})
    paid = await desk.paid()
    signature, body = (await until(lambda: desk.received))[0]
    event = desk.client.parse_event_notification(body, signature, SECRET)
    assert (event.type, event.object.id) == ("checkouts.paid", paid.id)
    assert (await event.fetch_object_async()).status == "PAID"
    with pytest.raises(sumup.events.EventSignatureError):
        desk.client.parse_event_notification(body, signature, "wrong")


async def test_the_waiting_client_reads_the_same(desk: Desk) -> None:
    checkout = await desk.start()

    def read() -> str:
        with sumup.Sumup(api_key=KEY, base_url=desk.base) as client:
            return str(client.checkouts.get(checkout.id).status)

    assert await asyncio.to_thread(read) == "PENDING"
