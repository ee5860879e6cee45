"""The simulated Paystack, asked through the adapter and in the raw: its words, pages, refunds, webhooks and faults."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.adapters.steering import Steered, steered, until

from paystate.adapters.providers.paystack import Paystack, make
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
from paystate.kit.clock import DAY, MINUTE, Instant, SystemClock
from paystate.kit.money import Money

KEY = "sk_test_paystate0123456789abcdef0123456789abcd"
REFERENCE = "ple0001ple0001ple0001"
INITIALIZE, VERIFY = "/transaction/initialize", f"/transaction/verify/{REFERENCE}"


class Shop:
    """A merchant at the simulated Paystack."""

    def __init__(self, peer: Steered) -> None:
        self.peer = peer
        self.paystack: Paystack = make(peer.http)
        self.account = Account("con_1", "acct_1", False, {"baseUrl": peer.base}, {"secretKey": KEY})

    async def start(self, reference: str = REFERENCE, money: Money = Money(15_000, "ZAR")) -> Started:
        order = CheckoutOrder(
            reference=reference,
            money=money,
            description="Order 1",
            return_url="http://shop.test/return",
            cancel_url="http://shop.test/cancel",
            webhook_url="",
            expires_at=None,
        )
        request = self.paystack.prepare(self.account, order)
        return await self.paystack.start(self.account, request, idempotency_key="k")

    async def ask(self, reference: str = REFERENCE) -> Verdict:
        return await self.paystack.ask(self.account, Subject(reference, reference))

    async def raw(self, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any]:
        return await self.peer.call(method, path, body, key)

    async def listed(self, since: Instant, until_: Instant) -> list[list[str]]:
        pages, cursor = [], None
        for _ in range(10):
            page = await self.paystack.list_checkouts(self.account, since=since, until=until_, cursor=cursor)
            pages.append([verdict.reference for verdict in page.verdicts])
            cursor = page.next_cursor
            if cursor is None:
                return pages
        raise AssertionError("the list has no end")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with steered("paystack") as peer:
        yield Shop(peer)


@pytest.mark.parametrize("money", [Money(15_000, "ZAR"), Money(1_500, "XOF"), Money(5_000, "NGN")])
async def test_a_checkout_is_paid_and_proved(shop: Shop, money: Money) -> None:
    started = await shop.start(money=money)
    assert (started.checkout_id, started.offer.kind) == (REFERENCE, "redirect")
    waiting = await shop.ask()
    assert (waiting.outcome, waiting.detail, waiting.reference) == (Outcome.PENDING, "abandoned", REFERENCE)
    assert await shop.peer.press(started.offer.url, "pay") == (
        303,
        f"http://shop.test/return?trxref={REFERENCE}&reference={REFERENCE}",
    )
    paid = await shop.ask()
    assert (paid.outcome, paid.amount, paid.currency) == (Outcome.SUCCEEDED, money.amount, money.currency)
    assert (paid.account, paid.live, paid.method, paid.amount_refunded) == ("acct_1", False, "card", 0)
    assert paid.transaction_id == waiting.transaction_id
    assert int(paid.transaction_id or "") > 2**53
    assert paid.provider_at is not None
    assert abs(paid.provider_at - SystemClock().now()) < MINUTE
    assert [row["amount"] for row in (await shop.peer.objects())["transactions"]] == [money.amount]


@pytest.mark.parametrize(
    ("act", "outcome", "word"),
    [
        ("process", Outcome.PROCESSING, "processing"),
        ("decline", Outcome.FAILED, "failed"),
        ("fail", Outcome.FAILED, "failed"),
        ("expire", Outcome.PENDING, "abandoned"),
    ],
)
async def test_what_can_happen_to_a_checkout(shop: Shop, act: str, outcome: Outcome, word: str) -> None:
    await shop.start()
    await shop.peer.force(act, REFERENCE)
    verdict = await shop.ask()
    assert (verdict.outcome, verdict.detail) == (outcome, word)
    await shop.peer.force("pay", REFERENCE)
    assert (await shop.ask()).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"amount": 14_999}, {"amount": 14_999}),
        ({"amount": 15_001}, {"amount": 15_001}),
        ({"currency": "USD"}, {"currency": "USD"}),
        ({"transactionReference": "other"}, {"reference": "other"}),
        ({"live": True}, {"live": True}),
        ({"transaction": "4099260516"}, {"transaction_id": "4099260516"}),
    ],
)
async def test_every_lie_about_the_money_reaches_the_verdict(
    shop: Shop, lie: dict[str, Any], told: dict[str, Any]
) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE, **lie)
    verdict = await shop.ask()
    assert verdict.outcome is Outcome.SUCCEEDED
    assert {name: getattr(verdict, name) for name in told} == told


async def test_a_reference_is_unique_for_ever(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("fail", REFERENCE)
    with pytest.raises(NoAnswer, match="conflict"):
        await shop.start()
    assert len((await shop.peer.objects())["checkouts"]) == 1


async def test_a_lost_answer_leaves_one_checkout_that_is_found_by_asking(shop: Shop) -> None:
    await shop.peer.fault("start", "act_then_drop")
    with pytest.raises(NoAnswer) as silence:
        await shop.start()
    assert silence.value.sent
    with pytest.raises(NoAnswer, match="conflict"):
        await shop.start()
    assert (await shop.ask()).outcome is Outcome.PENDING
    assert len((await shop.peer.objects())["checkouts"]) == 1


async def test_an_unknown_reference_is_not_there(shop: Shop) -> None:
    with pytest.raises(NotThere):
        await shop.ask("nobody")
    await shop.start()
    await shop.peer.fault("ask", "not_found404")
    with pytest.raises(NotThere):
        await shop.ask()
    assert (await shop.ask()).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("outage", "disconnected"),
        ("error500", "status_500"),
        ("error502", "status_502"),
        ("error503", "status_503"),
        ("html", "unreadable"),
        ("empty", "unreadable"),
        ("truncated", "unreadable"),
        ("wrong_type", "unreadable"),
        ("invalid_utf8", "unreadable"),
        ("gzip_bomb", "encoded"),
        ("huge", "too_large"),
    ],
)
async def test_no_fault_is_an_answer(shop: Shop, kind: str, reason: str) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    await shop.peer.fault("ask", kind)
    with pytest.raises(NoAnswer) as silence:
        await shop.ask()
    assert silence.value.reason == reason
    assert (await shop.ask()).outcome is Outcome.SUCCEEDED


async def test_busy_refused_stale_and_unheard_of(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    await shop.peer.fault("ask", "rate_limit429", retryAfter=7)
    with pytest.raises(NoAnswer) as busy:
        await shop.ask()
    assert busy.value.retry_after_seconds == 7
    await shop.peer.fault("ask", "unauthorized401")
    with pytest.raises(CredentialsRefused) as refused:
        await shop.ask()
    assert refused.value.field == "secretKey"
    await shop.peer.fault("ask", "stale")
    assert (await shop.ask()).outcome is Outcome.PENDING
    await shop.peer.fault("ask", "unknown_status")
    unheard = await shop.ask()
    assert (unheard.outcome, unheard.detail) == (Outcome.UNKNOWN, "quantum")


async def test_refunds_are_queued_and_found_by_our_key(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    transaction = (await shop.ask()).transaction_id or ""
    made = await shop.paystack.refund(
        shop.account, RefundOrder(transaction, REFERENCE, Money(5_000, "ZAR"), "key-1", "Sold out")
    )
    assert (made.outcome, made.money, made.key) == ("PENDING", Money(5_000, "ZAR"), "key-1")
    partly = await shop.ask()
    assert (partly.outcome, partly.amount, partly.amount_refunded) == (Outcome.SUCCEEDED, 15_000, 5_000)
    await shop.peer.force("refund", REFERENCE)
    wholly = await shop.ask()
    assert (wholly.outcome, wholly.amount_refunded, wholly.detail) == (Outcome.REFUNDED, 15_000, "reversed")
    found = await shop.paystack.refunds_of(shop.account, transaction, REFERENCE)
    assert [(r.money, r.outcome, r.key) for r in found] == [
        (Money(5_000, "ZAR"), "SUCCEEDED", "key-1"),
        (Money(10_000, "ZAR"), "SUCCEEDED", "Made on the dashboard"),
    ]
    with pytest.raises(StartRefused, match="invalid_amount"):
        await shop.paystack.refund(shop.account, RefundOrder(transaction, None, Money(1, "ZAR"), "key-2"))


async def test_a_lost_answer_to_a_refund_is_found_again(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    await shop.peer.control("refund_mode", {"status": "pending"})
    transaction = (await shop.ask()).transaction_id or ""
    await shop.peer.fault("refund", "act_then_drop")
    with pytest.raises(NoAnswer):
        await shop.paystack.refund(shop.account, RefundOrder(transaction, None, Money(7, "ZAR"), "key-1"))
    [found] = await shop.paystack.refunds_of(shop.account, transaction, None)
    assert (found.key, found.outcome) == ("key-1", "PENDING")
    assert (await shop.ask()).amount_refunded == 0
    await shop.peer.control("outcomes", {"refund": found.refund_id, "outcome": "fail"})
    [failed] = await shop.paystack.refunds_of(shop.account, transaction, None)
    assert failed.outcome == "FAILED"


async def test_a_dispute_is_seen(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    assert (await shop.ask()).disputed is False
    await shop.peer.force("dispute", REFERENCE)
    verdict = await shop.ask()
    assert (verdict.outcome, verdict.disputed) == (Outcome.SUCCEEDED, True)


async def test_lists_all_pages_oldest_first(shop: Shop) -> None:
    now = SystemClock().now()
    names = [f"ref{number:04d}" for number in range(205)]
    for name in names:
        body = {"email": "a@b.co", "amount": 100, "currency": "ZAR", "reference": name}
        assert (await shop.raw("POST", INITIALIZE, body))[0] == 200
    pages = await shop.listed(Instant(now - MINUTE), Instant(now + DAY))
    assert [name for page in pages for name in page] == names
    assert [len(page) for page in pages] == [5, 100, 100]
    assert await shop.listed(Instant(now - DAY), Instant(now - MINUTE)) == [[]]
    seen: list[str] = []
    query = "use_cursor=true&perPage=100"
    for _ in range(3):
        _, page = await shop.raw("GET", f"/transaction?{query}")
        seen += [row["reference"] for row in page["data"]]
        query = f"use_cursor=true&perPage=100&next={page['meta']['next']}"
    assert (seen, page["meta"]["next"]) == (names[::-1], None)


async def test_identifies_test_and_live_accounts(shop: Shop) -> None:
    identity = await shop.paystack.identify(shop.account)
    assert (identity.live, len(identity.account)) == (False, 16)
    with pytest.raises(CredentialsRefused):
        await shop.paystack.identify(
            Account("c", "", False, {"baseUrl": shop.peer.base}, {"secretKey": "sk_test_other"})
        )
    await shop.peer.control("accounts", {"account": "second", "secretKey": "sk_live_second", "live": True})
    second = Account("c", "", True, {"baseUrl": shop.peer.base}, {"secretKey": "sk_live_second"})
    assert (await shop.paystack.identify(second)).live is True
    await shop.start()
    with pytest.raises(NotThere):
        await shop.paystack.ask(second, Subject(REFERENCE, None))


async def test_webhooks_are_signed_with_the_secret_key(shop: Shop) -> None:
    await shop.peer.control("accounts", {"account": "acct_paystack", "webhookUrl": shop.peer.hook})
    await shop.start()
    await shop.peer.force("decline", REFERENCE)
    await shop.peer.force("pay", REFERENCE)
    await shop.peer.force("refund", REFERENCE, amount=10)
    await shop.peer.force("dispute", REFERENCE)
    await until(lambda: len(shop.peer.received) == 3)
    read = [
        shop.paystack.read_webhook(shop.account, headers, body, now=SystemClock().now())
        for headers, body in shop.peer.received
    ]
    assert sorted(message.kind for message in read) == [
        "charge.dispute.create",
        "charge.success",
        "refund.processed",
    ]
    assert {named.reference for message in read for named in message.named} == {REFERENCE}
    await shop.peer.fault("webhook", "bad_signature")
    await shop.peer.force("refund", REFERENCE, amount=10)
    await until(lambda: len(shop.peer.received) == 4)
    headers, body = shop.peer.received[-1]
    with pytest.raises(SignatureInvalid):
        shop.paystack.read_webhook(shop.account, headers, body, now=SystemClock().now())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "EUR"}, "unsupported_currency"),
        ({"amount": "1.5"}, "invalid_params"),
        ({"amount": 0}, "invalid_params"),
        ({"amount": 150, "currency": "XOF"}, "invalid_params"),
        ({"email": "nobody"}, "invalid_params"),
        ({"reference": "with_underscore"}, "invalid_params"),
    ],
)
async def test_refuses_in_paystacks_words(shop: Shop, changes: dict[str, Any], code: str) -> None:
    body = {"email": "a@b.co", "amount": 100, "currency": "ZAR", "reference": "r1"} | changes
    status, answer = await shop.raw("POST", INITIALIZE, body)
    assert (status, answer["status"], answer["code"]) == (400, False, code)
    assert set(answer) == {"status", "message", "meta", "type", "code"}


async def test_the_envelope_and_the_errors_of_the_sheet(shop: Shop) -> None:
    await shop.start()
    assert (await shop.raw("GET", VERIFY, key="sk_test_nobody"))[1]["message"] == "Invalid key"
    status, answer = await shop.raw("GET", VERIFY)
    assert (status, answer["status"], answer["data"]["status"]) == (200, True, "abandoned")
    assert answer["data"]["gateway_response"] == "The transaction was not completed"
    number = answer["data"]["id"]
    assert (await shop.raw("GET", f"/transaction/{number}"))[1]["data"]["reference"] == REFERENCE
    status, answer = await shop.raw("GET", "/transaction/verify/none")
    assert (status, answer["code"]) == (400, "transaction_not_found")
    assert (await shop.raw("POST", INITIALIZE, b"{"))[0] == 400
    assert (await shop.raw("GET", "/transaction?from=yesterday"))[0] == 400
    status, answer = await shop.raw("GET", "/balance")
    assert answer["data"] == [{"currency": "NGN", "balance": 0}]


async def test_published_test_cards_decide(shop: Shop) -> None:
    started = await shop.start()
    card = {"expiry": "12/39"}
    await shop.peer.press(started.offer.url, "pay_by_card", number="4084 0800 0067 0037", **card)
    assert (await shop.raw("GET", VERIFY))[1]["data"]["gateway_response"] == "Insufficient Funds"
    assert (await shop.ask()).outcome is Outcome.FAILED
    await shop.peer.press(started.offer.url, "pay_by_card", number="4084 0840 8408 4081", **card)
    assert (await shop.ask()).outcome is Outcome.SUCCEEDED
