"""Flutterwave v3 on the wire: the exact bytes we send, every answer of its sheet as a verdict, both kinds of credentials."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.adapters.answering import Answering, answering

from paystate.adapters.providers import load_providers
from paystate.adapters.providers.flutterwave import Flutterwave
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    Closes,
    CredentialsRefused,
    KeepsRefundKeys,
    Lists,
    NoAnswer,
    NotThere,
    RefundOrder,
    Refunds,
    RenewsTokens,
    SendsWebhooks,
    SignatureInvalid,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import DAY, MINUTE, FrozenClock, Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http

KEY, SECRET, REFERENCE = "FLWSECK_TEST-0123456789abcdef-X", "flw-secret-hash-0001", "ple0001ple0001ple0001"
LINK = "https://checkout.flutterwave.com/v3/hosted/pay/flwlnk-01j8hkejppgm821xv8mfxfpgrb"
BY_REFERENCE, LIST = "/v3/transactions/verify_by_reference", "/v3/transactions"
SUBJECT = Subject(REFERENCE, LINK)
NONE = '{"status":"error","message":"No transaction was found for this id","data":null}'
EMPTY = '{"status":"success","message":"ok","meta":{"page_info":{"total":0,"current_page":1,"total_pages":0}},"data":[]}'
NOW = parse_rfc3339("2026-11-20T12:00:00Z")
EVENT = '{"event":"charge.completed","data":{"id":285959875,"tx_ref":"ple-0001","amount":100,"status":"successful"},"event.type":"CARD_TRANSACTION"}'


def transaction(**changes: Any) -> dict[str, Any]:
    return {
        "id": 288200108,
        "tx_ref": REFERENCE,
        "flw_ref": "FLW-MOCK-275407301",
        "amount": 100,
        "currency": "NGN",
        "charged_amount": 100,
        "app_fee": 1.4,
        "merchant_fee": 0,
        "status": "successful",
        "payment_type": "card",
        "created_at": "2020-07-15T14:31:16.000Z",
        "account_id": 17321,
        "meta": None,
        "amount_settled": 98.6,
        "customer": {"id": 216519823, "email": "user@gmail.com"},
        **changes,
    }


def good(data: Any, pages: int | None = None, total: int = 9) -> str:
    meta = (
        {}
        if pages is None
        else {"meta": {"page_info": {"total": total, "current_page": 1, "total_pages": pages}}}
    )
    return json.dumps({"status": "success", "message": "ok", "data": data} | meta)


def bad(message: str) -> str:
    return json.dumps({"status": "error", "message": message, "data": None})


@pytest.fixture
async def wire() -> AsyncIterator[Answering]:
    async with answering() as peer:
        yield peer.on("GET", LIST, EMPTY).on("GET", "/v3/refunds", EMPTY).on("GET", BY_REFERENCE, (404, NONE))


@pytest.fixture
async def flutterwave() -> AsyncIterator[Flutterwave]:
    http = Http(allow_private=["127.0.0.1/32"])
    yield Flutterwave(http, FrozenClock(NOW))
    await http.close()


@pytest.fixture
def account(wire: Answering) -> Account:
    return account_at(wire.url)


@pytest.fixture
def client(wire: Answering) -> Account:
    """An account with a client id and secret."""
    settings = {"clientId": "cid", "mode": "test", "tokenUrl": f"{wire.url}/token"}
    return replace(account_at(wire.url, "", **settings), secrets={"clientSecret": "cs&1"})


def account_at(url: str, key: str = KEY, secret: str = SECRET, **settings: str) -> Account:
    secrets = {"secretKey": key, "webhookSecret": secret}
    return Account("con_1", "acct_1", False, {"baseUrl": f"{url}/", **settings}, secrets)


def order(money: Money, **changes: Any) -> CheckoutOrder:
    given: dict[str, Any] = {
        "reference": REFERENCE,
        "money": money,
        "description": "Order 1",
        "return_url": "https://pay.example/pay/ABC/return",
        "cancel_url": "https://pay.example/pay/ABC/return?from=cancel",
        "webhook_url": "https://pay.example/api/webhooks/flutterwave/con_1",
        "expires_at": None,
    }
    return CheckoutOrder(**given | changes)


async def verdict_of(wire: Answering, flutterwave: Flutterwave, account: Account, **changes: Any) -> Verdict:
    wire.on("GET", BY_REFERENCE, good(transaction(**changes)))
    return await flutterwave.ask(account, SUBJECT)


def test_is_found_and_offers_what_flutterwave_can(flutterwave: Flutterwave) -> None:
    assert isinstance(load_providers(Http())["flutterwave"], Flutterwave)
    for capability in (Lists, Closes, Refunds, SendsWebhooks, RenewsTokens):
        assert isinstance(flutterwave, capability)
    assert not isinstance(flutterwave, KeepsRefundKeys)
    assert set(flutterwave.optional_fields) == set(flutterwave.fields) > flutterwave.secret_fields
    assert flutterwave.optional_fields["baseUrl"] == "https://api.flutterwave.com"
    assert flutterwave.optional_fields["tokenUrl"].startswith("https://idp.flutterwave.com/realms/")


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(15_000, "ZAR"), "150.00"),
        (Money(5, "NGN"), "0.05"),
        (Money(1_500, "XOF"), "1500"),
        (Money(10**15, "UGX"), "1000000000000000"),
    ],
)
def test_prepares_these_very_bytes(flutterwave: Flutterwave, money: Money, amount: str) -> None:
    request = flutterwave.prepare(account_at(""), order(money, expires_at=Instant(NOW + 90 * MINUTE)))
    assert request.decode() == (
        f'{{"tx_ref":"{REFERENCE}","amount":"{amount}","currency":"{money.currency}",'
        '"redirect_url":"https://pay.example/pay/ABC/return",'
        f'"customer":{{"email":"{REFERENCE}@pay.example"}},'
        '"customizations":{"title":"Order 1","description":"Order 1"},"session_duration":90}'
    )


@pytest.mark.parametrize(
    ("left", "minutes"), [(90 * MINUTE + 59_999_999, 90), (30_000_000, 1), (-DAY, 1), (3 * DAY, 1_440)]
)
def test_a_session_ends_with_the_payment(flutterwave: Flutterwave, left: int, minutes: int) -> None:
    wanted = order(Money(100, "NGN"), expires_at=Instant(NOW + left))
    assert json.loads(flutterwave.prepare(account_at(""), wanted))["session_duration"] == minutes
    endless = flutterwave.prepare(account_at(""), order(Money(100, "NGN")))
    assert "session_duration" not in json.loads(endless)


@pytest.mark.parametrize("money", [Money(1_000, "JPY"), Money(1_000, "KWD"), Money(1_000, "HBAR")])
def test_refuses_what_flutterwave_does_not_take(flutterwave: Flutterwave, money: Money) -> None:
    for act in (lambda: flutterwave.check(money), lambda: flutterwave.prepare(account_at(""), order(money))):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "currency_not_supported_by_provider"


async def test_starts_with_the_stored_bytes(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("POST", "/v3/payments", good({"link": LINK}))
    request = flutterwave.prepare(account, order(Money(15_000, "ZAR")))
    started = await flutterwave.start(account, request, idempotency_key="k")
    assert (started.checkout_id, started.offer.kind, started.offer.url) == (LINK, "redirect", LINK)
    assert wire.sent[-1].body == request
    assert wire.sent[-1].headers["Authorization"] == f"Bearer {KEY}"
    assert wire.sent[-1].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 422])
async def test_a_definite_refusal_ends_the_start(
    wire: Answering, flutterwave: Flutterwave, account: Account, status: int
) -> None:
    wire.on("POST", "/v3/payments", (status, bad("tx_ref is required")))
    with pytest.raises(StartRefused, match="tx_ref is required"):
        await flutterwave.start(account, b"{}", idempotency_key="k")


@pytest.mark.parametrize(
    ("status", "body", "reason", "server_error"),
    [
        (400, bad("Duplicate tx_ref"), "conflict", True),
        (400, bad("A transaction with this reference already exists"), "conflict", True),
        (400, "<html>", "unreadable", False),
        (200, "", "unreadable", False),
        (200, good({"link": ""}), "unreadable", False),
        (200, good(None), "unreadable", False),
        (200, bad("no"), "unreadable", False),
        (404, "{}", "not_found", False),
        (429, "{}", "rate_limited", False),
        (503, bad("An error occurred. Please contact support"), "status_503", True),
    ],
)
async def test_every_other_answer_to_a_start_is_none(
    wire: Answering,
    flutterwave: Flutterwave,
    account: Account,
    status: int,
    body: str,
    reason: str,
    server_error: bool,
) -> None:
    wire.on("POST", "/v3/payments", (status, body))
    with pytest.raises(NoAnswer) as silence:
        await flutterwave.start(account, b"{}", idempotency_key="k")
    assert (silence.value.reason, silence.value.server_error) == (reason, server_error)


async def test_the_sample_of_the_sheet_is_proof(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    assert await verdict_of(wire, flutterwave, account) == Verdict(
        outcome=Outcome.SUCCEEDED,
        reference=REFERENCE,
        account="acct_1",
        live=False,
        detail="successful",
        raw_digest=hashlib.sha256(good(transaction()).encode()).hexdigest(),
        checkout_id=LINK,
        amount=10_000,
        currency="NGN",
        transaction_id="288200108",
        method="card",
        fee=140,
        provider_at=parse_rfc3339("2020-07-15T14:31:16Z"),
    )
    assert wire.calls(BY_REFERENCE)[0].query == {"tx_ref": REFERENCE}


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("successful", Outcome.SUCCEEDED),
        ("succeeded", Outcome.SUCCEEDED),
        ("pending", Outcome.PROCESSING),
        ("failed", Outcome.FAILED),
        ("completed", Outcome.UNKNOWN),
        ("success", Outcome.UNKNOWN),
        ("cancelled", Outcome.UNKNOWN),
        ("", Outcome.UNKNOWN),
        ("x" * 99, Outcome.UNKNOWN),
    ],
)
async def test_every_word_of_the_sheet(
    wire: Answering, flutterwave: Flutterwave, account: Account, word: str, outcome: Outcome
) -> None:
    verdict = await verdict_of(wire, flutterwave, account, status=word)
    assert (verdict.outcome, verdict.detail) == (outcome, word[:40])


async def test_a_pending_transaction_needs_no_money(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    verdict = await verdict_of(wire, flutterwave, account, status="pending", amount=None, currency=None)
    assert (verdict.outcome, verdict.amount, verdict.currency) == (Outcome.PROCESSING, None, None)


@pytest.mark.parametrize("status", [400, 404])
async def test_before_the_customer_acts_a_link_of_ours_is_pending_and_any_other_not_there(
    wire: Answering, flutterwave: Flutterwave, account: Account, status: int
) -> None:
    wire.on("GET", BY_REFERENCE, (status, NONE))
    verdict = await flutterwave.ask(account, SUBJECT)
    assert (verdict.outcome, verdict.detail) == (Outcome.PENDING, "no_transaction")
    assert (verdict.reference, verdict.account, verdict.live) == (REFERENCE, "acct_1", False)
    with pytest.raises(NotThere):
        await flutterwave.ask(account, Subject(REFERENCE, None))


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        ('"amount":10', 1_000),
        ('"amount":10.0', 1_000),
        ('"amount":10.10', 1_010),
        ('"amount":"10.10"', 1_010),
        ('"amount":0.1', 10),
        ('"amount":4611686018427.39', 461_168_601_842_739),
        ('"amount":10.123', None),
        ('"amount":1e400', None),
        ('"amount":"NaN"', None),
        ('"amount":null', None),
        ('"amount":"ten"', None),
        ('"charged_amount":10', None),
    ],
)
async def test_amounts_are_major_units_exactly_or_no_answer(
    wire: Answering, flutterwave: Flutterwave, account: Account, money: str, amount: int | None
) -> None:
    data = f'{{"id":1,"tx_ref":"{REFERENCE}","status":"successful","currency":"ngn",{money}}}'
    wire.on("GET", BY_REFERENCE, f'{{"status":"success","data":{data}}}')
    if amount is None:
        with pytest.raises(NoAnswer, match="unreadable"):
            await flutterwave.ask(account, SUBJECT)
    else:
        verdict = await flutterwave.ask(account, SUBJECT)
        assert (verdict.amount, verdict.currency, verdict.fee) == (amount, "NGN", None)


async def test_a_currency_without_minor_units(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    verdict = await verdict_of(wire, flutterwave, account, currency="XOF", amount=1500, app_fee=43.5)
    assert (verdict.amount, verdict.fee) == (1_500, 44)
    with pytest.raises(NoAnswer, match="unreadable"):
        await verdict_of(wire, flutterwave, account, currency="XOF", amount=1500.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"currency": None},
        {"currency": "XXX"},
        {"tx_ref": None},
        {"tx_ref": 5},
        {"status": None},
    ],
)
async def test_a_success_that_lacks_something_is_no_answer(
    wire: Answering, flutterwave: Flutterwave, account: Account, changes: dict[str, Any]
) -> None:
    with pytest.raises(NoAnswer, match="unreadable"):
        await verdict_of(wire, flutterwave, account, **changes)


async def test_says_whose_reference_and_account_the_answer_names(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    assert (await verdict_of(wire, flutterwave, account, tx_ref="other")).reference == "other"
    knowing = account_at(wire.url, accountId="17321")
    assert (await verdict_of(wire, flutterwave, knowing)).account == "17321"
    assert (await verdict_of(wire, flutterwave, knowing, account_id=1)).account == "1"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, "<html>", "unreadable"),
        (400, bad("tx_ref is invalid"), "status_400"),
        (200, "<html>", "unreadable"),
        (200, "", "unreadable"),
        (200, NONE, "unreadable"),
        (200, good(None), "unreadable"),
        (500, "{}", "status_500"),
    ],
)
async def test_what_is_no_answer(
    wire: Answering, flutterwave: Flutterwave, account: Account, status: int, body: str, reason: str
) -> None:
    wire.on("GET", BY_REFERENCE, (status, body))
    with pytest.raises(NoAnswer) as silence:
        await flutterwave.ask(account, SUBJECT)
    assert silence.value.reason == reason
    assert not isinstance(silence.value, NotThere)


def several(wire: Answering, *rows: dict[str, Any]) -> None:
    """The last one is what the question by reference answers; the list has strings for ids and no amounts."""
    wire.on("GET", BY_REFERENCE, good(rows[-1]))
    wire.on("GET", LIST, good([row | {"id": str(row["id"]), "amount": None} for row in rows], 1))
    for row in rows:
        wire.on("GET", f"{LIST}/{row['id']}/verify", good(row))


async def test_two_payments_under_one_reference_are_both_told(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    late = transaction(id=2, amount=50, created_at="2020-07-16T14:31:16.000Z")
    several(wire, transaction(id=1), late, transaction(id=3, status="failed"))
    verdict = await flutterwave.ask(account, SUBJECT)
    assert (verdict.outcome, verdict.transaction_id, verdict.amount) == (Outcome.SUCCEEDED, "1", 10_000)
    assert [(v.transaction_id, v.amount, v.outcome) for v in verdict.further] == [
        ("2", 5_000, Outcome.SUCCEEDED)
    ]
    assert wire.calls(LIST)[0].query["tx_ref"] == REFERENCE


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (("successful", "failed"), Outcome.SUCCEEDED),
        (("failed", "successful"), Outcome.SUCCEEDED),
        (("failed", "pending"), Outcome.PROCESSING),
        (("pending", "failed"), Outcome.PROCESSING),
        (("failed", "quantum"), Outcome.UNKNOWN),
        (("failed", "failed"), Outcome.FAILED),
    ],
)
async def test_the_transaction_that_says_most_speaks(
    wire: Answering, flutterwave: Flutterwave, account: Account, words: tuple[str, ...], outcome: Outcome
) -> None:
    several(wire, *(transaction(id=n, status=word) for n, word in enumerate(words, 1)))
    verdict = await flutterwave.ask(account, SUBJECT)
    assert (verdict.outcome, verdict.further) == (outcome, ())


async def test_rows_of_other_references_are_not_ours(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("GET", LIST, good([transaction(id=9, tx_ref="other"), 17, {"id": 4}], 1))
    verdict = await verdict_of(wire, flutterwave, account)
    assert verdict.further == ()
    assert wire.calls(f"{LIST}/9/verify") == []


def refund(number: int, status: str, amount: Any, of: Any = 288200108, **more: Any) -> dict[str, Any]:
    return {"id": number, "tx_id": of, "status": status, "amount_refunded": amount} | more


@pytest.mark.parametrize(
    ("refunds", "outcome", "back"),
    [
        ([refund(1, "completed", 10.5)], Outcome.SUCCEEDED, 1_050),
        ([refund(1, "completed-momo", 40), refund(2, "completed-mpgs", 60)], Outcome.REFUNDED, 10_000),
        (
            [refund(1, "pending", 100), refund(2, "pending-momo", 1), refund(3, "new", 1)],
            Outcome.SUCCEEDED,
            0,
        ),
        ([refund(1, "failed", 100), refund(2, "completed", 100, of=17)], Outcome.SUCCEEDED, 0),
    ],
)
async def test_what_went_back_is_part_of_the_verdict(
    wire: Answering, flutterwave: Flutterwave, account: Account, refunds: Any, outcome: Outcome, back: int
) -> None:
    wire.on("GET", "/v3/refunds", good(refunds, 1))
    verdict = await verdict_of(wire, flutterwave, account)
    assert (verdict.outcome, verdict.amount_refunded, verdict.amount) == (outcome, back, 10_000)
    assert wire.calls("/v3/refunds")[0].query == {"from": "2020-07-14", "to": "2026-11-21", "page": "1"}


@pytest.mark.parametrize("answer", [(404, "{}"), (400, "{}"), (200, "<html>"), (200, good([{"odd": 1}]))])
async def test_a_payment_is_proved_without_the_list_of_refunds_but_refunds_are_not(
    wire: Answering, flutterwave: Flutterwave, account: Account, answer: tuple[int, str]
) -> None:
    wire.on("GET", "/v3/refunds", answer)
    assert (await verdict_of(wire, flutterwave, account)).outcome is Outcome.SUCCEEDED
    wire.on("GET", f"{LIST}/288200108/verify", good(transaction()))
    with pytest.raises(NoAnswer) as silence:
        await flutterwave.refunds_of(account, "288200108", LINK)
    assert not isinstance(silence.value, NotThere)


async def test_an_outage_of_the_refunds_is_no_answer(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("GET", "/v3/refunds", (503, "{}"))
    with pytest.raises(NoAnswer, match="status_503"):
        await verdict_of(wire, flutterwave, account)


async def test_refunds_of_a_transaction(wire: Answering, flutterwave: Flutterwave, account: Account) -> None:
    pages = {
        "1": [refund(1, "completed", 10.5, comments="k1 Sold out", created_at="2020-07-16T09:18:37.366Z")],
        "2": [refund(2, "failed", "1", created_at="2020-07-17T09:18:37.366Z")],
    }
    wire.on("GET", f"{LIST}/288200108/verify", good(transaction()))
    wire.on("GET", "/v3/refunds", lambda query: (200, good(pages[query["page"]], 2)))
    found = await flutterwave.refunds_of(account, "288200108", None)
    assert [(r.refund_id, r.outcome, r.money, r.key) for r in found] == [
        ("1", "SUCCEEDED", Money(1_050, "NGN"), "k1"),
        ("2", "FAILED", Money(100, "NGN"), None),
    ]


async def test_refunds_in_major_units_with_our_key_in_the_comments(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("POST", f"{LIST}/5708/refund", good(refund(8612, "completed", 10.5, 5708)))
    wanted = RefundOrder("5708", LINK, Money(1_050, "NGN"), "paystate-rf1", "Sold out")
    made = await flutterwave.refund(account, wanted)
    assert wire.sent[-1].body == b'{"amount":10.50,"comments":"paystate-rf1 Sold out"}'
    assert (made.refund_id, made.outcome, made.money, made.key) == (
        "8612",
        "SUCCEEDED",
        Money(1_050, "NGN"),
        "paystate-rf1",
    )
    wire.on("POST", f"{LIST}/5708/refund", (400, bad("Refund amount is above the transaction's")))
    with pytest.raises(StartRefused):
        await flutterwave.refund(account, wanted)


async def test_closes_a_link_nobody_paid(wire: Answering, flutterwave: Flutterwave, account: Account) -> None:
    wire.on("POST", "/v3/payments/link/disable", good(None))
    verdict = await flutterwave.close(account, SUBJECT)
    assert (verdict.outcome, verdict.detail) == (Outcome.CANCELED, "link_disabled")
    assert (
        wire.calls("/v3/payments/link/disable")[0].body
        == json.dumps({"link": LINK}, separators=(",", ":")).encode()
    )
    wire.on("POST", "/v3/payments/link/disable", (400, bad("Link is already disabled")))
    assert (await flutterwave.close(account, SUBJECT)).outcome is Outcome.CANCELED


async def test_a_close_that_may_not_have_happened_is_no_answer(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    for answer in (
        (500, "{}"),
        (400, bad("link is required")),
        (404, bad("Payment link not found")),
        (200, NONE),
    ):
        wire.on("POST", "/v3/payments/link/disable", answer)
        with pytest.raises(NoAnswer):
            await flutterwave.close(account, SUBJECT)


async def test_a_paid_link_is_not_closed_and_one_paid_meanwhile_is_paid(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("GET", BY_REFERENCE, good(transaction()))
    assert (await flutterwave.close(account, SUBJECT)).outcome is Outcome.SUCCEEDED
    assert wire.calls("/v3/payments/link/disable") == []
    wire.on("GET", BY_REFERENCE, (404, NONE), good(transaction()))
    wire.on("POST", "/v3/payments/link/disable", good(None))
    assert (await flutterwave.close(account, SUBJECT)).outcome is Outcome.SUCCEEDED
    assert len(wire.calls("/v3/payments/link/disable")) == 1


async def test_lists_by_days_from_the_last_page(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    times = {"1": ["2026-11-02T09:00:00.000Z", "2026-11-01T23:00:00.000Z"], "2": ["2026-11-01T01:00:00.000Z"]}

    def answer(query: Any) -> tuple[int, str]:
        rows = [transaction(id="989226", tx_ref=at, created_at=at) for at in times[query["page"]]]
        return 200, good([*rows, {"id": 1}], 2, 5)

    wire.on("GET", LIST, answer)
    since, until = parse_rfc3339("2026-11-01T00:00:00Z"), parse_rfc3339("2026-11-02T00:00:00Z")
    last = await flutterwave.list_checkouts(account, since=since, until=until, cursor=None)
    first = await flutterwave.list_checkouts(account, since=since, until=until, cursor=last.next_cursor)
    assert [v.reference for v in (*last.verdicts, *first.verdicts)] == [times["2"][0], times["1"][1]]
    assert first.next_cursor is None
    assert wire.calls(LIST)[0].query == {"from": "2026-11-01", "to": "2026-11-02", "page": "1"}


async def test_identifies_by_a_mark_of_the_key_or_the_account_it_is_told(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("GET", LIST, good([transaction()], 1))
    one = await flutterwave.identify(account)
    assert (one.account, one.live) == (hashlib.sha256(KEY.encode()).hexdigest()[:16], False)
    assert (await flutterwave.identify(account_at(wire.url, "FLWSECK-1-X"))).live is True
    assert (await flutterwave.identify(account_at(wire.url, accountId="17321"))).account == "17321"
    with pytest.raises(CredentialsRefused) as refused:
        await flutterwave.identify(account_at(wire.url, accountId="5"))
    assert refused.value.field == "accountId"


@pytest.mark.parametrize(
    ("settings", "secrets", "field"),
    [
        ({}, {}, "secretKey"),
        ({}, {"secretKey": "sk_test_1"}, "secretKey"),
        ({"clientId": "c"}, {}, "clientSecret"),
        ({}, {"clientSecret": "s"}, "clientId"),
        ({"clientId": "c", "mode": "sandbox"}, {"clientSecret": "s"}, "mode"),
    ],
)
async def test_missing_credentials_are_named_before_anything_is_sent(
    wire: Answering, flutterwave: Flutterwave, account: Account, settings: Any, secrets: Any, field: str
) -> None:
    lacking = replace(account, settings={"baseUrl": wire.url} | settings, secrets=secrets)
    with pytest.raises(CredentialsRefused) as refused:
        await flutterwave.identify(lacking)
    assert (refused.value.field, wire.sent) == (field, [])


async def test_a_refused_key_names_the_field(
    wire: Answering, flutterwave: Flutterwave, account: Account
) -> None:
    wire.on("GET", BY_REFERENCE, (401, bad("Invalid authorization key")))
    with pytest.raises(CredentialsRefused) as refused:
        await flutterwave.ask(account, SUBJECT)
    assert (refused.value.field, len(wire.sent)) == ("secretKey", 1)


TOKEN = '{"access_token":"tok2","expires_in":600,"refresh_expires_in":0,"token_type":"Bearer","scope":"profile email"}'


async def test_trades_a_clients_secret_for_a_token(
    wire: Answering, flutterwave: Flutterwave, account: Account, client: Account
) -> None:
    assert (flutterwave.needs_token(client), flutterwave.needs_token(account)) == (True, False)
    token = await flutterwave.fetch_token(wire.on("POST", "/token", TOKEN) and client)
    assert (token.value, token.lives_seconds) == ("tok2", 600.0)
    assert parse_qs(wire.sent[-1].body.decode()) == {
        "client_id": ["cid"],
        "client_secret": ["cs&1"],
        "grant_type": ["client_credentials"],
    }
    assert wire.sent[-1].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in wire.sent[-1].headers
    identity = await flutterwave.identify(client)
    assert (identity.account, identity.live) == (hashlib.sha256(b"cid").hexdigest()[:16], False)
    assert wire.sent[-1].headers["Authorization"] == "Bearer tok2"


async def test_uses_the_token_it_is_given_and_says_where_that_was_withdrawn(
    wire: Answering, flutterwave: Flutterwave, client: Account
) -> None:
    wire.on("POST", "/token", TOKEN).on("GET", BY_REFERENCE, (404, NONE))
    holding = replace(client, token="tok1")
    await flutterwave.ask(holding, SUBJECT)
    assert [sent.headers["Authorization"] for sent in wire.sent] == ["Bearer tok1"]
    wire.on("GET", BY_REFERENCE, (401, "{}"))
    with pytest.raises(CredentialsRefused) as refused:
        await flutterwave.ask(holding, SUBJECT)
    assert refused.value.field == "clientSecret"
    # Renewing is for who keeps the tokens: an adapter that fetched one itself would fetch one in each process.
    assert wire.calls("/token") == []


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, '{"error":"invalid_client","error_description":"Invalid client"}', "credentials_refused"),
        (401, '{"error":"unauthorized_client"}', "credentials_refused"),
        (401, '{"error":"other"}', "credentials_refused"),
        (400, '{"error":"invalid_request"}', "status_400"),
        (404, "{}", "status_404"),
        (500, "{}", "status_500"),
        (200, '{"access_token":"","expires_in":600}', "unreadable"),
        (200, '{"access_token":"t","expires_in":0}', "unreadable"),
        (200, '{"access_token":"t"}', "unreadable"),
        (200, "<html>", "unreadable"),
    ],
)
async def test_answers_of_the_token_address_never_speak_about_a_checkout(
    wire: Answering, flutterwave: Flutterwave, client: Account, status: int, body: str, reason: str
) -> None:
    wire.on("POST", "/token", (status, body))
    with pytest.raises(NoAnswer) as silence:
        await flutterwave.ask(client, SUBJECT)
    assert silence.value.reason == reason
    assert not isinstance(silence.value, NotThere)
    if isinstance(silence.value, CredentialsRefused):
        assert silence.value.field == "clientSecret"
        assert "cs&1" not in silence.value.answered


def read(flutterwave: Flutterwave, given: str, secret: str, body: str = EVENT) -> Any:
    headers = {"verif-hash": given} if given else {}
    return flutterwave.read_webhook(account_at("", secret=secret), headers, body.encode(), now=NOW)


@pytest.mark.parametrize("secret", [SECRET, f"new-hash {SECRET}", f"{SECRET} new-hash"])
def test_the_shared_secret_lets_a_message_in(flutterwave: Flutterwave, secret: str) -> None:
    message = read(flutterwave, SECRET, secret)
    assert (message.event_id, message.kind, message.authentic) == ("", "charge.completed", True)
    assert [(n.reference, n.checkout_id) for n in message.named] == [("ple-0001", None)]
    altered = read(flutterwave, SECRET, secret, EVENT.replace("100", "999"))
    assert altered.named == message.named


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        ("", SECRET),
        ("flw-secret-hash-0002", SECRET),
        (SECRET + " ", SECRET),
        (SECRET[:-1], SECRET),
        ("", ""),
        (" ", " "),
        (f"new-hash {SECRET}", f"new-hash {SECRET}"),
        ("é", SECRET),
    ],
)
def test_anything_else_does_not(flutterwave: Flutterwave, given: str, secret: str) -> None:
    with pytest.raises(SignatureInvalid):
        read(flutterwave, given, secret)


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"event":1,"data":{}}', '{"data":{}}', '{"event":"x","data":null}']
)
def test_a_body_that_is_no_event_is_malformed(flutterwave: Flutterwave, body: str) -> None:
    with pytest.raises(ValueError):
        read(flutterwave, SECRET, SECRET, body)


def test_names_a_reference_only_if_it_is_a_text(flutterwave: Flutterwave) -> None:
    for data in ("{}", '{"tx_ref":17}', '{"tx_ref":""}', '{"reference":"transfer-1"}'):
        assert (
            read(flutterwave, SECRET, SECRET, f'{{"event":"transfer.completed","data":{data}}}').named == []
        )
