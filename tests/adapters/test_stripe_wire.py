"""Stripe on the wire: the exact bytes we send, every status of its sheet as a verdict, every signature vector."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from paystate.adapters.providers import load_providers
from paystate.adapters.providers.stripe import Stripe
from paystate.adapters.stripe_answers import PLACES, our_money, stripe_units
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
from paystate.kit.clock import SECOND, FrozenClock, Instant
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http

REFERENCE, SESSION, INTENT = "ple0001ple0001ple0001", "cs_test_a1b2c3", "pi_1PgafyB7WZ01zgkWSjxsAJo3"
CHARGE, NOW = "ch_1PgafuB7WZ01zgkWXYmPNZs8", 1_760_000_000
SESSIONS, ONE = "/v1/checkout/sessions", f"/v1/checkout/sessions/{SESSION}"
PROOF = "payment_intent.latest_charge.balance_transaction"
SECRET = "whsec_test_4f1c2d3e5a6b7c8d9e0f"
EVENT = (
    '{"id":"evt_test_0001","object":"event","type":"checkout.session.completed","data":{"object":'
    '{"id":"cs_test_a1b2c3","object":"checkout.session","payment_status":"paid"}}}'
)
SIGNED = "t=1760000000,v1=ca913dd12b601c16413d05581171ca1a03bffe1c6d28b3126a438c5b7e1cb908"


def booking(**changed: Any) -> dict[str, Any]:
    return {
        "id": "txn_1",
        "object": "balance_transaction",
        "fee": 46,
        "currency": "eur",
        "net": 1_053,
    } | changed


def charge(**changed: Any) -> dict[str, Any]:
    return {
        "id": CHARGE,
        "object": "charge",
        "amount": 1_099,
        "amount_refunded": 0,
        "refunded": False,
        "disputed": False,
        "created": NOW + 110,
        "status": "succeeded",
        "balance_transaction": booking(),
        "payment_method_details": {"type": "card", "card": {"brand": "visa"}},
    } | changed


def intent(status: str, **changed: Any) -> dict[str, Any]:
    return {"id": INTENT, "object": "payment_intent", "status": status, "last_payment_error": None} | changed


def session(status: str, payment_status: str, paying: Any = None, **changed: Any) -> dict[str, Any]:
    return {
        "id": SESSION,
        "object": "checkout.session",
        "amount_total": 1_099,
        "client_reference_id": REFERENCE,
        "created": NOW,
        "currency": "eur",
        "livemode": False,
        "payment_intent": paying,
        "payment_status": payment_status,
        "status": status,
        "url": "https://checkout.stripe.com/c/pay/cs_test_a1b2c3" if status == "open" else None,
    } | changed


def paid(**changed: Any) -> dict[str, Any]:
    return session("complete", "paid", intent("succeeded", latest_charge=charge(**changed)))


def rows(*data: Any, more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": "/v1", "has_more": more, "data": list(data)}


def error(type_: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"type": type_, "message": "no"} | ({"code": code} if code else {})}


class Wire:
    """What a test has Stripe answer, in this order and the last one for ever, and what was really sent to it."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, bytes, Mapping[str, str]]]] = {}
        self.sent: list[tuple[str, str, dict[str, str], bytes, Mapping[str, str]]] = []

    def on(self, method: str, path: str, *answers: Any, status: int = 200, **headers: str) -> None:
        bodies = [a if isinstance(a, bytes) else json.dumps(a).encode() for a in answers]
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault((method, path), []).extend((status, body, told) for body in bodies)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.sent.append((request.method, request.path, dict(request.query), body, request.headers.copy()))
        waiting = self.answers.get((request.method, request.path), [(404, b"{}", {})])
        status, answer, headers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return web.Response(status=status, body=answer, headers=dict(headers))


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def account(wire: Wire) -> AsyncIterator[Account]:
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", wire.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield an_account(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


