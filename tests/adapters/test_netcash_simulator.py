"""Netcash against its simulator: a form posted by a browser, postbacks that only name a trace, and faults."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from aiohttp import web

from paystate.adapters.providers.netcash import Netcash, make
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Message,
    NoAnswer,
    NotThere,
    Subject,
    Verdict,
)
from paystate.kit.clock import Instant, monotonic
from paystate.kit.money import Money
from paystate.machinery.http import Http
from paystate.simulators import RunningSimulator, start_simulator
from paystate.simulators.netcash.dialect import ACCOUNT_SERVICE_KEY, SERVICE_KEY

CONNECTION = "con_01jd8x6q4tj3v2m1n0p9r8s7t6"
DEADLINE_SECONDS = 8


async def until(ready: Callable[[], Any]) -> Any:
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        if found := ready():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


class Shop:
    """A merchant with Netcash, the browser of a customer, and the address that is notified."""

    def __init__(
        self, netcash: Netcash, simulator: RunningSimulator, http: aiohttp.ClientSession, hook: str
    ) -> None:
        self.netcash, self.http, self.base, self.hook = netcash, http, simulator.base_url, hook
        self.notified: list[bytes] = []
        self.account = Account(
            CONNECTION,
            "netcash_me",
            live=True,
            settings={
                "serviceKey": SERVICE_KEY,
                "mode": "live",
                "payUrl": f"{self.base}/site/paynow.aspx",
                "baseUrl": self.base,
            },
            secrets={"accountServiceKey": ACCOUNT_SERVICE_KEY},
        )

    async def open(self, reference: str, amount: int = 15_000) -> str:
        """Start, and post the offered form as the customer's browser does; the address of the page."""
        order = CheckoutOrder(
            reference, Money(amount, "ZAR"), "Order 1", self.hook, self.hook, self.hook, None
        )
        request = self.netcash.prepare(self.account, order)
        started = await self.netcash.start(self.account, request, idempotency_key="k")
        return await self.post(started.offer.url, dict(started.offer.fields))

    async def post(self, url: str, fields: dict[str, str]) -> str:
        async with self.http.post(url, data=fields, allow_redirects=False) as answer:
            return answer.headers.get("Location") or await answer.text()

    async def control(self, path: str, method: str = "POST", **body: Any) -> Any:
        async with self.http.request(method, f"{self.base}/_control/{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def force(self, outcome: str, reference: str, **more: Any) -> Any:
        return await self.control("outcomes", outcome=outcome, reference=reference, **more)

    async def message(self, number: int = 1) -> Message:
        await until(lambda: len(self.notified) >= number)
        return self.netcash.read_webhook(self.account, {}, self.notified[number - 1], now=Instant(0))

    async def ask(self, reference: str, *traces: str, known: str | None = None) -> Verdict:
        return await self.netcash.ask(self.account, Subject(reference, known, traces=traces))

    async def trace(self, number: int = 1) -> str:
        trace = (await self.message(number)).named[0].trace
        assert trace is not None
        return trace


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async def receive(request: web.Request) -> web.Response:
        own.notified.append(await request.read())
        return web.Response(text="OK")

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator, client = await start_simulator("netcash"), Http(allow_private=("127.0.0.0/8",))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        hook = f"http://127.0.0.1:{receiver.addresses[0][1]}/hook"
        own = Shop(make(client), simulator, http, hook)
        urls = {"acceptUrl": "http://shop.test/accept", "declineUrl": "http://shop.test/decline"}
        await own.control("accounts", account="acct_netcash", webhookUrl=hook, extra=urls)
        yield own
    await client.close()
    await simulator.stop()
    await receiver.cleanup()


async def test_a_customer_pays_and_the_trace_proves_it(shop):
    page = await shop.open("ref00000000000000001")
    assert (await shop.ask("ref00000000000000001")).outcome is Outcome.PENDING
    async with shop.http.get(page) as shown:
        assert "ZAR 150.00" in await shown.text()
    back = await shop.post(f"{page}/act", {"act": "pay"})
    message = await shop.message()
    assert (message.kind, message.authentic) == ("accepted", False)
    assert message.named[0].reference == "ref00000000000000001"
    trace = await shop.trace()
    assert 'action="http://shop.test/accept"' in back
    assert trace in back
    verdict = await shop.ask("ref00000000000000001", trace)
    assert (verdict.outcome, verdict.amount, verdict.currency) == (Outcome.SUCCEEDED, 15_000, "ZAR")
    assert (verdict.account, verdict.transaction_id, verdict.method) == ("netcash_me", trace, "card")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("pay", Outcome.SUCCEEDED),
        ("decline", Outcome.FAILED),
        ("fail", Outcome.FAILED),
        ("process", Outcome.PROCESSING),
        ("close", Outcome.CANCELED),
    ],
)
async def test_every_outcome(shop, outcome, expected):
    await shop.open("r")
    await shop.force(outcome, "r")
    assert (await shop.ask("r", await shop.trace())).outcome is expected


