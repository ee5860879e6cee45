"""The Stripe adapter against the Stripe simulator: the whole way of a payment, and every fault on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from paystate.adapters.providers.stripe import Stripe, make
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
from paystate.kit.clock import SECOND, Instant, SystemClock, monotonic
from paystate.kit.money import Money
from paystate.machinery.http import Http
from paystate.simulators import start_simulator

OWNER, KEY, SECRET = "acct_1PaystateTest0001", "sk_test_paystate", "whsec_stripe_paystate"
REFERENCE = "ple0001ple0001ple0001"
DEADLINE_SECONDS = 8


async def until(ready: Callable[[], Any]) -> Any:
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        found = ready()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


class Till:
    """A merchant at the simulator, through the adapter, with a webhook receiver."""

    def __init__(self, base: str, adapter: Stripe, http: aiohttp.ClientSession, hook: str) -> None:
        self.base, self.adapter, self.http, self.hook = base, adapter, http, hook
        self.account = self.with_secrets({"secretKey": KEY, "webhookSecret": SECRET})
        self.made = SystemClock().now()
        self.received: list[tuple[Mapping[str, str], bytes]] = []

    def with_secrets(self, secrets: dict[str, str]) -> Account:
        return Account("con_1", OWNER, live=False, settings={"baseUrl": self.base}, secrets=secrets)

    def request(self, money: Money = Money(1_099, "EUR"), reference: str = REFERENCE) -> bytes:
        order = CheckoutOrder(
            reference=reference,
            money=money,
            description="Two tickets",
            return_url="https://shop.test/ok?s={CHECKOUT_SESSION_ID}",
            cancel_url="https://shop.test/cancel",
            webhook_url="https://shop.test/hook",
            expires_at=Instant(SystemClock().now() + 3_600 * SECOND),
        )
        return self.adapter.prepare(self.account, order)

    async def start(self, key: str = "k1", **given: Any) -> Started:
        return await self.adapter.start(self.account, self.request(**given), idempotency_key=key)

    async def ask(self, started: Started | None = None) -> Verdict:
        checkout_id = None if started is None else started.checkout_id
        return await self.adapter.ask(self.account, Subject(REFERENCE, checkout_id, self.made))

    async def control(self, path: str, **body: Any) -> Any:
        async with self.http.post(f"{self.base}/_control/{path}", json=body) as answer:
            told = await answer.json()
            assert answer.status < 300, told
            return told

    async def force(self, outcome: str, **fields: Any) -> Any:
        return await self.control("outcomes", **({"reference": REFERENCE, "outcome": outcome} | fields))

    async def fault(self, operation: str, kind: str, **fields: Any) -> None:
        await self.control("faults", operation=operation, kind=kind, **fields)

    async def objects(self) -> Any:
        async with self.http.get(f"{self.base}/_control/objects") as answer:
            return await answer.json()

    async def act(self, started: Started, act: str, **fields: str) -> tuple[int, str]:
        url = f"{started.offer.url}/act"
        async with self.http.post(url, data={"act": act} | fields, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "")


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    async def receive(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        own.received.append((headers, await request.read()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator = await start_simulator("stripe")
    outgoing = Http(allow_private=["127.0.0.1/32"])
    async with aiohttp.ClientSession() as http:
        hook = f"http://127.0.0.1:{receiver.addresses[0][1]}/hook"
        own = Till(simulator.base_url, make(outgoing), http, hook)
        await own.control("accounts", account=OWNER, webhookUrl=hook)
        yield own
    await outgoing.close()
    await simulator.stop()
    await receiver.cleanup()


async def test_a_payment_from_its_start_to_its_refund(till: Till) -> None:
    started = await till.start()
    assert (await till.ask(started)).outcome is Outcome.PENDING
    code, location = await till.act(started, "pay_by_card", number="4242 4242 4242 4242", expiry="12/49")
    assert (code, location) == (303, f"https://shop.test/ok?s={started.checkout_id}")
    verdict = await till.ask(started)
    assert (verdict.outcome, verdict.reference, verdict.live) == (Outcome.SUCCEEDED, REFERENCE, False)
    assert (verdict.amount, verdict.currency, verdict.fee, verdict.method) == (1_099, "EUR", 16, "card")
    assert verdict.provider_at is not None
    (paid,) = (await till.objects())["transactions"]
    assert (paid["id"], paid["amount"], paid["currency"]) == (verdict.transaction_id, 1_099, "EUR")
    order = RefundOrder(paid["id"], started.checkout_id, Money(99, "EUR"), "r1")
    refund = await till.adapter.refund(till.account, order)
    assert await till.adapter.refund(till.account, order) == refund
    part = await till.ask(started)
    assert (part.outcome, part.amount_refunded) == (Outcome.SUCCEEDED, 99)
    await till.force("refund")
    assert (await till.ask(started)).outcome is Outcome.REFUNDED
    told = await till.adapter.refunds_of(till.account, paid["id"], None)
    assert [(row.money, row.key) for row in told] == [(Money(99, "EUR"), "r1"), (Money(1_000, "EUR"), None)]
    with pytest.raises(StartRefused):
        await till.adapter.refund(till.account, RefundOrder(paid["id"], None, Money(1, "EUR"), "r2"))


@pytest.mark.parametrize(
    ("money", "outcome"),
    [(Money(500, "JPY"), 500), (Money(1_230, "KWD"), 1_230), (Money(7, "UGX"), 7), (Money(700, "MGA"), 700)],
)
async def test_both_sides_mean_the_same_money(till: Till, money: Money, outcome: int) -> None:
    started = await till.start(money=money)
    (made,) = (await till.objects())["checkouts"]
    assert (made["amount"], made["currency"]) == (outcome, money.currency)
    await till.force("pay")
    verdict = await till.ask(started)
    assert (verdict.amount, verdict.currency) == (outcome, money.currency)


@pytest.mark.parametrize(
    ("acts", "outcome", "detail"),
    [
        (["decline"], Outcome.PENDING, "declined"),
        (["decline", "pay"], Outcome.SUCCEEDED, "paid"),
        (["process"], Outcome.PROCESSING, "processing"),
        (["process", "fail"], Outcome.FAILED, "requires_payment_method"),
        (["process", "pay"], Outcome.SUCCEEDED, "paid"),
        (["fail"], Outcome.FAILED, "requires_payment_method"),
        (["expire"], Outcome.EXPIRED, "expired"),
        (["close"], Outcome.EXPIRED, "expired"),
        (["expire", "pay"], Outcome.SUCCEEDED, "paid"),
        (["pay", "refund"], Outcome.REFUNDED, "refunded"),
    ],
)
async def test_what_was_forced_is_what_is_told(
    till: Till, acts: list[str], outcome: Outcome, detail: str
) -> None:
    started = await till.start()
    for act in acts:
        await till.force(act)
    for asked in (started, None):
        verdict = await till.ask(asked)
        assert (verdict.outcome, verdict.detail, verdict.checkout_id) == (
            outcome,
            detail,
            started.checkout_id,
        )


async def test_lies_about_the_money_are_told_on(till: Till) -> None:
    started = await till.start()
    await till.force("pay", amount=1, currency="JPY", transactionReference="theirs", live=True)
    verdict = await till.ask(started)
    assert (verdict.amount, verdict.currency) == (1, "JPY")
    assert (verdict.reference, verdict.live) == ("theirs", True)
    await till.force("dispute")
    assert (await till.ask(started)).disputed


@pytest.mark.parametrize(
    ("number", "expiry", "outcome", "detail"),
    [
        ("4000000000000002", "1/49", Outcome.PENDING, "declined"),
        ("4000 0000 0000 9995", "12/2049", Outcome.PENDING, "declined"),
        ("4242424242424242", "01/20", Outcome.PENDING, "declined"),
        ("4000000000000259", "12/49", Outcome.SUCCEEDED, "paid"),
        ("42", "12/49", Outcome.PENDING, "open"),
        ("4242424242424242", "soon", Outcome.PENDING, "open"),
    ],
)
async def test_published_cards_do_what_they_are_published_for(
    till: Till, number: str, expiry: str, outcome: Outcome, detail: str
) -> None:
    started = await till.start()
    code, _ = await till.act(started, "pay_by_card", number=number, expiry=expiry)
    assert code == (422 if detail == "open" else 303)
    verdict = await till.ask(started)
    assert (verdict.outcome, verdict.detail) == (outcome, detail)
    assert verdict.disputed == (number == "4000000000000259")


async def test_closing_and_paying_exclude_each_other(till: Till) -> None:
    started = await till.start()
    closed = await till.adapter.close(till.account, Subject(REFERENCE, None, till.made))
    assert (closed.outcome, closed.checkout_id) == (Outcome.CANCELED, started.checkout_id)
    assert (await till.act(started, "pay"))[0] == 409
    assert (await till.adapter.close(till.account, Subject(REFERENCE, started.checkout_id))).outcome is (
        Outcome.EXPIRED
    )
    paid = await till.start("k2", reference="r2")
    await till.force("pay", reference="r2")
    assert (await till.adapter.close(till.account, Subject("r2", paid.checkout_id))).outcome is (
        Outcome.SUCCEEDED
    )


async def test_webhooks_are_signed_and_name_the_checkout(till: Till) -> None:
    started = await till.start()
    await till.force("decline")
    await till.force("pay")
    await till.force("refund")
    await until(lambda: len(till.received) == 5)
    now = SystemClock().now()
    messages = [
        till.adapter.read_webhook(till.account, headers, body, now=now) for headers, body in till.received
    ]
    assert {message.kind for message in messages} == {
        "payment_intent.payment_failed",
        "checkout.session.completed",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    }
    assert len({message.event_id for message in messages}) == 5
    named = {name for message in messages for name in message.named}
    assert {name.reference for name in named} == {REFERENCE}
    assert {name.checkout_id for name in named} == {started.checkout_id, None}


async def test_a_wrongly_signed_webhook_is_refused(till: Till) -> None:
    await till.start()
    await till.fault("webhook", "bad_signature")
    await till.force("expire")
    await until(lambda: till.received)
    headers, body = till.received[0]
    with pytest.raises(SignatureInvalid):
        till.adapter.read_webhook(till.account, headers, body, now=SystemClock().now())


async def test_a_webhook_can_be_there_before_the_answer(till: Till) -> None:
    await till.fault("webhook", "early", outcome="pay")
    started = await till.start()
    assert len(till.received) == 2
    assert (await till.ask(started)).outcome is Outcome.SUCCEEDED


async def test_lists_see_every_session_once_oldest_first(till: Till) -> None:
    made = [(await till.start(f"k{n}", reference=f"r{n}")).checkout_id for n in range(5)]
    await till.force("pay", reference="r3")
    since, seen, cursor = Instant(till.made - 7_200 * SECOND), [], None
    for _ in range(10):
        end = Instant(SystemClock().now() + SECOND)
        page = await till.adapter.list_checkouts(till.account, since=since, until=end, cursor=cursor)
        seen += page.verdicts
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [verdict.checkout_id for verdict in seen] == made
    assert [verdict.outcome for verdict in seen].count(Outcome.SUCCEEDED) == 1


async def test_identity_and_wrong_keys(till: Till) -> None:
    found = await till.adapter.identify(till.account)
    assert (found.account, found.live) == (OWNER, False)
    wrong = till.with_secrets({"secretKey": "sk_test_wrong"})
    with pytest.raises(CredentialsRefused) as told:
        await till.adapter.identify(wrong)
    assert told.value.field == "secretKey"


NO_ANSWERS = [
    ("outage", NoAnswer),
    ("error500", NoAnswer),
    ("error502", NoAnswer),
    ("error503", NoAnswer),
    ("rate_limit429", NoAnswer),
    ("unauthorized401", CredentialsRefused),
    ("not_found404", NotThere),
    ("act_then_drop", NoAnswer),
    ("html", NoAnswer),
    ("truncated", NoAnswer),
    ("empty", NoAnswer),
    ("huge", NoAnswer),
    ("wrong_type", NoAnswer),
    ("invalid_utf8", NoAnswer),
    ("gzip_bomb", NoAnswer),
]


@pytest.mark.parametrize(("kind", "wanted"), NO_ANSWERS)
async def test_no_fault_of_the_proof_call_is_taken_for_an_answer(
    till: Till, kind: str, wanted: type[Exception]
) -> None:
    started = await till.start()
    await till.force("pay")
    await till.fault("ask", kind, times=1)
    with pytest.raises(wanted) as told:
        await till.ask(started)
    assert type(told.value) is wanted
    assert (await till.ask(started)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("kind", "fields", "outcome"),
    [
        ("stale", {}, Outcome.PENDING),
        ("unknown_status", {}, Outcome.UNKNOWN),
        ("slow", {"seconds": 0.1}, Outcome.SUCCEEDED),
        ("drip", {"seconds": 0}, Outcome.SUCCEEDED),
    ],
)
async def test_a_strange_answer_is_still_told_truly(
    till: Till, kind: str, fields: Any, outcome: Outcome
) -> None:
    started = await till.start()
    await till.force("pay")
    await till.fault("ask", kind, times=1, **fields)
    assert (await till.ask(started)).outcome is outcome
    assert (await till.objects())["faults"][0]["hits"] == 1
    assert (await till.ask(started)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(("after", "seconds"), [(7, 7.0), (None, None)])
async def test_a_rate_limit_says_when_to_come_again(till: Till, after: Any, seconds: Any) -> None:
    await till.fault("account", "rate_limit429", retryAfter=after)
    with pytest.raises(NoAnswer) as told:
        await till.adapter.identify(till.account)
    assert (told.value.reason, told.value.retry_after_seconds) == ("rate_limited", seconds)


@pytest.mark.parametrize("kind", ["act_then_drop", "error500", "html", "truncated", "empty"])
async def test_after_a_lost_answer_the_same_start_makes_one_session_only(till: Till, kind: str) -> None:
    await till.fault("start", kind, times=1, acts=True)
    request = till.request()
    with pytest.raises(NoAnswer):
        await till.adapter.start(till.account, request, idempotency_key="k1")
    found = await till.ask()
    started = await till.adapter.start(till.account, request, idempotency_key="k1")
    assert started.checkout_id == found.checkout_id
    assert len((await till.objects())["checkouts"]) == 1


async def test_an_error_kept_under_the_key_leaves_nothing_behind(till: Till) -> None:
    await till.fault("start", "error500", times=1, stored=True)
    request = till.request()
    for _ in range(2):
        with pytest.raises(NoAnswer) as told:
            await till.adapter.start(till.account, request, idempotency_key="k1")
        assert told.value.server_error
    with pytest.raises(NotThere):
        await till.ask()


async def test_a_key_with_other_bytes_is_a_conflict_and_no_refusal(till: Till) -> None:
    await till.start("k1")
    with pytest.raises(NoAnswer) as told:
        await till.start("k1", reference="other")
    assert (told.value.reason, told.value.server_error) == ("conflict", True)
    assert len((await till.objects())["checkouts"]) == 1


@pytest.mark.parametrize("kind", ["act_then_drop", "error502"])
async def test_a_refund_with_a_lost_answer_happens_once(till: Till, kind: str) -> None:
    await till.start()
    paid = (await till.force("pay"))["transaction"]["id"]
    await till.fault("refund", kind, times=1, acts=True)
    order = RefundOrder(paid, None, Money(500, "EUR"), "r1")
    with pytest.raises(NoAnswer):
        await till.adapter.refund(till.account, order)
    assert (await till.adapter.refund(till.account, order)).outcome == "SUCCEEDED"
    assert len(await till.adapter.refunds_of(till.account, paid, None)) == 1


async def test_a_pending_refund_settles_and_can_come_back(till: Till) -> None:
    started = await till.start()
    paid = (await till.force("pay"))["transaction"]["id"]
    await till.control("refund_mode", status="pending")
    order = RefundOrder(paid, None, Money(1_099, "EUR"), "r1")
    refund = await till.adapter.refund(till.account, order)
    assert (refund.outcome, (await till.ask(started)).amount_refunded) == ("PENDING", 0)
    await till.control("outcomes", refund=refund.refund_id, outcome="succeed")
    assert (await till.ask(started)).outcome is Outcome.REFUNDED
    await till.control("outcomes", refund=refund.refund_id, outcome="fail")
    assert (await till.ask(started)).outcome is Outcome.SUCCEEDED
    assert [row.outcome for row in await till.adapter.refunds_of(till.account, paid, None)] == ["FAILED"]