@pytest.fixture
async def adapter() -> AsyncIterator[Stripe]:
    http = Http(allow_private=["127.0.0.1/32"])
    yield Stripe(http, FrozenClock(Instant(NOW * SECOND)))
    await http.close()


def an_account(url: str = "", webhook_secret: str = SECRET) -> Account:
    secrets = {"secretKey": "sk_test_1", "webhookSecret": webhook_secret}
    return Account("con_1", "acct_1", live=False, settings={"baseUrl": url}, secrets=secrets)


def an_order(money: Money, **changed: Any) -> CheckoutOrder:
    given: dict[str, Any] = {
        "reference": REFERENCE,
        "money": money,
        "description": "Two tickets",
        "return_url": "https://pay.test/r?a=1&b=2",
        "cancel_url": "https://pay.test/c",
        "webhook_url": "https://pay.test/w",
        "expires_at": None,
    }
    return CheckoutOrder(**(given | changed))


BY_ID = Subject(REFERENCE, SESSION, Instant(NOW * SECOND))
BY_REFERENCE = Subject(REFERENCE, None, Instant(NOW * SECOND))


def test_is_loaded_and_has_its_capabilities(adapter: Stripe) -> None:
    assert "stripe" in load_providers(Http())
    for capability in (Closes, Lists, Refunds, KeepsRefundKeys, SendsWebhooks):
        assert isinstance(adapter, capability)
    assert adapter.optional_fields["baseUrl"] == "https://api.stripe.com"
    assert adapter.fields.keys() >= adapter.secret_fields | adapter.optional_fields.keys()


# --- the start

GOLDEN = (
    b"mode=payment&client_reference_id=ple0001ple0001ple0001&metadata%5Breference%5D=ple0001ple0001ple0001"
    b"&payment_intent_data%5Bmetadata%5D%5Breference%5D=ple0001ple0001ple0001&line_items%5B0%5D%5Bquantity%5D=1"
    b"&line_items%5B0%5D%5Bprice_data%5D%5Bcurrency%5D=%CUR%"
    b"&line_items%5B0%5D%5Bprice_data%5D%5Bunit_amount%5D=%AMT%"
    b"&line_items%5B0%5D%5Bprice_data%5D%5Bproduct_data%5D%5Bname%5D=Two+tickets"
    b"&success_url=https%3A%2F%2Fpay.test%2Fr%3Fa%3D1%26b%3D2&cancel_url=https%3A%2F%2Fpay.test%2Fc"
)


@pytest.mark.parametrize(
    ("money", "currency", "amount"),
    [
        (Money(500, "JPY"), b"jpy", b"500"),
        (Money(1_010, "EUR"), b"eur", b"1010"),
        (Money(1_230, "KWD"), b"kwd", b"1230"),
        (Money(7, "UGX"), b"ugx", b"700"),
        (Money(7, "ISK"), b"isk", b"700"),
        (Money(700, "MGA"), b"mga", b"7"),
    ],
)
def test_a_start_is_these_bytes(adapter: Stripe, money: Money, currency: bytes, amount: bytes) -> None:
    wanted = GOLDEN.replace(b"%CUR%", currency).replace(b"%AMT%", amount)
    assert adapter.prepare(an_account(), an_order(money)) == wanted


@pytest.mark.parametrize(
    ("money", "code"),
    [
        (Money(1_234, "KWD"), "currency_not_supported_by_provider"),
        (Money(750, "MGA"), "currency_not_supported_by_provider"),
        (Money(100, "HBAR"), "currency_not_supported_by_provider"),
        (Money(100, "USDC"), "currency_not_supported_by_provider"),
        (Money(1_000, "IQD"), "currency_not_supported_by_provider"),
        (Money(49, "EUR"), "amount_below_minimum"),
        (Money(0, "ZAR"), "amount_below_minimum"),
    ],
)
def test_what_stripe_cannot_take_is_refused_before_any_call(adapter: Stripe, money: Money, code: str) -> None:
    with pytest.raises(Refused) as refused:
        adapter.check(money)
    assert refused.value.code == code
    with pytest.raises(Refused):
        adapter.prepare(an_account(), an_order(money))


