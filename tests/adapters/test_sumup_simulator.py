"""The simulated SumUp and our adapter, which share no code, over real HTTP: what happens there is what is read here."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from paystate.adapters.providers.sumup import SumUp, make
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    NoAnswer,
    NotThere,
    RefundOrder,
    SignatureInvalid,
    Started,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import SECOND, Instant, SystemClock, monotonic, parse_rfc3339
from paystate.kit.money import Money
from paystate.machinery.http import Http
from paystate.simulators import RunningSimulator, start_simulator

MERCHANT, KEY, SECRET = "MH4H92C7", "sup_sk_paystate", "whsec_sumup_paystate"
REFERENCE = "ref000000000000000001"
PAYS, DECLINES = "5555 4444 3333 1111", "4000 0000 0000 0002"
DEADLINE_SECONDS = 8


class Shop:
    """A merchant of the simulated SumUp, with the adapter and a receiver of webhooks."""

    def __init__(self, simulator: RunningSimulator, http: aiohttp.ClientSession, sumup: SumUp) -> None:
        self.base, self.http, self.sumup = simulator.base_url, http, sumup
        self.hook = ""
        self.received: list[tuple[Mapping[str, str], bytes]] = []
        self.account = Account(
            connection_id="con_1",
            account=MERCHANT,
            live=False,
            settings={"merchantCode": MERCHANT, "baseUrl": self.base},
            secrets={"secretKey": KEY, "webhookSecret": SECRET},
        )

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEY}"}
        sent = None if body is None else json.dumps(body).encode()
        async with self.http.request(method, self.base + path, data=sent, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def control(self, path: str, body: Any) -> Any:
        status, answer = await self.call("POST", f"/_control/{path}", body)
        assert status < 300, answer
        return answer

    async def force(self, outcome: str, **fields: Any) -> Any:
        return await self.control("outcomes", {"reference": REFERENCE, "outcome": outcome} | fields)

    async def fault(self, operation: str, kind: str, **fields: Any) -> None:
        await self.control("faults", {"operation": operation, "kind": kind, "times": 1} | fields)

    def prepared(self, money: Money, reference: str = REFERENCE, until: Instant | None = None) -> bytes:
        back, hook = "http://shop.test/return", self.hook
        return self.sumup.prepare(
            self.account,
            CheckoutOrder(reference, money, "Two tickets", back, back, hook, until),
        )

    async def start(self, money: Money = Money(1010, "EUR"), **more: Any) -> Started:
        request = self.prepared(money, **more)
        return await self.sumup.start(self.account, request, idempotency_key="k")

    async def ask(self, started: Started | None = None) -> Verdict:
        known = None if started is None else started.checkout_id
        return await self.sumup.ask(self.account, Subject(REFERENCE, known))

    async def card(self, started: Started, number: str, expiry: str = "12/99") -> tuple[int, str]:
        form = {"act": "pay_by_card", "number": number, "expiry": expiry, "cvc": "123"}
        async with self.http.post(f"{started.offer.url}/act", data=form) as page:
            return page.status, await page.text()

    async def checkouts(self) -> int:
        return len((await self.call("GET", "/_control/objects"))[1]["checkouts"])


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async def receive(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        own.received.append((headers, await request.read()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator = await start_simulator("sumup")
    http = Http(allow_private=["127.0.0.1/32"])
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        own = Shop(simulator, session, make(http))
        own.hook = f"http://127.0.0.1:{receiver.addresses[0][1]}/hook"
        yield own
    await http.close()
    await simulator.stop()
    await receiver.cleanup()


async def until(ready: Callable[[], Any]) -> Any:
    """Wait for a condition, not for a time."""
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        found = ready()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


# --- the customer's way


async def test_the_published_card_pays(shop: Shop) -> None:
    started = await shop.start()
    async with shop.http.get(started.offer.url) as page:
        assert "EUR 10.10" in await page.text()
    status, text = await shop.card(started, PAYS)
    assert status == 200
    assert 'href="http://shop.test/return"' in text
    verdict = await shop.ask(started)
    assert (verdict.outcome, verdict.reference, verdict.account) == (Outcome.SUCCEEDED, REFERENCE, MERCHANT)
    assert (verdict.amount, verdict.currency, verdict.fee, verdict.method) == (1010, "EUR", 15, "card")
    assert verdict.provider_at is not None
    assert replace(verdict, raw_digest="") == replace(await shop.ask(), raw_digest="")


@pytest.mark.parametrize(("number", "expiry"), [(DECLINES, "12/99"), (PAYS, "01/20")])
async def test_a_declined_card_leaves_a_failed_checkout_that_can_be_paid(
    shop: Shop, number: str, expiry: str
) -> None:
    started = await shop.start()
    _, text = await shop.card(started, number, expiry)
    assert "Declined" in text
    wire = (await shop.call("GET", f"/v0.1/checkouts/{started.checkout_id}"))[1]
    assert (wire["status"], [t["status"] for t in wire["transactions"]]) == ("FAILED", ["FAILED"])
    verdict = await shop.ask(started)
    assert (verdict.outcome, verdict.detail) == (Outcome.PENDING, "declined")
    await shop.card(started, PAYS)
    assert (await shop.ask(started)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("money", "amount"), [(Money(1500, "CLP"), "1500"), (Money(7, "EUR"), "0.07"), (Money(1000, "CHF"), "10")]
)
async def test_amounts_on_the_wire_and_back(shop: Shop, money: Money, amount: str) -> None:
    started = await shop.start(money)
    async with shop.http.get(
        f"{shop.base}/v0.1/checkouts/{started.checkout_id}", headers={"Authorization": f"Bearer {KEY}"}
    ) as answer:
        assert f'"amount":{amount},' in await answer.text()
    await shop.force("pay")
    verdict = await shop.ask(started)
    assert (verdict.amount, verdict.currency) == (money.amount, money.currency)


# --- every outcome


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("pay", Outcome.SUCCEEDED),
        ("decline", Outcome.PENDING),
        ("fail", Outcome.FAILED),
        ("process", Outcome.PROCESSING),
        ("expire", Outcome.EXPIRED),
        ("close", Outcome.EXPIRED),
    ],
)
async def test_every_outcome_is_read(shop: Shop, outcome: str, expected: Outcome) -> None:
    started = await shop.start()
    assert (await shop.ask(started)).outcome is Outcome.PENDING
    await shop.force(outcome)
    assert (await shop.ask(started)).outcome is expected
    assert (await shop.ask()).outcome is expected


async def test_an_open_checkout_ends_at_its_time(shop: Shop) -> None:
    started = await shop.start(until=Instant(SystemClock().now() // SECOND * SECOND))
    assert (await shop.ask(started)).outcome is Outcome.EXPIRED


async def test_lies_are_told_as_they_are(shop: Shop) -> None:
    started = await shop.start()
    at = "2026-01-02T03:04:05Z"
    await shop.force(
        "pay",
        amount=900,
        currency="CHF",
        transactionReference="another",
        account="OTHER",
        transaction="t1",
        paidAt=at,
    )
    verdict = await shop.ask(started)
    assert (verdict.amount, verdict.currency, verdict.transaction_id) == (900, "CHF", "t1")
    assert (verdict.reference, verdict.account) == ("another", "OTHER")
    assert verdict.provider_at == parse_rfc3339(at)


async def test_paid_twice(shop: Shop) -> None:
    started = await shop.start()
    await shop.force("pay")
    await shop.force("pay", amount=500)
    verdict = await shop.ask(started)
    assert (verdict.amount, [v.amount for v in verdict.further]) == (1010, [500])


async def test_disputed(shop: Shop) -> None:
    started = await shop.start()
    await shop.force("pay")
    await shop.force("dispute")
    verdict = await shop.ask(started)
    assert (verdict.outcome, verdict.disputed) == (Outcome.SUCCEEDED, True)


# --- exactly one checkout


async def test_a_start_whose_answer_was_lost_is_found_again(shop: Shop) -> None:
    await shop.fault("start", "act_then_drop")
    with pytest.raises(NoAnswer) as silence:
        await shop.start()
    assert silence.value.sent
    again = await shop.start()
    assert (again.checkout_id, again.offer.url) == ((await shop.ask()).checkout_id, again.offer.url)
    assert again == await shop.start()
    assert await shop.checkouts() == 1


async def test_what_is_not_there_and_refused_starts(shop: Shop) -> None:
    with pytest.raises(NotThere):
        await shop.ask()
    with pytest.raises(NotThere):
        await shop.ask(Started("8f9316a3-cda9-42a9-9771-54d534315676", None))  # type: ignore[arg-type]
    wrong = shop.prepared(Money(1010, "EUR")).replace(b"10.10", b"10.101")
    with pytest.raises(StartRefused, match="INVALID amount"):
        await shop.sumup.start(shop.account, wrong, idempotency_key="k")
    with pytest.raises(StartRefused, match="MISSING merchant_code"):
        await shop.sumup.start(
            shop.account,
            shop.prepared(Money(1010, "EUR")).replace(b"merchant_code", b"x"),
            idempotency_key="k",
        )


# --- closing


async def test_closing(shop: Shop) -> None:
    started = await shop.start()
    subject = Subject(REFERENCE, started.checkout_id)
    assert (await shop.sumup.close(shop.account, subject)).outcome is Outcome.CANCELED
    assert (await shop.ask(started)).outcome is Outcome.EXPIRED


@pytest.mark.parametrize(("before", "after"), [("pay", Outcome.SUCCEEDED), ("process", Outcome.PROCESSING)])
async def test_closing_too_late(shop: Shop, before: str, after: Outcome) -> None:
    started = await shop.start()
    await shop.force(before)
    verdict = await shop.sumup.close(shop.account, Subject(REFERENCE, started.checkout_id))
    assert verdict.outcome is after


# --- refunds


async def _refund(shop: Shop, transaction: str, amount: int) -> Any:
    return await shop.sumup.refund(
        shop.account, RefundOrder(transaction, None, Money(amount, "EUR"), f"k{amount}")
    )


async def test_refunds_in_parts_and_beyond(shop: Shop) -> None:
    started = await shop.start()
    await shop.force("pay")
    transaction = (await shop.ask(started)).transaction_id or ""
    first = await _refund(shop, transaction, 400)
    assert (first.outcome, first.money) == ("SUCCEEDED", Money(400, "EUR"))
    verdict = await shop.ask(started)
    assert (verdict.outcome, verdict.amount_refunded) == (Outcome.SUCCEEDED, 400)
    with pytest.raises(StartRefused, match="INVALID_AMOUNT"):
        await _refund(shop, transaction, 611)
    second = await _refund(shop, transaction, 610)
    verdict = await shop.ask(started)
    assert (verdict.outcome, verdict.amount_refunded) == (Outcome.REFUNDED, 1010)
    listed = await shop.sumup.refunds_of(shop.account, transaction, started.checkout_id)
    assert listed == [first, second]
    with pytest.raises(NoAnswer, match="not_refundable_now"):
        await _refund(shop, transaction, 1)


async def test_a_refund_whose_answer_was_lost_is_seen_in_the_events(shop: Shop) -> None:
    await shop.start()
    await shop.force("pay")
    transaction = (await shop.ask()).transaction_id or ""
    await shop.fault("refund", "act_then_drop")
    with pytest.raises(NoAnswer):
        await _refund(shop, transaction, 400)
    listed = await shop.sumup.refunds_of(shop.account, transaction, None)
    assert [refund.money for refund in listed] == [Money(400, "EUR")]


@pytest.mark.parametrize(("settled", "word"), [("succeed", "SUCCEEDED"), ("fail", "FAILED")])
async def test_a_refund_under_way(shop: Shop, settled: str, word: str) -> None:
    await shop.start()
    await shop.force("pay")
    await shop.control("refund_mode", {"status": "pending"})
    transaction = (await shop.ask()).transaction_id or ""
    made = await _refund(shop, transaction, 400)
    assert made.outcome == "PENDING"
    refund = made.refund_id.rpartition("/")[2]
    await shop.control("outcomes", {"refund": refund, "outcome": settled})
    listed = await shop.sumup.refunds_of(shop.account, transaction, None)
    assert [refund.outcome for refund in listed] == [word]


# --- faults


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("outage", NoAnswer),
        ("error500", NoAnswer),
        ("error503", NoAnswer),
        ("rate_limit429", NoAnswer),
        ("unauthorized401", CredentialsRefused),
        ("not_found404", NotThere),
        ("html", NoAnswer),
        ("truncated", NoAnswer),
        ("empty", NoAnswer),
        ("invalid_utf8", NoAnswer),
        ("gzip_bomb", NoAnswer),
    ],
)
@pytest.mark.parametrize("by_id", [True, False])
async def test_faults_are_no_answers(shop: Shop, kind: str, error: type[NoAnswer], by_id: bool) -> None:
    started = await shop.start()
    await shop.force("pay")
    await shop.fault("ask", kind)
    with pytest.raises(NoAnswer) as silence:
        await shop.ask(started if by_id else None)
    assert type(silence.value) is error
    assert (await shop.ask(started)).outcome is Outcome.SUCCEEDED


async def test_answers_of_a_wrong_type_never_say_anything_about_money(shop: Shop) -> None:
    started = await shop.start()
    await shop.fault("ask", "wrong_type", times=7)
    for _ in range(7):
        with pytest.raises(NoAnswer):
            await shop.ask(started)


async def test_unknown_words(shop: Shop) -> None:
    started = await shop.start()
    await shop.fault("ask", "unknown_status", times=2)
    verdicts = [await shop.ask(started), await shop.ask()]
    assert {(v.outcome, v.detail) for v in verdicts} == {(Outcome.UNKNOWN, "quantum")}
    await shop.force("pay")
    await shop.fault("ask_refund", "unknown_status")
    assert (await shop.ask(started)).outcome is Outcome.UNKNOWN


async def test_a_stale_answer(shop: Shop) -> None:
    started = await shop.start()
    await shop.force("pay")
    await shop.fault("ask", "stale")
    assert (await shop.ask(started)).outcome is Outcome.PENDING


async def test_keys_and_merchants(shop: Shop) -> None:
    identity = await shop.sumup.identify(shop.account)
    assert (identity.account, identity.live) == (MERCHANT, False)
    await shop.control("accounts", {"account": MERCHANT, "live": True})
    assert (await shop.sumup.identify(shop.account)).live
    await shop.control("accounts", {"account": "MOTHER", "secretKey": "sup_sk_2"})
    other = replace(shop.account, secrets={"secretKey": "sup_sk_2", "webhookSecret": ""})
    with pytest.raises(CredentialsRefused) as refused:
        await shop.sumup.identify(other)
    assert refused.value.field == "merchantCode"
    started = await shop.start()
    with pytest.raises(NotThere):
        await shop.sumup.ask(other, Subject(REFERENCE, started.checkout_id))
    with pytest.raises(CredentialsRefused, match="credentials_refused"):
        await shop.sumup.start(other, shop.prepared(Money(1, "EUR")), idempotency_key="k")
    await shop.control("accounts", {"account": MERCHANT, "revoke": [KEY]})
    with pytest.raises(CredentialsRefused) as refused:
        await shop.ask(started)
    assert refused.value.field == "secretKey"


# --- webhooks


@pytest.mark.parametrize(
    ("style", "kind", "authentic"),
    [
        ("plain", "CHECKOUT_STATUS_CHANGED", False),
        ("events", "checkouts.paid", True),
        ("legacy", "checkout.status.updated", True),
    ],
)
async def test_each_generation_of_webhooks_is_understood(
    shop: Shop, style: str, kind: str, authentic: bool
) -> None:
    await shop.control("accounts", {"account": MERCHANT, "extra": {"webhooks": style}})
    started = await shop.start()
    await shop.force("pay")
    headers, body = (await until(lambda: shop.received))[0]
    now = SystemClock().now()
    message = shop.sumup.read_webhook(shop.account, headers, body, now=now)
    assert (message.kind, message.authentic, bool(message.event_id)) == (kind, authentic, authentic)
    assert [named.checkout_id for named in message.named] == [started.checkout_id]
    if authentic:
        with pytest.raises(SignatureInvalid):
            shop.sumup.read_webhook(shop.account, headers, body + b" ", now=now)


async def test_a_bad_signature_is_refused(shop: Shop) -> None:
    await shop.control("accounts", {"account": MERCHANT, "extra": {"webhooks": "events"}})
    await shop.start()
    await shop.fault("webhook", "bad_signature")
    await shop.force("pay")
    headers, body = (await until(lambda: shop.received))[0]
    with pytest.raises(SignatureInvalid):
        shop.sumup.read_webhook(shop.account, headers, body, now=SystemClock().now())


async def test_an_early_webhook_comes_before_the_start_is_answered(shop: Shop) -> None:
    await shop.fault("webhook", "early")
    await shop.start()
    assert len(shop.received) == 1
    assert (await shop.ask()).outcome is Outcome.PENDING


# --- the history


async def test_the_history_in_pages_both_ways(shop: Shop) -> None:
    references = [f"ref{number:018}" for number in range(5)]
    for number, reference in enumerate(references):
        await shop.start(Money(100 + number, "EUR"), reference=reference)
        at = f"2026-01-0{number + 1}T00:00:00Z"
        await shop.force("pay", reference=reference, paidAt=at)
    for order, wanted in (
        ("ascending", [1, 1.01, 1.02, 1.03, 1.04]),
        ("descending", [1.04, 1.03, 1.02, 1.01, 1]),
    ):
        path = f"/v2.1/merchants/{MERCHANT}/transactions/history"
        query, amounts = f"limit=2&order={order}", []
        for _ in range(3):
            status, page = await shop.call("GET", f"{path}?{query}")
            assert status == 200
            amounts += [item["amount"] for item in page["items"]]
            query = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        assert (amounts, query) == (wanted, "")
    path += "?oldest_time=2026-01-02T00:00:00Z&newest_time=2026-01-04T00:00:00Z"
    assert [item["amount"] for item in (await shop.call("GET", path))[1]["items"]] == [1.01, 1.02]
    assert (await shop.call("GET", path + "&statuses[]=FAILED"))[1]["items"] == []
    assert (await shop.call("GET", path + "&limit=0"))[0] == 400


async def test_a_record_file_brings_everything_back(shop: Shop, tmp_path: Any) -> None:
    record = tmp_path / "sumup.jsonl"
    first = await start_simulator("sumup", record_file=record)
    account = replace(shop.account, settings={"merchantCode": MERCHANT, "baseUrl": first.base_url})
    started = await shop.sumup.start(account, shop.prepared(Money(1010, "EUR")), idempotency_key="k")
    await first.stop()
    second = await start_simulator("sumup", record_file=record)
    account = replace(shop.account, settings={"merchantCode": MERCHANT, "baseUrl": second.base_url})
    verdict = await shop.sumup.ask(account, Subject(REFERENCE, started.checkout_id))
    await second.stop()
    assert verdict.outcome is Outcome.PENDING