async def test_what_was_pending_is_paid_under_the_same_trace(shop):
    await shop.open("r")
    await shop.force("process", "r", afterSeconds=0.1)
    first, second = await shop.trace(1), await shop.trace(2)
    assert first == second
    assert (await shop.message(2)).kind == "DEPOSITRECEIPT"
    verdict = await shop.ask("r", second, known=first)
    assert (verdict.outcome, verdict.method, verdict.further) == (Outcome.SUCCEEDED, "bank_eft", ())


async def test_a_trace_of_nobody_is_nothing(shop):
    await shop.open("r")
    await shop.force("process", "r")
    trace = await shop.trace()
    assert (await shop.ask("r", trace)).outcome is Outcome.PROCESSING
    assert (await shop.ask("r", trace[:-4] + "0007", "x")).outcome is Outcome.PENDING


async def test_a_refused_try_and_a_paid_one_have_traces_of_their_own(shop):
    await shop.open("r")
    await shop.force("decline", "r")
    refused = await shop.trace(1)
    assert (await shop.ask("r", refused)).detail == "Insufficient funds"
    await shop.force("pay", "r")
    await shop.force("pay", "r")
    paid, again = await shop.trace(2), await shop.trace(3)
    verdict = await shop.ask("r", again, paid, refused)
    assert len({refused, paid, again}) == 3
    assert [verdict.transaction_id, *(v.transaction_id for v in verdict.further)] == [again, paid]


@pytest.mark.parametrize(
    ("lie", "field", "value"),
    [
        ({"amount": 7_500}, "amount", 7_500),
        ({"account": "acct_else"}, "account", "other"),
        ({"transaction": "t-1"}, "transaction_id", "t-1"),
        ({"transactionReference": "another"}, "outcome", Outcome.PENDING),
    ],
)
async def test_lies_about_the_money_are_told_as_they_are(shop, lie, field, value):
    await shop.open("r")
    await shop.force("pay", "r", **lie)
    assert getattr(await shop.ask("r", await shop.trace()), field) == value


async def test_the_page_complains_as_netcash_does(shop):
    await shop.open("r")
    again = await shop.open("r")
    assert "Duplicate reference" in again
    order = {"m1": SERVICE_KEY, "m2": "x", "p2": "s", "p3": "d", "p4": "10.00", "Budget": "Y"}
    url = f"{shop.base}/site/paynow.aspx"
    assert "R0.00" in await shop.post(url, order | {"p4": "1000"})
    assert "R0.00" in await shop.post(url, order | {"p4": "10,00"})
    assert "Invalid service key" in await shop.post(url, order | {"m1": ACCOUNT_SERVICE_KEY})
    assert "Invalid reference" in await shop.post(url, order | {"p2": "x" * 26})
    assert "missing" in await shop.post(url, order | {"Budget": ""})
    assert "/site/pay/" in await shop.post(url, order)
    assert len((await shop.control("objects", "GET"))["checkouts"]) == 2


async def test_leaving_the_page_claims_a_cancellation_that_the_question_does_not_confirm(shop):
    page = await shop.open("r")
    back = await shop.post(f"{page}/act", {"act": "leave"})
    assert "Cancelled by customer" in back
    assert 'action="http://shop.test/decline"' in back
    assert (await shop.ask("r", page.rpartition("/")[2])).outcome is Outcome.PENDING
    with pytest.raises(NotThere):
        await shop.ask("r", known=page.rpartition("/")[2])