def test_units_go_there_and_back() -> None:
    for code in PLACES:
        units = stripe_units(Money(12_300, code))
        assert units is not None
        assert our_money(units, code.lower()) == Money(12_300, code)
    for amount, code in ((150, "ugx"), (-1, "eur"), (100, "xxx"), (10**18, "eur")):
        with pytest.raises(NoAnswer):
            our_money(amount, code)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [(60, 40 * 60), (3_600, 3_600), (86_400 * 3, 86_400 - 60), (-5, 40 * 60)],
)
def test_a_deadline_is_moved_into_what_stripe_takes(adapter: Stripe, wanted: int, sent: int) -> None:
    order = an_order(Money(100, "EUR"), expires_at=Instant((NOW + wanted) * SECOND))
    fields = dict(parse_qsl(adapter.prepare(an_account(), order).decode()))
    assert int(fields["expires_at"]) == NOW + sent


def test_a_description_is_never_missing_nor_endless(adapter: Stripe) -> None:
    name = "line_items[0][price_data][product_data][name]"
    for said, shown in (("", REFERENCE), ("  ", REFERENCE), ("ä" * 999, "ä" * 250)):
        request = adapter.prepare(an_account(), an_order(Money(100, "EUR"), description=said))
        assert dict(parse_qsl(request.decode()))[name] == shown


async def test_a_start_sends_its_bytes_unchanged(adapter: Stripe, wire: Wire, account: Account) -> None:
    wire.on("POST", SESSIONS, session("open", "unpaid"))
    request = adapter.prepare(account, an_order(Money(1_099, "EUR")))
    started = await adapter.start(account, request, idempotency_key="key-1")
    assert (started.checkout_id, started.offer.kind) == (SESSION, "redirect")
    assert started.offer.url == "https://checkout.stripe.com/c/pay/cs_test_a1b2c3"
    _, _, _, body, headers = wire.sent[0]
    assert body == request
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["Idempotency-Key"] == "key-1"
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert headers["Authorization"] == "Bearer sk_test_1"


@pytest.mark.parametrize(
    ("status", "body", "wanted", "said"),
    [
        (400, error("invalid_request_error", "amount_too_small"), StartRefused, "amount_too_small"),
        (402, error("card_error"), StartRefused, "card_error"),
        (400, error("idempotency_error"), NoAnswer, "conflict"),
        (409, error("invalid_request_error"), NoAnswer, "conflict"),
        (424, error("api_error"), NoAnswer, "conflict"),
        (400, b"<html>Bad gateway</html>", NoAnswer, "unreadable"),
        (404, error("invalid_request_error", "resource_missing"), NotThere, "not_found"),
        (401, error("invalid_request_error"), CredentialsRefused, "credentials_refused"),
        (403, error("invalid_request_error"), CredentialsRefused, "credentials_refused"),
        (429, error("rate_limit_error", "lock_timeout"), NoAnswer, "rate_limited"),
        (500, error("api_error"), NoAnswer, "status_500"),
        (200, b"", NoAnswer, "unreadable"),
        (200, session("open", "unpaid", url=None), NoAnswer, "unreadable"),
    ],
)
async def test_how_a_start_can_end(
    adapter: Stripe, wire: Wire, account: Account, status: int, body: Any, wanted: type[Exception], said: str
) -> None:
    wire.on("POST", SESSIONS, body, status=status, Retry_After="7")
    with pytest.raises(wanted) as told:
        await adapter.start(account, b"mode=payment", idempotency_key="k")
    assert type(told.value) is wanted
    assert getattr(told.value, "reason", None) == said
    if isinstance(told.value, CredentialsRefused):
        assert told.value.field == "secretKey"
    if said in ("conflict", "status_500"):
        assert told.value.server_error
    assert getattr(told.value, "retry_after_seconds", None) == (7 if said == "rate_limited" else None)


