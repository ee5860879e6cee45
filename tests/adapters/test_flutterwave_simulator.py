"""The simulated Flutterwave, asked through the adapter and in the raw: links, many transactions, refunds, tokens, faults."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.steering import Steered, steered, until

from paystate.adapters.providers.flutterwave import Flutterwave, make
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

KEY, SECRET = "FLWSECK_TEST-paystate0123456789abcdef-X", "flw-secret-hash-paystate"
CLIENT, CLIENT_SECRET = "flw-client-paystate", "flw-client-secret-paystate"
TOKEN = "/realms/flutterwave/protocol/openid-connect/token"
REFERENCE = "ple0001ple0001ple0001"
BY_REFERENCE = f"/v3/transactions/verify_by_reference?tx_ref={REFERENCE}"


class Shop:
    """A merchant at the simulated Flutterwave, with a secret key."""

    def __init__(self, peer: Steered) -> None:
        self.peer = peer
        self.flutterwave: Flutterwave = make(peer.http)
        settings = {"baseUrl": peer.base, "tokenUrl": peer.base + TOKEN}
        secrets = {"secretKey": KEY, "webhookSecret": SECRET}
        self.account = Account("con_1", "acct_1", False, settings, secrets)
        self.link: str | None = None

    @property
    def client(self) -> Account:
        """The same merchant with a client's id and secret instead."""
        settings = {**self.account.settings, "clientId": CLIENT, "mode": "test"}
        return replace(self.account, settings=settings, secrets={"clientSecret": CLIENT_SECRET})

    async def start(self, money: Money = Money(15_000, "ZAR"), expires_at: Instant | None = None) -> Started:
        order = CheckoutOrder(
            reference=REFERENCE,
            money=money,
            description="Order 1",
            return_url="http://shop.test/return",
            cancel_url="http://shop.test/cancel",
            webhook_url="",
            expires_at=expires_at,
        )
        request = self.flutterwave.prepare(self.account, order)
        started = await self.flutterwave.start(self.account, request, idempotency_key="k")
        self.link = started.checkout_id
        return started

    async def ask(self, account: Account | None = None) -> Verdict:
        return await self.flutterwave.ask(account or self.account, Subject(REFERENCE, self.link))

    async def close(self) -> Verdict:
        return await self.flutterwave.close(self.account, Subject(REFERENCE, self.link))

    async def raw(self, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any]:
        return await self.peer.call(method, path, body, key)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with steered("flutterwave") as peer:
        yield Shop(peer)


@pytest.mark.parametrize("money", [Money(15_001, "ZAR"), Money(1_500, "XOF"), Money(5, "NGN")])
async def test_a_link_is_paid_and_proved(shop: Shop, money: Money) -> None:
    started = await shop.start(money)
    waiting = await shop.ask()
    assert (waiting.outcome, waiting.detail) == (Outcome.PENDING, "no_transaction")
    status, landing = await shop.peer.press(started.offer.url, "pay")
    assert (status, landing.partition("&transaction_id=")[0]) == (
        303,
        f"http://shop.test/return?status=completed&tx_ref={REFERENCE}",
    )
    paid = await shop.ask()
    assert (paid.outcome, paid.amount, paid.currency) == (Outcome.SUCCEEDED, money.amount, money.currency)
    assert (paid.reference, paid.account, paid.checkout_id, paid.fee) == (
        REFERENCE,
        "acct_1",
        started.checkout_id,
        money.amount * 14 // 1000,
    )
    assert paid.transaction_id == landing.partition("&transaction_id=")[2]
    assert paid.provider_at is not None
    assert abs(paid.provider_at - SystemClock().now()) < MINUTE
    assert [row["amount"] for row in (await shop.peer.objects())["transactions"]] == [money.amount]


@pytest.mark.parametrize(
    ("act", "outcome", "word"),
    [
        ("process", Outcome.PROCESSING, "pending"),
        ("decline", Outcome.FAILED, "failed"),
        ("fail", Outcome.FAILED, "failed"),
        ("expire", Outcome.PENDING, "no_transaction"),
    ],
)
async def test_what_can_happen_to_a_link(shop: Shop, act: str, outcome: Outcome, word: str) -> None:
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
        ({"currency": "USD"}, {"currency": "USD"}),
        ({"transaction": "288200108"}, {"transaction_id": "288200108"}),
        ({"account": "5"}, {"account": "5"}),
    ],
)
async def test_lies_about_the_money_reach_the_verdict(
    shop: Shop, lie: dict[str, Any], told: dict[str, Any]
) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE, **lie)
    knowing = replace(shop.account, settings={**shop.account.settings, "accountId": "17321"})
    verdict = await shop.ask(knowing)
    assert {name: getattr(verdict, name) for name in told} == told