@pytest.mark.parametrize(
    ("fault", "raised"),
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
        ("huge", NoAnswer),
        ("invalid_utf8", NoAnswer),
        ("gzip_bomb", NoAnswer),
    ],
)
async def test_no_fault_is_an_answer(shop, fault, raised):
    await shop.open("r")
    await shop.force("pay", "r")
    trace = await shop.trace()
    await shop.control("faults", operation="ask", kind=fault, reference="r", times=1)
    with pytest.raises(raised):
        await shop.ask("r", known=trace)
    assert (await shop.ask("r", known=trace)).outcome is Outcome.SUCCEEDED


async def test_answers_of_wrong_types_are_none(shop):
    await shop.open("r")
    await shop.force("pay", "r")
    trace = await shop.trace()
    await shop.control("faults", operation="ask", kind="wrong_type", times=7)
    for _ in range(7):
        with pytest.raises(NoAnswer):
            await shop.ask("r", known=trace)


async def test_an_unknown_word_is_unknown_and_an_old_answer_is_old(shop):
    await shop.open("r")
    await shop.force("process", "r")
    trace = await shop.trace()
    await shop.control("faults", operation="ask", kind="unknown_status", times=1)
    assert (await shop.ask("r", trace)).outcome is Outcome.UNKNOWN
    await shop.force("pay", "r")
    await shop.control("faults", operation="ask", kind="stale", times=1)
    assert (await shop.ask("r", trace)).outcome is Outcome.PROCESSING
    assert (await shop.ask("r", trace)).outcome is Outcome.SUCCEEDED


async def test_the_balance_proves_the_account_key(shop):
    identity = await shop.netcash.identify(shop.account)
    assert (identity.live, identity.name) == (True, "Netcash Pay Now")
    wrong = Account("", "", live=False, settings=shop.account.settings, secrets={"accountServiceKey": "no"})
    with pytest.raises(CredentialsRefused):
        await shop.netcash.identify(wrong)


def element(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition("<")[0]


async def test_the_statement_of_a_day_lists_what_was_paid_and_given_back(shop):
    await shop.open("r")
    await shop.force("pay", "r")
    await shop.force("refund", "r", amount=500)
    call = soap_of(shop)
    polling = element(await call("RequestInterimMerchantStatement"), "RequestInterimMerchantStatementResult")
    file = await call("RetrieveMerchantStatement", f"<PollingId>{polling}</PollingId>")
    rows = [line.split("\t") for line in element(file, "RetrieveMerchantStatementResult").splitlines()]
    assert [(row[1], row[4], row[5]) for row in rows] == [
        ("OBL", "0.0000", "+"),
        ("PNC", "150.0000", "+"),
        ("PNR", "5.0000", "-"),
    ]
    assert "<AvailableBalance>145.00<" in await call("GetAvailableBalance")
    assert ">101<" in await call("RequestMerchantStatement", "<FromActionDate>8 October</FromActionDate>")
    assert ">102<" in await call("RetrieveMerchantStatement", "<PollingId>x</PollingId>")


def soap_of(shop: Shop) -> Callable[..., Awaitable[str]]:
    async def call(name: str, more: str = "") -> str:
        body = f"<{name}><ServiceKey>{ACCOUNT_SERVICE_KEY}</ServiceKey>{more}</{name}>"
        headers = {"SOAPAction": f'"http://tempuri.org/INIWS_NIF/{name}"', "Content-Type": "text/xml"}
        async with shop.http.post(f"{shop.base}/NIWS/NIWS_NIF.svc", data=body, headers=headers) as answer:
            return await answer.text()

    return call


async def test_the_form_of_a_notification_has_the_published_fields(shop):
    await shop.open("r")
    await shop.force("pay", "r")
    await shop.message()
    sent = dict(parse_qsl(shop.notified[0].decode(), keep_blank_values=True))
    trace = await shop.trace()
    assert sent == {
        "TransactionAccepted": "true",
        "CardHolderIpAddr": "197.80.1.2",
        "RequestTrace": trace,
        "Reference": "r",
        "Extra1": "",
        "Extra2": CONNECTION,
        "Extra3": "",
        "Amount": "150.00",
        "Method": "1",
        "Reason": "",
    }