# --- the proof

DECLINED = intent("requires_payment_method", last_payment_error={"code": "card_declined"})
STATUSES = [
    (session("open", "unpaid"), Outcome.PENDING, "open"),
    (
        session("open", "unpaid", intent("requires_payment_method")),
        Outcome.PENDING,
        "requires_payment_method",
    ),
    (session("open", "unpaid", DECLINED), Outcome.PENDING, "declined"),
    (session("open", "unpaid", intent("requires_confirmation")), Outcome.PENDING, "requires_confirmation"),
    (session("open", "unpaid", intent("requires_action")), Outcome.PENDING, "requires_action"),
    (session("open", "unpaid", intent("processing")), Outcome.PROCESSING, "processing"),
    (session("open", "unpaid", intent("requires_capture")), Outcome.PROCESSING, "requires_capture"),
    (session("open", "unpaid", intent("canceled")), Outcome.CANCELED, "canceled"),
    (session("open", "unpaid", intent("dreaming")), Outcome.UNKNOWN, "dreaming"),
    (session("complete", "unpaid", intent("processing")), Outcome.PROCESSING, "processing"),
    (session("complete", "unpaid", INTENT), Outcome.PROCESSING, "complete"),
    (session("complete", "unpaid", DECLINED), Outcome.FAILED, "requires_payment_method"),
    (session("complete", "unpaid", intent("canceled")), Outcome.CANCELED, "canceled"),
    (session("complete", "unpaid", intent("succeeded")), Outcome.PROCESSING, "succeeded"),
    (paid(), Outcome.SUCCEEDED, "paid"),
    (paid(amount_refunded=500), Outcome.SUCCEEDED, "paid"),
    (paid(amount_refunded=1_099, refunded=True), Outcome.REFUNDED, "refunded"),
    (paid(disputed=True), Outcome.SUCCEEDED, "paid"),
    (session("complete", "no_payment_required", amount_total=0), Outcome.SUCCEEDED, "no_payment_required"),
    (session("expired", "unpaid"), Outcome.EXPIRED, "expired"),
    (session("expired", "paid", INTENT), Outcome.UNKNOWN, "paid"),
    (session("complete", "owed"), Outcome.UNKNOWN, "owed"),
    (session("quantum" * 10, "unpaid"), Outcome.UNKNOWN, ("quantum" * 10)[:40]),
]


@pytest.mark.parametrize(("answer", "outcome", "detail"), STATUSES)
async def test_every_status_is_told_truly(
    adapter: Stripe, wire: Wire, account: Account, answer: Any, outcome: Outcome, detail: str
) -> None:
    wire.on("GET", ONE, answer)
    verdict = await adapter.ask(account, BY_ID)
    assert (verdict.outcome, verdict.detail) == (outcome, detail)
    assert (verdict.account, verdict.live, verdict.checkout_id) == ("acct_1", False, SESSION)
    assert verdict.raw_digest == hashlib.sha256(json.dumps(answer).encode()).hexdigest()
    assert (verdict.amount is None) == (outcome not in (Outcome.SUCCEEDED, Outcome.REFUNDED))
    assert wire.sent[0][2] == {"expand[]": PROOF}


async def test_a_paid_session_says_everything(adapter: Stripe, wire: Wire, account: Account) -> None:
    wire.on("GET", ONE, paid(amount_refunded=500, disputed=True) | {"livemode": True})
    verdict = await adapter.ask(account, BY_ID)
    assert verdict == Verdict(
        outcome=Outcome.SUCCEEDED,
        reference=REFERENCE,
        account="acct_1",
        live=True,
        detail="paid",
        raw_digest=verdict.raw_digest,
        checkout_id=SESSION,
        amount=1_099,
        currency="EUR",
        transaction_id=INTENT,
        method="card",
        fee=46,
        provider_at=Instant((NOW + 110) * SECOND),
        amount_refunded=500,
        disputed=True,
    )