async def test_a_link_paid_twice_after_a_decline_tells_both_payments(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("decline", REFERENCE)
    await shop.peer.force("pay", REFERENCE)
    await shop.peer.force("pay", REFERENCE, amount=7)
    verdict = await shop.ask()
    assert (verdict.amount, [v.amount for v in verdict.further]) == (15_000, [7])
    _, listed = await shop.raw("GET", f"/v3/transactions?tx_ref={REFERENCE}")
    assert [row["status"] for row in listed["data"]] == ["successful", "successful", "failed"]
    assert all(isinstance(row["id"], str) for row in listed["data"])


async def test_asked_again_an_open_link_is_told_again_but_other_money_makes_another(shop: Shop) -> None:
    first = await shop.start()
    assert (await shop.start()).checkout_id == first.checkout_id
    assert len((await shop.peer.objects())["checkouts"]) == 1
    second = await shop.start(Money(5, "ZAR"))
    assert second.checkout_id != first.checkout_id
    await shop.peer.press(first.offer.url, "pay")
    await shop.peer.press(second.offer.url, "pay")
    verdict = await shop.ask()
    assert sorted([verdict.amount or 0, *(v.amount or 0 for v in verdict.further)]) == [5, 15_000]


async def test_a_lost_answer_to_a_start(shop: Shop) -> None:
    await shop.peer.fault("start", "act_then_drop")
    with pytest.raises(NoAnswer) as silence:
        await shop.start()
    assert silence.value.sent
    with pytest.raises(NotThere):
        await shop.ask()
    await shop.start()
    assert (await shop.ask()).outcome is Outcome.PENDING
    assert len((await shop.peer.objects())["checkouts"]) == 1


async def test_a_closed_link_cannot_be_paid(shop: Shop) -> None:
    started = await shop.start()
    assert (await shop.close()).outcome is Outcome.CANCELED
    assert (await shop.close()).outcome is Outcome.CANCELED
    assert (await shop.peer.press(started.offer.url, "pay"))[0] == 409
    [row] = (await shop.peer.objects())["checkouts"]
    assert row["status"] == "closed"


async def test_a_lost_answer_to_a_close_is_closed_the_next_time(shop: Shop) -> None:
    await shop.start()
    await shop.peer.fault("close", "act_then_drop")
    with pytest.raises(NoAnswer):
        await shop.close()
    assert (await shop.close()).outcome is Outcome.CANCELED


@pytest.mark.parametrize(("act", "outcome"), [("pay", Outcome.SUCCEEDED), ("process", Outcome.PROCESSING)])
async def test_money_on_its_way_is_not_closed(shop: Shop, act: str, outcome: Outcome) -> None:
    await shop.start()
    await shop.peer.force(act, REFERENCE)
    assert (await shop.close()).outcome is outcome
    status, _ = await shop.raw("POST", "/v3/payments/link/disable", {"link": shop.link})
    assert status == 400


async def test_a_session_ends_with_the_payment(shop: Shop) -> None:
    await shop.start(expires_at=Instant(SystemClock().now() + 30 * MINUTE + 30_000_000))
    [row] = (await shop.peer.objects())["checkouts"]
    assert row["expiresAt"][:16] > row["createdAt"][:16]
    assert (await shop.ask()).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("outage", "disconnected"),
        ("error500", "status_500"),
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


async def test_busy_refused_stale_missing_and_unheard_of(shop: Shop) -> None:
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
    await shop.peer.fault("ask", "not_found404")
    assert (await shop.ask()).outcome is Outcome.PENDING
    await shop.peer.fault("ask", "unknown_status", times=3)
    unheard = await shop.ask()
    assert (unheard.outcome, unheard.detail) == (Outcome.UNKNOWN, "quantum")


async def test_refunds_in_part_and_in_full(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    transaction = (await shop.ask()).transaction_id or ""
    order = RefundOrder(transaction, shop.link, Money(5_010, "ZAR"), "key-1", "Sold out")
    made = await shop.flutterwave.refund(shop.account, order)
    assert (made.outcome, made.money, made.key) == ("SUCCEEDED", Money(5_010, "ZAR"), "key-1")
    partly = await shop.ask()
    assert (partly.outcome, partly.amount_refunded) == (Outcome.SUCCEEDED, 5_010)
    await shop.peer.force("refund", REFERENCE)
    wholly = await shop.ask()
    assert (wholly.outcome, wholly.amount, wholly.amount_refunded) == (Outcome.REFUNDED, 15_000, 15_000)
    found = await shop.flutterwave.refunds_of(shop.account, transaction, shop.link)
    assert {(r.money, r.outcome, r.key) for r in found} == {
        (Money(5_010, "ZAR"), "SUCCEEDED", "key-1"),
        (Money(9_990, "ZAR"), "SUCCEEDED", None),
    }
    with pytest.raises(StartRefused):
        await shop.flutterwave.refund(shop.account, order)


async def test_refunds_over_pages_and_after_a_lost_answer(shop: Shop) -> None:
    await shop.start()
    await shop.peer.force("pay", REFERENCE)
    transaction = (await shop.ask()).transaction_id or ""
    for number in range(12):
        order = RefundOrder(transaction, None, Money(1 + number, "ZAR"), f"key-{number}")
        await shop.flutterwave.refund(shop.account, order)
    await shop.peer.control("refund_mode", {"status": "pending"})
    await shop.peer.fault("refund", "act_then_drop")
    with pytest.raises(NoAnswer):
        await shop.flutterwave.refund(shop.account, RefundOrder(transaction, None, Money(7, "ZAR"), "key-12"))
    found = await shop.flutterwave.refunds_of(shop.account, transaction, None)
    assert [r.key for r in found] == [f"key-{number}" for number in range(13)]
    assert found[-1].outcome == "PENDING"
    assert (await shop.ask()).amount_refunded == sum(range(1, 13))


async def test_lists_what_customers_acted_on_oldest_first(shop: Shop) -> None:
    now = SystemClock().now()
    names = [f"ref{number:02d}" for number in range(23)]
    for name in names:
        body = {"tx_ref": name, "amount": "1.50", "currency": "ZAR", "redirect_url": "http://shop.test/"}
        await shop.raw("POST", "/v3/payments", body | {"customer": {"email": "a@b.co"}})
        await shop.peer.force("pay", name)
    await shop.start()
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = await shop.flutterwave.list_checkouts(
            shop.account, since=Instant(now - MINUTE), until=Instant(now + DAY), cursor=cursor
        )
        seen += [verdict.reference for verdict in page.verdicts]
        cursor = page.next_cursor
    assert (seen, cursor) == (names, None)
    none = await shop.flutterwave.list_checkouts(
        shop.account, since=Instant(now - DAY), until=Instant(now - MINUTE), cursor=None
    )
    assert [verdict.reference for verdict in none.verdicts] == []


async def test_webhooks_carry_the_secret_and_tell_success_and_failure_alike(shop: Shop) -> None:
    await shop.peer.control("accounts", {"account": "17321", "webhookUrl": shop.peer.hook})
    await shop.start()
    for outcome in ("decline", "pay", "refund"):
        await shop.peer.force(outcome, REFERENCE)
    await until(lambda: len(shop.peer.received) == 3)
    read = [
        shop.flutterwave.read_webhook(shop.account, headers, body, now=SystemClock().now())
        for headers, body in shop.peer.received
    ]
    assert sorted(message.kind for message in read) == [
        "charge.completed",
        "charge.completed",
        "refund.completed",
    ]
    assert {named.reference for message in read for named in message.named} == {REFERENCE}
    await shop.peer.fault("webhook", "bad_signature")
    await shop.peer.force("pay", REFERENCE)
    await until(lambda: len(shop.peer.received) == 4)
    headers, body = shop.peer.received[-1]
    with pytest.raises(SignatureInvalid):
        shop.flutterwave.read_webhook(shop.account, headers, body, now=SystemClock().now())


async def test_a_client_pays_with_a_token_and_outlives_its_end(shop: Shop) -> None:
    await shop.start()
    token = await shop.flutterwave.fetch_token(shop.client)
    assert token.lives_seconds == 600
    holding = replace(shop.client, token=token.value)
    assert (await shop.ask(holding)).outcome is Outcome.PENDING
    calls = (await shop.peer.objects())["calls"]
    assert calls["token"] == 1
    assert await shop.peer.control("tokens/expire") == {"expired": 1}
    assert (await shop.raw("GET", BY_REFERENCE, key=token.value))[0] == 401
    await shop.peer.force("pay", REFERENCE)
    with pytest.raises(CredentialsRefused):
        await shop.ask(holding)
    renewed = replace(holding, token=(await shop.flutterwave.fetch_token(shop.client)).value)
    assert (await shop.ask(renewed)).outcome is Outcome.SUCCEEDED
    assert (await shop.flutterwave.identify(shop.client)).live is False


async def test_a_token_ends_by_itself(shop: Shop) -> None:
    await shop.peer.control("accounts", {"account": "17321", "extra": {"tokenSeconds": "1"}})
    token = await shop.flutterwave.fetch_token(shop.client)

    async def is_over() -> bool:
        return (await shop.raw("GET", "/v3/transactions", key=token.value))[0] == 401

    assert not await is_over()
    await until(is_over)


async def test_faults_of_the_token_address_are_no_answers_about_a_payment(shop: Shop) -> None:
    await shop.start()
    for kind in ("outage", "error500", "not_found404", "html"):
        await shop.peer.fault("token", kind)
        with pytest.raises(NoAnswer) as silence:
            await shop.ask(shop.client)
        assert not isinstance(silence.value, NotThere)
    wrong = replace(shop.client, secrets={"clientSecret": "guessed"})
    with pytest.raises(CredentialsRefused) as refused:
        await shop.flutterwave.fetch_token(wrong)
    assert refused.value.field == "clientSecret"
    assert "guessed" not in refused.value.answered
    status, answer = await shop.raw("POST", TOKEN, b"client_id=x")
    assert (status, answer["error"]) == (400, "invalid_request")


async def test_the_envelope_and_the_errors_of_the_sheet(shop: Shop) -> None:
    await shop.start()
    status, answer = await shop.raw("GET", BY_REFERENCE)
    assert (status, answer) == (
        404,
        {"status": "error", "message": "No transaction was found for this id", "data": None},
    )
    status, answer = await shop.raw("GET", BY_REFERENCE, key="nobody")
    assert (status, answer["message"]) == (401, "Invalid authorization key")
    await shop.peer.force("process", REFERENCE)
    _, answer = await shop.raw("GET", f"/v3/transactions?tx_ref={REFERENCE}")
    assert (answer["data"][0]["status"], answer["data"][0]["amount"]) == ("pending", None)
    await shop.peer.force("pay", REFERENCE)
    _, answer = await shop.raw("GET", BY_REFERENCE)
    assert (answer["status"], answer["data"]["status"], answer["data"]["amount"]) == (
        "success",
        "successful",
        150,
    )
    assert answer["data"]["account_id"] == 17321
    number = answer["data"]["id"]
    assert (await shop.raw("GET", f"/v3/transactions/{number}/verify"))[1]["data"]["tx_ref"] == REFERENCE
    assert (await shop.raw("GET", "/v3/transactions/1/verify"))[0] == 400
    assert (await shop.raw("GET", "/v3/transactions?from=yesterday"))[0] == 400
    assert (await shop.raw("GET", "/v3/transactions?page=0"))[0] == 400
    assert (await shop.raw("POST", "/v3/payments/link/disable", {"link": "x"}))[0] == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": "1.005"},
        {"amount": None},
        {"currency": "XXX"},
        {"tx_ref": ""},
        {"customer": {}},
    ],
)
async def test_refuses_a_start_that_makes_no_sense(shop: Shop, changes: dict[str, Any]) -> None:
    body = {"tx_ref": "r1", "amount": "1.50", "currency": "ZAR", "redirect_url": "http://shop.test/"}
    status, answer = await shop.raw(
        "POST", "/v3/payments", body | {"customer": {"email": "a@b.co"}} | changes
    )
    assert (status, answer["status"], answer["data"]) == (400, "error", None)
    assert (await shop.peer.objects())["checkouts"] == []
