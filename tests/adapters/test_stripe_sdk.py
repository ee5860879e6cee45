"""The official Python library of Stripe, unchanged, against the simulator: what works with the one works with the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any
from urllib.request import Request, urlopen

import pytest
import stripe

from paystate.kit.clock import SECOND, SystemClock
from paystate.simulators import RunningSimulator, start_simulator

KEY, SECRET = "sk_test_paystate", "whsec_stripe_paystate"
PROOF = ["payment_intent.latest_charge.balance_transaction"]


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    running = await start_simulator("stripe")
    yield running
    await running.stop()


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[stripe.StripeClient]:
    with closing(stripe.RequestsClient()) as http:
        yield stripe.StripeClient(
            KEY, base_addresses={"api": simulator.base_url}, http_client=http, max_network_retries=0
        )


def order(reference: str = "ref1", **fields: Any) -> dict[str, Any]:
    price = {"currency": "eur", "unit_amount": 1_099, "product_data": {"name": "Two tickets"}}
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": reference,
        "metadata": {"reference": reference},
        "payment_intent_data": {"metadata": {"reference": reference}},
        "success_url": "https://shop.test/ok?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.test/cancel",
    } | fields


def control(simulator: RunningSimulator, path: str, body: dict[str, Any]) -> Any:
    request = Request(f"{simulator.base_url}/_control/{path}", data=json.dumps(body).encode())
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


async def test_a_session_from_its_making_to_its_refund(
    simulator: RunningSimulator, client: stripe.StripeClient
) -> None:
    def shop() -> None:
        sessions = client.v1.checkout.sessions
        made = sessions.create(order(), {"idempotency_key": "k1"})
        assert (made.status, made.payment_status, made.payment_intent) == ("open", "unpaid", None)
        assert made.last_response.headers["Request-Id"].startswith("req_")
        assert sessions.create(order(), {"idempotency_key": "k1"}).id == made.id
        control(simulator, "outcomes", {"reference": "ref1", "outcome": "pay"})
        paid = sessions.retrieve(made.id, {"expand": PROOF})
        assert (paid.status, paid.payment_status, paid.amount_total) == ("complete", "paid", 1_099)
        charge = paid.payment_intent.latest_charge
        assert charge.balance_transaction.net == 1_099 - charge.balance_transaction.fee
        assert charge.metadata["reference"] == "ref1"
        intent = client.v1.payment_intents.retrieve(paid.payment_intent.id)
        assert (intent.status, intent.latest_charge) == ("succeeded", charge.id)
        assert client.v1.charges.retrieve(charge.id).paid is True
        refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
        assert (refund.status, refund.charge) == ("succeeded", charge.id)
        assert client.v1.refunds.retrieve(refund.id).amount == 500
        assert [row.id for row in client.v1.refunds.list({"payment_intent": intent.id}).data] == [refund.id]
        booked = client.v1.balance_transactions.list({"limit": 5})
        assert sorted(row.amount for row in booked.data) == [-500, 1_099]
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.create({"payment_intent": intent.id, "amount": 600})
        client.v1.refunds.create({"charge": charge.id})
        with pytest.raises(stripe.InvalidRequestError) as told:
            client.v1.refunds.create({"payment_intent": intent.id})
        assert told.value.code == "charge_already_refunded"
        assert sessions.retrieve(made.id, {"expand": PROOF}).payment_intent.latest_charge.refunded is True

    await asyncio.to_thread(shop)


async def test_lists_expiry_events_and_the_account(
    simulator: RunningSimulator, client: stripe.StripeClient
) -> None:
    def shop() -> None:
        sessions = client.v1.checkout.sessions
        now = SystemClock().now() // SECOND
        made = [sessions.create(order(f"r{n}", expires_at=now + 3_600)).id for n in range(5)]
        page = sessions.list({"limit": 2, "created": {"gte": now - 60, "lte": now + 60}})
        assert [row.id for row in page.data] == made[:2:-1]
        assert page.has_more is True
        assert [row.id for row in page.auto_paging_iter()] == made[::-1]
        newer = sessions.list({"ending_before": made[1], "limit": 2})
        assert [row.id for row in newer.data] == [made[3], made[2]]
        assert sessions.list({"created": {"gt": now + 3_600}}).data == []
        assert sessions.expire(made[0]).status == "expired"
        with pytest.raises(stripe.InvalidRequestError):
            sessions.expire(made[0])
        assert [row.id for row in sessions.list({"status": "expired"}).data] == [made[0]]
        control(simulator, "outcomes", {"reference": "r1", "outcome": "pay"})
        (done,) = client.v1.events.list({"type": "checkout.session.*", "limit": 1}).data
        assert (done.type, done.data.object.client_reference_id) == ("checkout.session.completed", "r1")
        assert client.v1.accounts.retrieve_current().id == "acct_1PaystateTest0001"
        assert client.v1.balance.retrieve().livemode is False
        assert client.v1.checkout.sessions.line_items.list(made[1]).data[0].amount_total == 1_099

    await asyncio.to_thread(shop)


async def test_refusals_are_the_errors_of_the_library(
    simulator: RunningSimulator, client: stripe.StripeClient
) -> None:
    def shop() -> None:
        sessions = client.v1.checkout.sessions
        sessions.create(order(), {"idempotency_key": "k"})
        with pytest.raises(stripe.IdempotencyError):
            sessions.create(order("other"), {"idempotency_key": "k"})
        with pytest.raises(stripe.AuthenticationError):
            sessions.create(order(), {"api_key": "sk_test_wrong"})
        with pytest.raises(stripe.InvalidRequestError) as told:
            sessions.retrieve("cs_test_none")
        assert (told.value.http_status, told.value.code) == (404, "resource_missing")
        with pytest.raises(stripe.InvalidRequestError):
            sessions.create(order(expires_at=SystemClock().now() // SECOND + 60))
        control(simulator, "faults", {"operation": "account", "kind": "rate_limit429", "times": 1})
        with pytest.raises(stripe.RateLimitError):
            client.v1.balance.retrieve()
        control(simulator, "faults", {"operation": "account", "kind": "error500", "times": 1})
        with pytest.raises(stripe.APIError):
            client.v1.balance.retrieve()

    await asyncio.to_thread(shop)


async def test_the_module_wide_address_works_too(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe, "api_base", simulator.base_url)
    monkeypatch.setattr(stripe, "api_key", KEY)

    def shop() -> None:
        with closing(stripe.RequestsClient()) as http:
            monkeypatch.setattr(stripe, "default_http_client", http)
            made = stripe.checkout.Session.create(**order())
            assert stripe.checkout.Session.retrieve(made.id).client_reference_id == "ref1"

    await asyncio.to_thread(shop)