@pytest.mark.parametrize(
    ("changed", "fee"),
    [
        ({"balance_transaction": None}, None),
        ({"balance_transaction": "txn_1"}, None),
        ({"balance_transaction": booking(currency="usd")}, None),
        ({"balance_transaction": booking(fee=0)}, 0),
    ],
)
async def test_a_fee_may_come_later_or_be_of_another_currency(
    adapter: Stripe, wire: Wire, account: Account, changed: Any, fee: int | None
) -> None:
    wire.on("GET", ONE, paid(**changed))
    verdict = await adapter.ask(account, BY_ID)
    assert (verdict.outcome, verdict.fee) == (Outcome.SUCCEEDED, fee)


@pytest.mark.parametrize(
    ("currency", "theirs", "ours"),
    [("jpy", 500, 500), ("kwd", 1_230, 1_230), ("ugx", 700, 7), ("isk", 700, 7), ("mga", 7, 700)],
)
async def test_amounts_are_told_in_our_units(
    adapter: Stripe, wire: Wire, account: Account, currency: str, theirs: int, ours: int
) -> None:
    wire.on("GET", ONE, paid() | {"currency": currency, "amount_total": theirs})
    verdict = await adapter.ask(account, BY_ID)
    assert (verdict.amount, verdict.currency) == (ours, currency.upper())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><p>status: paid",
        b"[]",
        b"null",
        b'{"id":17,"status":["paid"]}',
        b'{"status":"pa\xff\xfeid"}',
        json.dumps(paid())[:-9].encode(),
        json.dumps(paid() | {"amount_total": None}).encode(),
        json.dumps(paid() | {"currency": None}).encode(),
        json.dumps(paid() | {"currency": "xxx"}).encode(),
        json.dumps(paid() | {"payment_intent": None}).encode(),
        json.dumps(paid() | {"livemode": "false"}).encode(),
        json.dumps(paid() | {"amount_total": -1}).encode(),
        *(
            json.dumps(paid()).replace('"amount_total": 1099', f'"amount_total": {odd}').encode()
            for odd in ("1099.0", "10.10", '"1099"', '"10.10"', "true", "1e3", "1099" + "0" * 30)
        ),
    ],
)
async def test_what_cannot_be_read_is_no_answer(
    adapter: Stripe, wire: Wire, account: Account, body: bytes
) -> None:
    wire.on("GET", ONE, body)
    with pytest.raises(NoAnswer) as told:
        await adapter.ask(account, BY_ID)
    assert told.value.reason == "unreadable"


async def test_another_checkout_is_told_as_it_is(adapter: Stripe, wire: Wire, account: Account) -> None:
    wire.on("GET", ONE, paid() | {"client_reference_id": "theirs"})
    assert (await adapter.ask(account, BY_ID)).reference == "theirs"
    wire.on("GET", "/v1/checkout/sessions/..%2F..", paid())
    with pytest.raises(NotThere):
        await adapter.ask(account, Subject(REFERENCE, "../../account"))
    assert wire.sent[-1][1] == "/v1/checkout/sessions/../../account"


