"""Paystack on the wire: the exact bytes we send, every answer of its sheet as a verdict, every signature vector."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.adapters.answering import Answering, answering

from paystate.adapters.providers import load_providers
from paystate.adapters.providers.paystack import Paystack, make
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
    SendsWebhooks,
    SignatureInvalid,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http

KEY = "sk_test_0123456789abcdef0123456789abcdef01234567"
REFERENCE = "ple0001ple0001ple0001"
VERIFY, INITIALIZE = f"/transaction/verify/{REFERENCE}", "/transaction/initialize"
SUBJECT = Subject(REFERENCE, REFERENCE)
EMPTY = (
    '{"status":true,"message":"Retrieved","data":[],"meta":{"total":0,"perPage":100,"page":1,"pageCount":0}}'
)
NOW = parse_rfc3339("2026-11-20T12:00:00Z")

EVENT = '{"event":"charge.success","data":{"id":302961,"domain":"test","status":"success","reference":"ple-0001","amount":50000,"currency":"NGN"}}'
SIGNATURE = (
    "7107b4a61921e161c2f4f5fbc99ab19e00b764f9ebc434a5eeda09a8dfa1e622"
    "edd13ae89889e8209c278e996938c4172e3d5029d8a729e25e8e46bf0170c84d"
)


def transaction(**changes: Any) -> dict[str, Any]:
    """The sample of the sheet, in which the payer bore the fee."""
    return {
        "id": 4099260516,
        "domain": "test",
        "status": "success",
        "reference": REFERENCE,
        "receipt_number": None,
        "amount": 40333,
        "message": None,
        "gateway_response": "Successful",
        "paid_at": "2024-08-22T09:15:02.000Z",
        "created_at": "2024-08-22T09:14:24.000Z",
        "channel": "card",
        "currency": "NGN",
        "metadata": "",
        "fees": 10283,
        "requested_amount": 30050,
        "authorization": {"last4": "4081", "card_type": "visa "},
        "customer": {"id": 181873746, "email": "demo@test.com"},
        **changes,
    }


def good(data: Any, meta: Any = None) -> str:
    return json.dumps({"status": True, "message": "ok", "data": data} | ({"meta": meta} if meta else {}))


def bad(code: str, message: str) -> str:
    return json.dumps(
        {
            "status": False,
            "message": message,
            "meta": {"nextStep": "…"},
            "type": "validation_error",
            "code": code,
        }
    )


@pytest.fixture
async def wire() -> AsyncIterator[Answering]:
    async with answering() as peer:
        yield peer.on("GET", "/refund", EMPTY).on("GET", "/dispute", EMPTY)


@pytest.fixture
async def paystack() -> AsyncIterator[Paystack]:
    http = Http(allow_private=["127.0.0.1/32"])
    yield make(http)
    await http.close()


@pytest.fixture
def account(wire: Answering) -> Account:
    return account_at(wire.url + "/")


def account_at(url: str = "https://api.paystack.co", key: str = KEY, **settings: str) -> Account:
    return Account("con_1", "acct_1", False, {"baseUrl": url, **settings}, {"secretKey": key})


def order(money: Money, **changes: Any) -> CheckoutOrder:
    given: dict[str, Any] = {
        "reference": REFERENCE,
        "money": money,
        "description": "Order 1",
        "return_url": "https://pay.example/pay/ABC/return",
        "cancel_url": "https://pay.example/pay/ABC/return?from=cancel",
        "webhook_url": "https://pay.example/api/webhooks/paystack/con_1",
        "expires_at": None,
    }
    return CheckoutOrder(**given | changes)


async def verdict_of(wire: Answering, paystack: Paystack, account: Account, **changes: Any) -> Verdict:
    wire.on("GET", VERIFY, good(transaction(**changes)))
    return await paystack.ask(account, SUBJECT)


def test_is_found_and_offers_what_paystack_can(paystack: Paystack) -> None:
    assert isinstance(load_providers(Http())["paystack"], Paystack)
    assert isinstance(paystack, Lists)
    assert isinstance(paystack, Refunds)
    assert isinstance(paystack, SendsWebhooks)
    assert not isinstance(paystack, Closes)
    assert not isinstance(paystack, KeepsRefundKeys)
    assert set(paystack.optional_fields) | paystack.secret_fields == set(paystack.fields)
    assert paystack.optional_fields["baseUrl"] == "https://api.paystack.co"


@pytest.mark.parametrize(
    ("money", "wire_amount"),
    [
        (Money(15_000, "ZAR"), "15000"),
        (Money(5_001, "NGN"), "5001"),
        (Money(1_500, "XOF"), "150000"),
        (Money(300, "KES"), "300"),
    ],
)
def test_prepares_these_very_bytes(paystack: Paystack, money: Money, wire_amount: str) -> None:
    assert paystack.prepare(account_at(), order(money)).decode() == (
        f'{{"email":"{REFERENCE}@pay.example","amount":{wire_amount},"currency":"{money.currency}",'
        f'"reference":"{REFERENCE}","callback_url":"https://pay.example/pay/ABC/return",'
        '"metadata":{"cancel_action":"https://pay.example/pay/ABC/return?from=cancel","custom_fields":'
        '[{"display_name":"Description","variable_name":"description","value":"Order 1"}]}}'
    )


def test_the_payers_address_is_the_connections_own_or_reaches_nobody(paystack: Paystack) -> None:
    def address(account: Account, **changes: Any) -> str:
        return str(json.loads(paystack.prepare(account, order(Money(15_000, "ZAR"), **changes)))["email"])

    assert address(account_at(payerEmail="shop@acme.test")) == "shop@acme.test"
    assert address(account_at(), return_url="http://127.0.0.1:8000/r") == f"{REFERENCE}@example.com"
    assert address(account_at(), return_url="http://localhost:8000/r") == f"{REFERENCE}@example.com"


@pytest.mark.parametrize(
    ("money", "code"),
    [
        (Money(1_000, "JPY"), "currency_not_supported_by_provider"),
        (Money(1_000, "EUR"), "currency_not_supported_by_provider"),
        (Money(1_000, "KWD"), "currency_not_supported_by_provider"),
        (Money(4_999, "NGN"), "amount_below_minimum"),
        (Money(199, "USD"), "amount_below_minimum"),
        (Money(9, "GHS"), "amount_below_minimum"),
        (Money(99, "ZAR"), "amount_below_minimum"),
        (Money(299, "KES"), "amount_below_minimum"),
        (Money(0, "XOF"), "amount_below_minimum"),
    ],
)
def test_refuses_what_paystack_does_not_take(paystack: Paystack, money: Money, code: str) -> None:
    for act in (lambda: paystack.check(money), lambda: paystack.prepare(account_at(), order(money))):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == code


def test_takes_the_smallest_amounts(paystack: Paystack) -> None:
    for amount, currency in (
        (5_000, "NGN"),
        (200, "USD"),
        (10, "GHS"),
        (100, "ZAR"),
        (300, "KES"),
        (1, "XOF"),
    ):
        paystack.check(Money(amount, currency))


async def test_starts_with_the_stored_bytes(wire: Answering, paystack: Paystack, account: Account) -> None:
    url = "https://checkout.paystack.com/3ni8kdavz62431k"
    offered = {"authorization_url": url, "access_code": "3ni8kdavz62431k", "reference": REFERENCE}
    wire.on("POST", INITIALIZE, good(offered))
    request = paystack.prepare(account, order(Money(15_000, "ZAR")))
    started = await paystack.start(account, request, idempotency_key="k")
    assert (started.checkout_id, started.offer.kind, started.offer.url) == (REFERENCE, "redirect", url)
    [sent] = wire.sent
    assert sent.body == request
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, bad("unsupported_currency", "Currency not supported by merchant"), "unsupported_currency"),
        (422, bad("invalid_params", "Invalid Email Address Passed"), "invalid_params"),
        (400, '{"status":false,"message":"Invalid Amount Sent"}', "Invalid Amount Sent"),
    ],
)
async def test_a_definite_refusal_ends_the_start(
    wire: Answering, paystack: Paystack, account: Account, status: int, body: str, code: str
) -> None:
    wire.on("POST", INITIALIZE, (status, body))
    with pytest.raises(StartRefused) as refused:
        await paystack.start(account, b'{"reference":"x"}', idempotency_key="k")
    assert refused.value.reason == code


@pytest.mark.parametrize(
    "body",
    [
        bad("duplicate_reference", "Duplicate Transaction Reference"),
        '{"status":false,"message":"Duplicate Transaction Reference"}',
    ],
)
async def test_a_reference_that_exists_is_no_refusal_but_a_lost_answer(
    wire: Answering, paystack: Paystack, account: Account, body: str
) -> None:
    wire.on("POST", INITIALIZE, (400, body))
    with pytest.raises(NoAnswer) as silence:
        await paystack.start(account, b'{"reference":"x"}', idempotency_key="k")
    assert (silence.value.reason, silence.value.server_error) == ("conflict", True)
    assert (
        await verdict_of(wire, paystack, account, status="abandoned", amount=None)
    ).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, "<html>", "unreadable"),
        (400, '{"status":true}', "unreadable"),
        (200, "", "unreadable"),
        (200, '{"status":false,"message":"no"}', "unreadable"),
        (200, '{"status":true,"data":{"authorization_url":"","reference":"x"}}', "unreadable"),
        (200, '{"status":true,"data":{"authorization_url":"https://a/b","reference":"other"}}', "unreadable"),
        (200, '{"status":true,"data":[]}', "unreadable"),
        (404, '{"status":false,"message":"Entity not found"}', "not_found"),
        (429, "{}", "rate_limited"),
        (502, "<html>", "status_502"),
    ],
)
async def test_every_other_answer_to_a_start_is_none(
    wire: Answering, paystack: Paystack, account: Account, status: int, body: str, reason: str
) -> None:
    wire.on("POST", INITIALIZE, (status, body))
    with pytest.raises(NoAnswer) as silence:
        await paystack.start(account, b'{"reference":"x"}', idempotency_key="k")
    assert silence.value.reason == reason


async def test_the_sample_of_the_sheet_is_proof(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    verdict = await verdict_of(wire, paystack, account)
    raw = good(transaction()).encode()
    assert verdict == Verdict(
        outcome=Outcome.SUCCEEDED,
        reference=REFERENCE,
        account="acct_1",
        live=False,
        detail="success",
        raw_digest=hashlib.sha256(raw).hexdigest(),
        checkout_id=REFERENCE,
        amount=30_050,
        currency="NGN",
        transaction_id="4099260516",
        method="card",
        fee=10_283,
        provider_at=parse_rfc3339("2024-08-22T09:15:02Z"),
    )


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("abandoned", Outcome.PENDING),
        ("ongoing", Outcome.PENDING),
        ("pending", Outcome.PROCESSING),
        ("processing", Outcome.PROCESSING),
        ("queued", Outcome.PROCESSING),
        ("success", Outcome.SUCCEEDED),
        ("failed", Outcome.FAILED),
        ("reversed", Outcome.REFUNDED),
        ("paid", Outcome.UNKNOWN),
        ("", Outcome.UNKNOWN),
        ("Success", Outcome.UNKNOWN),
        ("x" * 99, Outcome.UNKNOWN),
    ],
)
async def test_every_word_of_the_sheet(
    wire: Answering, paystack: Paystack, account: Account, word: str, outcome: Outcome
) -> None:
    verdict = await verdict_of(wire, paystack, account, status=word)
    assert (verdict.outcome, verdict.detail) == (outcome, word[:40])


@pytest.mark.parametrize("word", ["abandoned", "ongoing", "failed"])
async def test_unpaid_answers_need_no_money(
    wire: Answering, paystack: Paystack, account: Account, word: str
) -> None:
    changes = {"amount": None, "requested_amount": None, "currency": None, "paid_at": None, "fees": None}
    verdict = await verdict_of(wire, paystack, account, status=word, **changes, channel=None)
    assert (verdict.amount, verdict.currency, verdict.provider_at, verdict.method) == (None, None, None, None)


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        ('"amount":1000', 1_000),
        ('"amount":1000.0', 1_000),
        ('"amount":"1000"', 1_000),
        ('"amount":"1000.00"', 1_000),
        ('"amount":10.10', None),
        ('"amount":"10.10"', None),
        ('"amount":1e3', 1_000),
        ('"amount":1e400', None),
        ('"amount":1e-400', None),
        ('"amount":"NaN"', None),
        ('"amount":"a lot"', None),
        ('"amount":true', None),
        ('"amount":null', None),
        ('"other":1', None),
        ('"amount":1000,"requested_amount":1000', 1_000),
        ('"amount":1015,"requested_amount":1000,"fees":15', 1_000),
        ('"amount":999,"requested_amount":1000,"fees":15', 999),
        ('"amount":1020,"requested_amount":1000,"fees":15', 1_020),
        ('"amount":1015,"requested_amount":1000,"fees":null', 1_015),
    ],
)
async def test_amounts_are_whole_hundredths_or_no_answer(
    wire: Answering, paystack: Paystack, account: Account, money: str, amount: int | None
) -> None:
    data = f'{{"id":1,"domain":"test","status":"success","reference":"{REFERENCE}","currency":"ngn",{money}}}'
    wire.on("GET", VERIFY, f'{{"status":true,"data":{data}}}')
    if amount is None:
        with pytest.raises(NoAnswer, match="unreadable"):
            await paystack.ask(account, SUBJECT)
    else:
        verdict = await paystack.ask(account, SUBJECT)
        assert (verdict.amount, verdict.currency) == (amount, "NGN")


async def test_a_currency_without_minor_units_is_in_hundredths_too(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    money = {"currency": "XOF", "requested_amount": None}
    verdict = await verdict_of(wire, paystack, account, **money, amount=150_000, fees=2_950)
    assert (verdict.amount, verdict.currency, verdict.fee) == (1_500, "XOF", 30)
    with pytest.raises(NoAnswer, match="unreadable"):
        await verdict_of(wire, paystack, account, **money, amount=150_050)
    with pytest.raises(NoAnswer, match="unreadable"):
        await verdict_of(wire, paystack, account, currency="XXX")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": "1"},
        {"currency": None},
        {"currency": ""},
        {"reference": None},
        {"status": None},
        {"status": 1},
        {"domain": "sandbox"},
        {"domain": None},
        {"fees": "much"},
    ],
)
async def test_a_success_that_lacks_something_is_no_answer(
    wire: Answering, paystack: Paystack, account: Account, changes: dict[str, Any]
) -> None:
    with pytest.raises(NoAnswer, match="unreadable"):
        await verdict_of(wire, paystack, account, **changes)


async def test_says_what_the_answer_says_not_what_was_asked(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    verdict = await verdict_of(
        wire, paystack, account, reference="another", domain="live", paid_at="yesterday"
    )
    assert (verdict.reference, verdict.live, verdict.provider_at) == ("another", True, None)


async def test_the_reference_is_quoted(wire: Answering, paystack: Paystack, account: Account) -> None:
    with pytest.raises(NotThere):
        await paystack.ask(account, Subject("a/../b?c", None))
    assert wire.sent[0].raw_path == "/transaction/verify/a%2F..%2Fb%3Fc"


@pytest.mark.parametrize("status", [400, 404])
async def test_an_unknown_reference_is_not_there(
    wire: Answering, paystack: Paystack, account: Account, status: int
) -> None:
    wire.on("GET", VERIFY, (status, bad("transaction_not_found", "Transaction reference not found.")))
    with pytest.raises(NotThere):
        await paystack.ask(account, SUBJECT)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, bad("invalid_params", "Reference is invalid"), "status_400"),
        (400, "<html>", "unreadable"),
        (200, "<html>Welcome</html>", "unreadable"),
        (200, "", "unreadable"),
        (200, '{"status":true,"data":null}', "unreadable"),
        (200, '{"status":true,"data":[]}', "unreadable"),
        (200, '{"status":"success","data":{}}', "unreadable"),
        (500, "{}", "status_500"),
    ],
)
async def test_what_is_no_answer(
    wire: Answering, paystack: Paystack, account: Account, status: int, body: str, reason: str
) -> None:
    wire.on("GET", VERIFY, (status, body))
    with pytest.raises(NoAnswer) as silence:
        await paystack.ask(account, SUBJECT)
    assert silence.value.reason == reason
    assert not isinstance(silence.value, NotThere)
    assert silence.value.server_error == (status == 500)


def refund(
    number: int, status: str, amount: Any, of: Any = 4099260516, note: str | None = None
) -> dict[str, Any]:
    return {"id": number, "status": status, "amount": amount, "currency": "NGN", "transaction": of} | (
        {"merchant_note": note} if note else {}
    )


@pytest.mark.parametrize(
    ("refunds", "outcome", "back"),
    [
        ([refund(1, "processed", 1_000)], Outcome.SUCCEEDED, 1_000),
        ([refund(1, "pending", 1_000), refund(2, "needs-attention", 5)], Outcome.SUCCEEDED, 0),
        ([refund(1, "failed", 1_000), refund(2, "processing", 7)], Outcome.SUCCEEDED, 0),
        ([refund(1, "processed", 30_000), refund(2, "processed", "50")], Outcome.REFUNDED, 30_050),
        ([refund(1, "processed", 30_050, of=17)], Outcome.SUCCEEDED, 0),
        ([refund(1, "processed", 40, of={"id": 4099260516, "domain": "test"})], Outcome.SUCCEEDED, 40),
    ],
)
async def test_what_went_back_is_part_of_the_verdict(
    wire: Answering, paystack: Paystack, account: Account, refunds: list[Any], outcome: Outcome, back: int
) -> None:
    wire.on("GET", "/refund", good(refunds, {"pageCount": 1}))
    verdict = await verdict_of(wire, paystack, account)
    assert (verdict.outcome, verdict.amount_refunded, verdict.amount) == (outcome, back, 30_050)
    assert wire.calls("/refund")[0].query["transaction"] == "4099260516"


@pytest.mark.parametrize(
    ("dispute", "disputed"),
    [
        ({"status": "awaiting-merchant-feedback", "resolution": None}, True),
        ({"status": "pending"}, True),
        ({"status": "resolved", "resolution": "declined"}, False),
        ({"status": "resolved", "resolution": "merchant-accepted"}, True),
        ({"status": "resolved", "resolution": "auto-accepted"}, True),
        ({"status": "pending", "transaction": {"id": 17}}, False),
    ],
)
async def test_disputes_are_part_of_the_verdict(
    wire: Answering, paystack: Paystack, account: Account, dispute: dict[str, Any], disputed: bool
) -> None:
    wire.on("GET", "/dispute", good([{"id": 1, "transaction": {"id": 4099260516}} | dispute]))
    assert (await verdict_of(wire, paystack, account)).disputed is disputed
    reversed_ = await verdict_of(wire, paystack, account, status="reversed")
    assert (reversed_.outcome, reversed_.disputed, reversed_.amount_refunded) == (
        Outcome.REFUNDED,
        disputed,
        30_050,
    )


@pytest.mark.parametrize("path", ["/refund", "/dispute"])
async def test_a_list_that_is_missing_never_says_that_the_transaction_is(
    wire: Answering, paystack: Paystack, account: Account, path: str
) -> None:
    wire.on("GET", path, (404, bad("not_found", "Not found")))
    with pytest.raises(NoAnswer, match="status_404") as silence:
        await verdict_of(wire, paystack, account)
    assert not isinstance(silence.value, NotThere)


async def test_refused_credentials_name_the_field(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    answer = (401, '{"status":false,"message":"Invalid key"}')
    wire.on("GET", VERIFY, answer).on("GET", "/balance", answer).on("POST", INITIALIZE, answer)
    for call in (
        paystack.ask(account, SUBJECT),
        paystack.identify(account),
        paystack.start(account, b"{}", idempotency_key="k"),
    ):
        with pytest.raises(CredentialsRefused) as refused:
            await call
        assert refused.value.field == "secretKey"
        assert "Invalid key" in refused.value.answered
        assert KEY not in refused.value.answered


async def test_lists_oldest_first_from_the_last_page(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    pages = {"1": [5, 4], "2": [3, 2], "3": [1]}

    def answer(query: Any) -> tuple[int, str]:
        rows = [transaction(id=n, reference=f"r{n}", status="abandoned") for n in pages[query["page"]]]
        return 200, good(rows, {"total": 5, "perPage": "100", "page": 1, "pageCount": 3})

    wire.on("GET", "/transaction", answer)
    since, until = parse_rfc3339("2026-11-01T00:00:00Z"), parse_rfc3339("2026-11-02T00:00:00Z")
    seen, cursor = [], None
    for _ in range(3):
        page = await paystack.list_checkouts(account, since=since, until=until, cursor=cursor)
        seen += [verdict.reference for verdict in page.verdicts]
        cursor = page.next_cursor
    assert (seen, cursor) == (["r1", "r2", "r3", "r4", "r5"], None)
    first = wire.calls("/transaction")[0].query
    assert parse_rfc3339(first["from"]) == since
    assert parse_rfc3339(first["to"]) == until
    assert first["perPage"] == "100"


async def test_one_row_that_cannot_be_read_does_not_hide_the_others(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    rows = [transaction(currency="XXX"), 17, transaction(reference="fine"), {"id": 1}]
    wire.on("GET", "/transaction", good(rows, {"pageCount": 1}))
    page = await paystack.list_checkouts(account, since=Instant(0), until=NOW, cursor=None)
    assert [(v.reference, v.outcome) for v in page.verdicts] == [("fine", Outcome.SUCCEEDED)]
    assert page.next_cursor is None


async def test_cursors_and_page_counts_have_limits(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    with pytest.raises(ValueError):
        await paystack.list_checkouts(account, since=Instant(0), until=NOW, cursor="1&page=2")
    wire.on("GET", "/transaction", good([], {"pageCount": 10**9}))
    with pytest.raises(NoAnswer, match="too_many_pages"):
        await paystack.list_checkouts(account, since=Instant(0), until=NOW, cursor=None)
    wire.on("GET", "/refund", good([], {"pageCount": 10**9}))
    with pytest.raises(NoAnswer, match="too_many_pages"):
        await paystack.refunds_of(account, "1", None)
    assert len(wire.calls("/refund")) == 10


async def test_refunds_with_our_key_in_the_note(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    answer = refund(3018284, "pending", 1_000, of={"id": 1004723697, "domain": "live"}, note="paystate-rf1")
    wire.on("POST", "/refund", good(answer))
    made = await paystack.refund(
        account, RefundOrder("1004723697", REFERENCE, Money(1_000, "NGN"), "paystate-rf1", "Sold out")
    )
    assert (made.refund_id, made.outcome, made.money, made.key) == (
        "3018284",
        "PENDING",
        Money(1_000, "NGN"),
        "paystate-rf1",
    )
    assert wire.sent[-1].body == (
        b'{"transaction":"1004723697","amount":1000,"currency":"NGN","merchant_note":"paystate-rf1",'
        b'"customer_note":"Sold out"}'
    )


async def test_a_refused_refund_and_a_lost_one(wire: Answering, paystack: Paystack, account: Account) -> None:
    wanted = RefundOrder("1", None, Money(1_000, "NGN"), "paystate-rf1")
    wire.on("POST", "/refund", (400, bad("invalid_amount", "Refund amount is too high")))
    with pytest.raises(StartRefused, match="invalid_amount"):
        await paystack.refund(account, wanted)
    wire.on("POST", "/refund", (500, "{}"))
    with pytest.raises(NoAnswer, match="status_500"):
        await paystack.refund(account, wanted)


async def test_refunds_of_a_transaction_over_pages_oldest_first(
    wire: Answering, paystack: Paystack, account: Account
) -> None:
    pages = {
        "1": [refund(3, "processed", 3, 9), refund(2, "failed", 2, 9)],
        "2": [refund(1, "pending", 1, 9, "k1")],
    }
    wire.on("GET", "/refund", lambda query: (200, good(pages[query["page"]], {"pageCount": 2})))
    found = await paystack.refunds_of(account, "9", None)
    assert [(r.refund_id, r.outcome, r.money, r.key) for r in found] == [
        ("1", "PENDING", Money(1, "NGN"), "k1"),
        ("2", "FAILED", Money(2, "NGN"), None),
        ("3", "SUCCEEDED", Money(3, "NGN"), None),
    ]


async def test_identifies_by_a_mark_of_the_key(wire: Answering, paystack: Paystack, account: Account) -> None:
    wire.on("GET", "/balance", good([{"currency": "NGN", "balance": 1}]))
    one = await paystack.identify(account)
    other = await paystack.identify(account_at(wire.url, "sk_live_1"))
    assert one.account == hashlib.sha256(KEY.encode()).hexdigest()[:16]
    assert (one.live, other.live) == (False, True)
    assert one.account != other.account
    sent = len(wire.sent)
    for key in ("", "pk_test_1", "sk_prod_1"):
        with pytest.raises(CredentialsRefused) as refused:
            await paystack.identify(account_at(wire.url, key))
        assert refused.value.field == "secretKey"
    assert len(wire.sent) == sent


def read(paystack: Paystack, body: str, signature: str | None = None, key: str = KEY) -> Any:
    given = hmac.new(key.encode(), body.encode(), "sha512").hexdigest() if signature is None else signature
    headers = {"x-paystack-signature": given} if given else {}
    return paystack.read_webhook(account_at(key=key), headers, body.encode(), now=NOW)


def test_the_published_vector(paystack: Paystack) -> None:
    message = read(paystack, EVENT, SIGNATURE)
    assert (message.event_id, message.kind, message.authentic) == ("", "charge.success", True)
    assert [(n.reference, n.checkout_id) for n in message.named] == [("ple-0001", None)]


@pytest.mark.parametrize(
    ("body", "signature", "key"),
    [
        (EVENT.replace("50000", "50001"), SIGNATURE, KEY),
        (EVENT + " ", SIGNATURE, KEY),
        (EVENT, SIGNATURE, KEY[:-1] + "8"),
        (EVENT, SIGNATURE[:-1] + "e", KEY),
        (EVENT, SIGNATURE[:64], KEY),
        (EVENT, "", KEY),
        (EVENT, hmac.new(b"", EVENT.encode(), "sha512").hexdigest(), ""),
        (EVENT, hmac.new(KEY.encode(), EVENT.encode(), "sha256").hexdigest(), KEY),
        (EVENT, "é" * 128, KEY),
    ],
)
def test_a_wrong_signature_is_invalid(paystack: Paystack, body: str, signature: str, key: str) -> None:
    with pytest.raises(SignatureInvalid):
        read(paystack, body, signature, key)


@pytest.mark.parametrize(
    ("event", "data", "named"),
    [
        ("charge.success", {"reference": "r1", "metadata": 0, "fees": None}, ["r1"]),
        ("charge.success", {"reference": 17}, []),
        ("charge.success", {}, []),
        ("refund.processed", {"transaction_reference": "r2", "reference": "x", "amount": "5000"}, ["r2"]),
        ("refund.failed", {"transaction_reference": None}, []),
        ("charge.dispute.create", {"transaction": {"reference": "r3"}}, ["r3"]),
        ("charge.dispute.resolve", {"transaction": 17}, []),
        ("transfer.success", {"reference": "t1"}, []),
        ("paymentrequest.success", {"reference": "t1"}, []),
    ],
)
def test_names_only_checkouts(paystack: Paystack, event: str, data: dict[str, Any], named: list[str]) -> None:
    message = read(paystack, json.dumps({"event": event, "data": data}))
    assert message.kind == event
    assert [n.reference for n in message.named] == named


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"event":1,"data":{}}', '{"event":"x"}', '{"event":"x","data":[]}']
)
def test_a_signed_body_that_is_no_event_is_malformed(paystack: Paystack, body: str) -> None:
    with pytest.raises(ValueError):
        read(paystack, body)