async def test_without_an_id_the_sessions_of_the_time_are_searched(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    other = session("open", "unpaid") | {"id": "cs_other", "client_reference_id": "x"}
    wire.on("GET", SESSIONS, rows(other, more=True), rows(other, paid()))
    verdict = await adapter.ask(account, BY_REFERENCE)
    assert (verdict.outcome, verdict.checkout_id) == (Outcome.SUCCEEDED, SESSION)
    first = {"created[gte]": str(NOW - 300), "created[lt]": str(NOW + 900), "limit": "100"}
    assert wire.sent[0][2] == first | {"expand[]": f"data.{PROOF}"}
    assert wire.sent[1][2] == wire.sent[0][2] | {"starting_after": "cs_other"}


async def test_not_there_is_said_only_when_all_was_seen(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    wire.on("GET", SESSIONS, rows(), rows(session("open", "unpaid")))
    assert (await adapter.ask(account, BY_REFERENCE)).checkout_id == SESSION
    assert wire.sent[1][2]["created[gte]"] == str(NOW + 900)
    wire.answers.clear()
    wire.on("GET", SESSIONS, rows())
    with pytest.raises(NotThere):
        await adapter.ask(account, BY_REFERENCE)
    for body in (rows({"id": 5}), rows(more=True), rows({"id": 5}, more=True)):
        wire.answers.clear()
        wire.on("GET", SESSIONS, body)
        with pytest.raises(NoAnswer) as told:
            await adapter.ask(account, BY_REFERENCE)
        assert not isinstance(told.value, NotThere)
    with pytest.raises(NoAnswer) as told:
        await adapter.ask(account, Subject(REFERENCE, None))
    assert told.value.reason == "no_time_to_search"


async def test_of_two_sessions_with_one_reference_the_paid_one_counts(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    wire.on("GET", SESSIONS, rows(session("open", "unpaid") | {"id": "cs_2"}, paid()))
    assert (await adapter.ask(account, BY_REFERENCE)).checkout_id == SESSION


# --- closing, listing, refunds, identity


async def test_closing_expires_what_is_open_and_asks_about_what_is_not(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    wire.on("POST", f"{ONE}/expire", session("expired", "unpaid"))
    assert (await adapter.close(account, BY_ID)).outcome is Outcome.CANCELED
    wire.answers.clear()
    wire.on("POST", f"{ONE}/expire", error("invalid_request_error"), status=400)
    wire.on("GET", ONE, paid())
    assert (await adapter.close(account, BY_ID)).outcome is Outcome.SUCCEEDED
    wire.on("GET", SESSIONS, rows(paid()))
    assert (await adapter.close(account, BY_REFERENCE)).outcome is Outcome.SUCCEEDED
    with pytest.raises(NotThere):
        await adapter.close(account, Subject(REFERENCE, "cs_none"))


async def test_a_list_goes_forward_in_slices_that_fit_a_page(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    newer, older = session("open", "unpaid") | {"id": "cs_2"}, session("expired", "unpaid")
    wire.on("GET", SESSIONS, rows(newer, more=True), rows(newer, {"id": 1}, older), rows())
    since, until = Instant(NOW * SECOND), Instant((NOW + 4_000) * SECOND + 1)
    page = await adapter.list_checkouts(account, since=since, until=until, cursor=None)
    assert [verdict.checkout_id for verdict in page.verdicts] == [SESSION, "cs_2"]
    seen = [(query["created[gte]"], query["created[lt]"]) for _, _, query, _, _ in wire.sent]
    assert seen == [(str(NOW), str(NOW + 3_600)), (str(NOW), str(NOW + 1_800))]
    assert page.next_cursor == f"{NOW + 1_800}.3600"
    page = await adapter.list_checkouts(account, since=since, until=until, cursor=page.next_cursor)
    assert (page.verdicts, page.next_cursor) == ([], None)
    assert wire.sent[-1][2]["created[lt]"] == str(NOW + 4_001)
    with pytest.raises(ValueError):
        await adapter.list_checkouts(account, since=since, until=until, cursor="x")


async def test_a_second_with_too_many_sessions_ends_the_search(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    wire.on("GET", SESSIONS, rows(paid(), more=True))
    end = Instant((NOW + 10) * SECOND)
    with pytest.raises(NoAnswer):
        await adapter.list_checkouts(account, since=Instant(NOW * SECOND), until=end, cursor=None)
    assert len(wire.sent) < 6


def refund_row(**changed: Any) -> dict[str, Any]:
    plain = {"id": "re_1", "amount": 500, "currency": "eur", "status": "succeeded"}
    return plain | {"metadata": {"refund_key": "k1"}} | changed


async def test_a_refund_is_these_bytes_under_its_key(adapter: Stripe, wire: Wire, account: Account) -> None:
    wire.on("POST", "/v1/refunds", refund_row())
    order = RefundOrder(INTENT, SESSION, Money(500, "EUR"), "k1", "Too late & wet")
    answer = await adapter.refund(account, order)
    assert (answer.refund_id, answer.outcome) == ("re_1", "SUCCEEDED")
    assert (answer.money, answer.key) == (Money(500, "EUR"), "k1")
    assert wire.sent[0][3] == (
        b"payment_intent=pi_1PgafyB7WZ01zgkWSjxsAJo3&amount=500&metadata%5Brefund_key%5D=k1"
        b"&metadata%5Breason%5D=Too+late+%26+wet"
    )
    assert wire.sent[0][4]["Idempotency-Key"] == "k1"
    with pytest.raises(StartRefused):
        await adapter.refund(account, RefundOrder(INTENT, None, Money(1, "KWD"), "k1"))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("pending", "PENDING"),
        ("requires_action", "PENDING"),
        ("succeeded", "SUCCEEDED"),
        ("failed", "FAILED"),
        ("canceled", "FAILED"),
        ("quantum", "PENDING"),
    ],
)
async def test_refunds_are_told_oldest_first(
    adapter: Stripe, wire: Wire, account: Account, status: str, outcome: str
) -> None:
    later = refund_row(id="re_2", status=status, metadata=None)
    wire.on("GET", "/v1/refunds", rows(later, more=True), rows(refund_row()))
    told = await adapter.refunds_of(account, INTENT, SESSION)
    assert [(row.refund_id, row.outcome, row.key) for row in told] == [
        ("re_1", "SUCCEEDED", "k1"),
        ("re_2", outcome, None),
    ]
    assert wire.sent[1][2] == {"payment_intent": INTENT, "limit": "100", "starting_after": "re_2"}


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, error("invalid_request_error", "charge_already_refunded"), StartRefused),
        (400, error("idempotency_error"), NoAnswer),
        (409, error("invalid_request_error"), NoAnswer),
        (401, error("invalid_request_error"), CredentialsRefused),
        (500, error("api_error"), NoAnswer),
        (200, b"{}", NoAnswer),
    ],
)
async def test_how_a_refund_can_end(
    adapter: Stripe, wire: Wire, account: Account, status: int, body: Any, wanted: type[Exception]
) -> None:
    wire.on("POST", "/v1/refunds", body, status=status)
    with pytest.raises(wanted) as told:
        await adapter.refund(account, RefundOrder(INTENT, None, Money(500, "EUR"), "k1"))
    assert type(told.value) is wanted


async def test_a_list_of_refunds_with_an_unreadable_row_is_no_answer(
    adapter: Stripe, wire: Wire, account: Account
) -> None:
    wire.on("GET", "/v1/refunds", rows(refund_row(), {"id": 1}))
    with pytest.raises(NoAnswer):
        await adapter.refunds_of(account, INTENT, None)


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ({"settings": {"dashboard": {"display_name": "Shop"}}, "business_profile": {"name": "B"}}, "Shop"),
        ({"settings": {"dashboard": {"display_name": None}}, "business_profile": {"name": "B"}}, "B"),
        ({"settings": None, "business_profile": None}, "acct_9"),
        ({}, "acct_9"),
    ],
)
async def test_identity_comes_from_the_account_and_its_balance(
    adapter: Stripe, wire: Wire, account: Account, shown: Any, name: str
) -> None:
    wire.on("GET", "/v1/account", {"id": "acct_9"} | shown)
    wire.on("GET", "/v1/balance", {"object": "balance", "livemode": True})
    found = await adapter.identify(account)
    assert (found.account, found.live, found.name) == ("acct_9", True, name)
    wire.answers.clear()
    wire.on("GET", "/v1/account", error("invalid_request_error"), status=401)
    with pytest.raises(CredentialsRefused) as told:
        await adapter.identify(account)
    assert told.value.field == "secretKey"
    assert told.value.answered.startswith("401")


# --- webhooks


def read(adapter: Stripe, header: str, body: str = EVENT, secret: str = SECRET, at: int = NOW) -> Any:
    return adapter.read_webhook(
        an_account(webhook_secret=secret),
        {"stripe-signature": header},
        body.encode(),
        now=Instant(at * SECOND),
    )


def signed(body: str, secret: str = SECRET, at: int = NOW) -> str:
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.{body}'.encode(), 'sha256').hexdigest()}"


def test_the_published_vector_is_valid(adapter: Stripe) -> None:
    for at in (NOW, NOW + 300, NOW - 300):
        message = read(adapter, SIGNED, at=at)
    assert (message.event_id, message.kind, message.authentic) == (
        "evt_test_0001",
        "checkout.session.completed",
        True,
    )
    assert [(named.reference, named.checkout_id) for named in message.named] == [(None, "cs_test_a1b2c3")]


@pytest.mark.parametrize("secrets", [f"whsec_new,{SECRET}", f"{SECRET} whsec_new", f" whsec_new ,\n{SECRET}"])
def test_several_secrets_and_signatures_while_one_is_rolled(adapter: Stripe, secrets: str) -> None:
    assert read(adapter, SIGNED, secret=secrets).event_id == "evt_test_0001"
    rotated = SIGNED.replace("v1=", "v1=" + "0" * 64 + ",v1=") + ",v0=1"
    assert read(adapter, rotated).event_id == "evt_test_0001"


WRONG = [
    {"body": EVENT.replace("paid", "PAID")},
    {"body": EVENT + " "},
    {"secret": "whsec_other"},
    {"secret": ""},
    {"secret": " , "},
    {"at": NOW + 301},
    {"at": NOW - 301},
    {"header": ""},
    {"header": "t=1760000000"},
    {"header": SIGNED.replace("v1=", "v0=")},
    {"header": SIGNED.replace("t=1760000000", "t=1760000001")},
    {"header": SIGNED.replace("t=1760000000,", "")},
    {"header": f"t=1760000000,{SIGNED}"},
    {"header": signed(EVENT, secret="")},
    {"header": signed(EVENT, secret=""), "secret": ""},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_every_other_signature_is_refused(adapter: Stripe, wrong: Any) -> None:
    with pytest.raises(SignatureInvalid):
        read(adapter, **({"header": SIGNED} | wrong))


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"object": "checkout.session", "id": SESSION, "client_reference_id": "r"}, [("r", SESSION)]),
        ({"object": "checkout.session", "id": 5, "client_reference_id": ["r"]}, []),
        ({"object": "payment_intent", "id": INTENT, "metadata": {"reference": "r"}}, [("r", None)]),
        ({"object": "charge", "id": CHARGE, "metadata": {"reference": "r"}}, [("r", None)]),
        ({"object": "charge", "id": CHARGE, "metadata": {"reference": 5}}, []),
        ({"object": "dispute", "id": "dp_1", "payment_intent": INTENT}, []),
        ({"metadata": "x"}, []),
    ],
)
def test_an_event_names_what_it_is_about(adapter: Stripe, item: Any, named: Any) -> None:
    body = json.dumps({"id": "evt_1", "type": "t", "data": {"object": item}})
    message = read(adapter, signed(body), body)
    assert [(name.reference, name.checkout_id) for name in message.named] == named


@pytest.mark.parametrize("body", ["", "{", "[]", '{"id":1}', '{"id":"e","type":"t","data":{"object":[]}}'])
def test_a_signed_body_that_is_no_event_is_refused(adapter: Stripe, body: str) -> None:
    with pytest.raises(ValueError):
        read(adapter, signed(body), body)
