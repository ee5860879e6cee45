"""Razorpay on the wire: the exact bytes we send, every status of its sheet as a verdict, refusals, every signature vector."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from tests.adapters.answering import Answering, Reply, answering

from paystate.adapters.providers import load_providers
from paystate.adapters.providers.razorpay import Razorpay
from paystate.adapters.razorpay_answers import CURRENCIES
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    Closes,
    CredentialsRefused,
    KeepsRefundKeys,
    Lists,
    Message,
    Named,
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
from paystate.kit.clock import DAY, MINUTE, SECOND, FrozenClock, Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import EXPONENTS, Money
from paystate.machinery.http import Http
from paystate.simulators.razorpay import wire as shown
from paystate.simulators.razorpay.dialect import signature, way_back
from paystate.simulators.till import Checkout, Status, Transaction

NOW = parse_rfc3339("2026-11-20T12:00:00Z")
REFERENCE = "ple0001ple0001ple0001"
LINK_ID, PAY_ID, LATER_ID = "plink_ExjpAUN3gVHrPJ", "pay_Qfldmt5StKZFCB", "pay_Qfldmt5StKZFCC"
LINK, PAYMENT, REFUNDS = f"/payment_links/{LINK_ID}", f"/payments/{PAY_ID}", f"/payments/{PAY_ID}/refunds"
SUBJECT, UNNAMED = Subject(REFERENCE, LINK_ID), Subject(REFERENCE, None)
KEY = "rfd_0001_key"

SECRET = "rzp-webhook-secret-0001"
EVENT = (
    b'{"entity":"event","account_id":"acc_TEST00000001","event":"payment_link.paid","contains":["payment_link",'
    b'"order","payment"],"payload":{"payment_link":{"entity":{"id":"plink_TEST0000000001","amount":1000,'
    b'"amount_paid":1000,"currency":"INR","reference_id":"ple-0001","status":"paid"}}},"created_at":1760000000}'
)
SIGNATURE = "335d29827589dfad62b01169b955464d9585d60d1108c7d8b6008c99afc3e423"


def link(**changes: Any) -> dict[str, Any]:
    """A new link as the sheet prints it; timestamps that were never set are 0."""
    return {
        "accept_partial": False,
        "amount": 1000,
        "amount_paid": 0,
        "callback_method": "get",
        "callback_url": "https://shop.example/rzp",
        "cancelled_at": 0,
        "created_at": 1760000000,
        "currency": "INR",
        "customer": {"contact": "+919876543210", "email": "payer@example.com", "name": "Gaurav Kumar"},
        "description": "Order 1",
        "expire_by": 1760086400,
        "expired_at": 0,
        "id": LINK_ID,
        "notes": {"payment_id": "ple-0001"},
        "notify": {"email": False, "sms": False, "whatsapp": False},
        "payments": None,
        "reference_id": REFERENCE,
        "reminders": [],
        "short_url": "https://rzp.io/i/nxrHnLJ",
        "status": "created",
        "updated_at": 1760000000,
        "user_id": "",
        **changes,
    }


def row(payment_id: str = PAY_ID, status: str = "captured") -> dict[str, Any]:
    return {"amount": 1000, "method": "upi", "payment_id": payment_id, "plink_id": LINK_ID, "status": status}


def paid_link(**changes: Any) -> dict[str, Any]:
    return link(**{"status": "paid", "amount_paid": 1000, "payments": [row()], **changes})


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "id": PAY_ID,
        "entity": "payment",
        "amount": 1000,
        "currency": "INR",
        "base_amount": 1000,
        "status": "captured",
        "order_id": "order_MLXS6VLbhKH7i1",
        "method": "upi",
        "amount_refunded": 0,
        "refund_status": None,
        "captured": True,
        "description": "#ExjpAUN3gVHrPJ",
        "notes": [],
        "fee": 24,
        "tax": 4,
        "created_at": 1692694191,
        **changes,
    }


def refund(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"rfnd_{number:014}",
        "entity": "refund",
        "amount": 400,
        "receipt": None,
        "currency": "INR",
        "payment_id": PAY_ID,
        "notes": {},
        "created_at": 1597078866 + number,
        "status": "processed",
        **changes,
    }


def error(description: str, status: int = 400, code: str = "BAD_REQUEST_ERROR") -> Reply:
    said = {"code": code, "description": description, "field": None, "source": "business", "metadata": {}}
    return status, json.dumps({"error": said})


def items(*rows: Mapping[str, Any]) -> str:
    return json.dumps({"entity": "collection", "count": len(rows), "items": rows})


def links(*rows: Mapping[str, Any]) -> str:
    return json.dumps({"payment_links": rows})


@pytest.fixture
async def wire() -> AsyncIterator[Answering]:
    async with answering() as peer:
        yield peer.on("GET", PAYMENT, json.dumps(payment()))


@pytest.fixture
async def razorpay() -> AsyncIterator[Razorpay]:
    http = Http(allow_private=["127.0.0.1/32"])
    yield Razorpay(http, FrozenClock(NOW))
    await http.close()


@pytest.fixture
def account(wire: Answering) -> Account:
    return account_at(wire.url)


def account_at(url: str = "", key_id: str = "rzp_test_0001", webhook_secret: str = SECRET) -> Account:
    secrets = {"keySecret": "shh", "webhookSecret": webhook_secret}
    return Account("con_1", "acct_1", False, {"keyId": key_id, "baseUrl": url}, secrets)


def order(money: Money, **changes: Any) -> CheckoutOrder:
    given: dict[str, Any] = {
        "reference": REFERENCE,
        "money": money,
        "description": "Order 1",
        "return_url": "https://pay.example/pay/ABC/return",
        "cancel_url": "https://pay.example/pay/ABC/return?from=cancel",
        "webhook_url": "https://pay.example/api/webhooks/razorpay/con_1",
        "expires_at": None,
    }
    return CheckoutOrder(**given | changes)


async def asked(
    wire: Answering, razorpay: Razorpay, of_link: Mapping[str, Any], *payments: Mapping[str, Any]
) -> Verdict:
    wire.on("GET", LINK, json.dumps(of_link))
    for one in payments:
        wire.on("GET", f"/payments/{one['id']}", json.dumps(one))
    return await razorpay.ask(account_at(wire.url), SUBJECT)


def test_is_found_and_offers_what_razorpay_can(razorpay: Razorpay) -> None:
    assert isinstance(load_providers(Http())["razorpay"], Razorpay)
    assert isinstance(razorpay, Closes)
    assert isinstance(razorpay, Refunds)
    assert isinstance(razorpay, SendsWebhooks)
    assert not isinstance(razorpay, Lists), "links cannot be listed by time, payments carry no reference"
    assert not isinstance(razorpay, KeepsRefundKeys), "how long a key holds is not published"
    assert razorpay.secret_fields <= set(razorpay.fields)
    assert razorpay.optional_fields["baseUrl"] == "https://api.razorpay.com/v1"


# --- what is sent


@pytest.mark.parametrize("money", [Money(15_000, "INR"), Money(1_500, "JPY"), Money(99_990, "KWD")])
def test_prepares_these_very_bytes(razorpay: Razorpay, money: Money) -> None:
    assert razorpay.prepare(account_at(), order(money)).decode() == (
        f'{{"amount":{money.amount},"currency":"{money.currency}","accept_partial":false,'
        f'"reference_id":"{REFERENCE}","description":"Order 1","notify":{{"sms":false,"email":false}},'
        f'"reminder_enable":false,"notes":{{"reference":"{REFERENCE}"}},'
        '"callback_url":"https://pay.example/pay/ABC/return","callback_method":"get"}'
    )


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (NOW + 60 * MINUTE, NOW + 60 * MINUTE),
        (NOW + 2 * MINUTE, NOW + 25 * MINUTE),
        (NOW + 400 * DAY, NOW + 180 * DAY),
    ],
)
def test_moves_a_deadline_inside_what_razorpay_takes(razorpay: Razorpay, wanted: int, sent: int) -> None:
    body = razorpay.prepare(account_at(), order(Money(15_000, "INR"), expires_at=Instant(wanted)))
    assert json.loads(body)["expire_by"] == sent // SECOND


@pytest.mark.parametrize(
    ("money", "code"),
    [
        (Money(99, "INR"), "amount_below_minimum"),
        (Money(0, "USD"), "amount_below_minimum"),
        (Money(99_991, "KWD"), "currency_not_supported_by_provider"),
        (Money(1_000, "HBAR"), "currency_not_supported_by_provider"),
        (Money(1_000, "LYD"), "currency_not_supported_by_provider"),
    ],
)
def test_refuses_what_razorpay_does_not_take(razorpay: Razorpay, money: Money, code: str) -> None:
    for act in (lambda: razorpay.check(money), lambda: razorpay.prepare(account_at(), order(money))):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == code
    razorpay.check(Money(100, "INR"))
    assert set(EXPONENTS) >= CURRENCIES


# --- the start


async def start(razorpay: Razorpay, account: Account, currency: str = "INR") -> Any:
    request = razorpay.prepare(account, order(Money(1_000, currency)))
    return await razorpay.start(account, request, idempotency_key="key-1")


async def test_starts_with_the_stored_bytes_and_the_key_pair(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("POST", "/payment_links", json.dumps(link()))
    started = await start(razorpay, account)
    assert (started.checkout_id, started.offer.kind, started.offer.url) == (
        LINK_ID,
        "redirect",
        "https://rzp.io/i/nxrHnLJ",
    )
    (sent,) = wire.sent
    assert sent.body == razorpay.prepare(account, order(Money(1_000, "INR")))
    assert sent.headers["Authorization"] == "Basic " + base64.b64encode(b"rzp_test_0001:shh").decode()
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "description",
    [
        "payment link creation with reference ID already attempted",
        "timestamp must be atleast 15 minutes in future",
    ],
)
async def test_goes_on_with_the_link_that_an_earlier_sending_made(
    wire: Answering, razorpay: Razorpay, account: Account, description: str
) -> None:
    wire.on("POST", "/payment_links", error(description)).on("GET", "/payment_links", links(link()))
    assert (await start(razorpay, account)).checkout_id == LINK_ID
    assert wire.calls("/payment_links")[1].query == {"reference_id": REFERENCE}


async def test_tells_a_refusal_for_good_from_one_to_ask_about(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("GET", "/payment_links", links())
    wire.on("POST", "/payment_links", error("The selected currency is not supported"))
    with pytest.raises(StartRefused, match="The selected currency is not supported"):
        await start(razorpay, account, "USD")
    made = "payment link creation with reference ID already attempted"
    for refused, reason in (
        (error(made), "conflict"),
        (error("busy", 409), "conflict"),
        (error("The gateway is away", 400, "GATEWAY_ERROR"), "gateway_error"),
        (error("The gateway is away", 502, "GATEWAY_ERROR"), "status_502"),
    ):
        wire.on("POST", "/payment_links", refused)
        with pytest.raises(NoAnswer) as no:
            await start(razorpay, account)
        assert (no.value.reason, no.value.server_error) == (reason, True)


@pytest.mark.parametrize(
    "answer",
    [
        (400, "<html>"),
        (404, "{}"),
        (200, json.dumps(link(reference_id="another"))),
        (200, json.dumps(link(short_url=""))),
    ],
)
async def test_takes_no_other_answer_to_a_start(
    wire: Answering, razorpay: Razorpay, account: Account, answer: Reply
) -> None:
    wire.on("POST", "/payment_links", answer).on("GET", "/payment_links", links())
    with pytest.raises(NoAnswer) as no:
        await start(razorpay, account)
    assert not isinstance(no.value, NotThere)


# --- what the answers say


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("created", Outcome.PENDING),
        ("partially_paid", Outcome.PROCESSING),
        ("expired", Outcome.EXPIRED),
        ("cancelled", Outcome.CANCELED),
        ("issued", Outcome.UNKNOWN),
        ("quantum", Outcome.UNKNOWN),
    ],
)
async def test_reads_every_word_of_a_link(
    wire: Answering, razorpay: Razorpay, status: str, outcome: Outcome
) -> None:
    verdict = await asked(wire, razorpay, link(status=status))
    assert (verdict.outcome, verdict.detail, verdict.reference) == (outcome, status, REFERENCE)
    assert (verdict.checkout_id, verdict.account, verdict.live) == (LINK_ID, "acct_1", False)
    assert (verdict.amount, verdict.currency, verdict.transaction_id) == (None, None, None)


async def test_reads_a_paid_link_by_its_payment(wire: Answering, razorpay: Razorpay) -> None:
    verdict = await asked(wire, razorpay, paid_link())
    assert verdict.outcome is Outcome.SUCCEEDED
    assert (verdict.amount, verdict.currency, verdict.transaction_id) == (1000, "INR", PAY_ID)
    assert (verdict.fee, verdict.method, verdict.provider_at) == (24, "upi", 1692694191 * SECOND)
    assert (verdict.amount_refunded, verdict.disputed, verdict.further) == (0, False, ())


@pytest.mark.parametrize(
    ("said", "outcome", "back"),
    [
        ({"status": "authorized", "captured": False, "fee": None}, Outcome.PROCESSING, 0),
        ({"status": "captured", "refund_status": "partial", "amount_refunded": 400}, Outcome.SUCCEEDED, 400),
        ({"status": "refunded", "refund_status": "full", "amount_refunded": 1000}, Outcome.REFUNDED, 1000),
        ({"status": "captured", "amount_refunded": 1000}, Outcome.REFUNDED, 1000),
        ({"status": "failed"}, Outcome.UNKNOWN, 0),
        ({"status": "quantum"}, Outcome.UNKNOWN, 0),
        ({"fee": None, "created_at": 0, "amount_refunded": None}, Outcome.SUCCEEDED, 0),
    ],
)
async def test_reads_every_word_of_a_payment(
    wire: Answering, razorpay: Razorpay, said: dict[str, Any], outcome: Outcome, back: int
) -> None:
    verdict = await asked(wire, razorpay, paid_link(), payment(**said))
    assert (verdict.outcome, verdict.amount_refunded) == (outcome, back)
    assert (verdict.transaction_id is None) == (outcome not in (Outcome.SUCCEEDED, Outcome.REFUNDED))


@pytest.mark.parametrize("status", ["created", "expired", "cancelled"])
async def test_money_counts_more_than_the_word_of_its_link(
    wire: Answering, razorpay: Razorpay, status: str
) -> None:
    """An authorization may be captured late, when the link is no longer open."""
    verdict = await asked(wire, razorpay, paid_link(status=status))
    assert (verdict.outcome, verdict.amount) == (Outcome.SUCCEEDED, 1000)


async def test_a_failed_try_is_declined_and_the_link_stays_open(wire: Answering, razorpay: Razorpay) -> None:
    verdict = await asked(wire, razorpay, link(payments=[row(status="failed")]))
    assert (verdict.outcome, verdict.detail) == (Outcome.PENDING, "declined")


async def test_what_was_charged_beside_the_order_stays_visible(wire: Answering, razorpay: Razorpay) -> None:
    for charged, said in ((1024, 1000), (1023, 1023), (990, 990)):
        verdict = await asked(wire, razorpay, paid_link(), payment(amount=charged))
        assert verdict.amount == said
    other = await asked(wire, razorpay, paid_link(), payment(currency="USD"))
    assert (other.amount, other.currency) == (1000, "USD")


async def test_money_that_came_twice_is_there_twice_and_in_the_same_order(
    wire: Answering, razorpay: Razorpay
) -> None:
    first, second = payment(), payment(id=LATER_ID, created_at=1692694999)
    for rows in ([row(), row(LATER_ID)], [row(LATER_ID), row()]):
        verdict = await asked(wire, razorpay, paid_link(amount_paid=2000, payments=rows), first, second)
        assert (verdict.transaction_id, verdict.amount) == (PAY_ID, 1000)
        assert [(one.transaction_id, one.amount) for one in verdict.further] == [(LATER_ID, 1000)]


@pytest.mark.parametrize(
    ("of_link", "said"),
    [
        (paid_link(payments=None), {}),
        (paid_link(payments=[]), {}),
        (paid_link(payments=[row(f"pay_{n:014}") for n in range(11)]), {}),
        (paid_link(currency="XXX"), {}),
        (paid_link(), {"currency": ""}),
        (paid_link(), {"amount": "1000"}),
        (paid_link(), {"amount": 10.5}),
        (paid_link(), {"amount": -1}),
        (paid_link(), {"id": LATER_ID}),
        (link(amount_paid=None), {}),
        (link(id=None), {}),
    ],
)
async def test_half_an_answer_is_none(
    wire: Answering, razorpay: Razorpay, of_link: dict[str, Any], said: dict[str, Any]
) -> None:
    wire.on("GET", PAYMENT, json.dumps(payment(**said)))
    with pytest.raises(NoAnswer) as no:
        await asked(wire, razorpay, of_link)
    assert not isinstance(no.value, NotThere)


async def test_a_payment_that_is_not_there_says_nothing_of_its_link(
    wire: Answering, razorpay: Razorpay
) -> None:
    for answer in (error("The id provided does not exist"), (404, "{}")):
        wire.on("GET", PAYMENT, answer)
        with pytest.raises(NoAnswer) as no:
            await asked(wire, razorpay, paid_link())
        assert not isinstance(no.value, NotThere)


async def test_asks_by_reference_where_there_is_no_id(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("GET", LINK, json.dumps(paid_link()))
    wire.on("GET", "/payment_links", links(link(id="plink_of_another0001", reference_id="other"), link()))
    assert (await razorpay.ask(account, UNNAMED)).outcome is Outcome.SUCCEEDED
    wire.on("GET", "/payment_links", links())
    with pytest.raises(NotThere):
        await razorpay.ask(account, UNNAMED)


async def test_a_link_of_another_reference_is_named_as_it_says(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    """A single one answers for itself and is compared; of several nobody knows which is meant."""
    other = link(reference_id="other")
    wire.on("GET", LINK, json.dumps(other)).on("GET", "/payment_links", links(other))
    assert (await razorpay.ask(account, UNNAMED)).reference == "other"
    wire.on("GET", "/payment_links", links(other, other))
    with pytest.raises(NoAnswer, match="ambiguous"):
        await razorpay.ask(account, UNNAMED)


async def test_only_razorpays_own_words_mean_that_a_link_is_not_there(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("GET", LINK, error("The id provided does not exist"))
    with pytest.raises(NotThere):
        await razorpay.ask(account, SUBJECT)
    for answer in (
        error("The requested URL was not found on the server.", 404),
        error("invalid input"),
        (400, "{}"),
    ):
        wire.on("GET", LINK, answer)
        with pytest.raises(NoAnswer) as no:
            await razorpay.ask(account, SUBJECT)
        assert not isinstance(no.value, NotThere)


async def test_a_401_names_the_field(wire: Answering, razorpay: Razorpay, account: Account) -> None:
    wire.on("GET", LINK, error("Authentication failed", 401))
    with pytest.raises(CredentialsRefused) as refused:
        await razorpay.ask(account, SUBJECT)
    assert refused.value.field == "keySecret"
    assert "Authentication failed" in refused.value.answered


async def test_closes_a_link_or_says_how_it_stands(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("POST", f"{LINK}/cancel", json.dumps(link(status="cancelled", cancelled_at=1760000009)))
    assert (await razorpay.close(account, SUBJECT)).outcome is Outcome.CANCELED
    refused = error("cannot cancel or expire an already paid/partially paid link")
    wire.on("POST", f"{LINK}/cancel", refused).on("GET", LINK, json.dumps(paid_link()))
    assert (await razorpay.close(account, SUBJECT)).outcome is Outcome.SUCCEEDED
    gone = error("The id provided does not exist")
    wire.on("POST", f"{LINK}/cancel", gone).on("GET", LINK, gone)
    with pytest.raises(NotThere):
        await razorpay.close(account, SUBJECT)


# --- whose keys


async def test_proves_the_keys_by_reading_payments(wire: Answering, razorpay: Razorpay) -> None:
    wire.on("GET", "/payments", items())
    test = await razorpay.identify(account_at(wire.url))
    live = await razorpay.identify(account_at(wire.url, "rzp_live_0001"))
    assert (test.live, live.live) == (False, True)
    assert test.account != live.account
    assert wire.sent[0].query == {"count": "1"}
    with pytest.raises(CredentialsRefused) as refused:
        await razorpay.identify(account_at(wire.url, "sk_test_0001"))
    assert refused.value.field == "keyId"


# --- refunds


def refund_order(key: str = KEY) -> RefundOrder:
    return RefundOrder(PAY_ID, LINK_ID, Money(400, "INR"), key, "changed my mind")


async def test_refunds_once_per_key(wire: Answering, razorpay: Razorpay, account: Account) -> None:
    wire.on("POST", f"{PAYMENT}/refund", json.dumps(refund(notes={"refund_key": KEY})))
    answer = await razorpay.refund(account, refund_order())
    assert (answer.outcome, answer.money, answer.key) == ("SUCCEEDED", Money(400, "INR"), KEY)
    await razorpay.refund(account, refund_order("a:b"))
    first, odd = wire.sent
    assert first.body.decode() == (
        f'{{"amount":400,"notes":{{"refund_key":"{KEY}","reason":"changed my mind"}}}}'
    )
    assert first.headers["X-Refund-Idempotency"] == KEY
    assert odd.headers["X-Refund-Idempotency"].isalnum()


async def test_a_refused_refund_is_looked_for_first(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    wire.on("POST", f"{PAYMENT}/refund", error("The payment has been fully refunded already"))
    wire.on("GET", REFUNDS, items(refund(notes={"refund_key": KEY}, status="pending")))
    assert (await razorpay.refund(account, refund_order())).outcome == "PENDING"
    wire.on("GET", REFUNDS, items(refund(notes=[])))
    with pytest.raises(StartRefused, match="fully refunded"):
        await razorpay.refund(account, refund_order())
    for answer in (
        error("Different request with the same idempotency key has already been processed."),
        error("Another request with the same idempotency key is still in progress.", 409),
    ):
        wire.on("POST", f"{PAYMENT}/refund", answer)
        with pytest.raises(NoAnswer, match="conflict"):
            await razorpay.refund(account, refund_order())


async def test_reads_every_page_of_refunds_and_each_once(
    wire: Answering, razorpay: Razorpay, account: Account
) -> None:
    newest = [refund(number) for number in range(150, 0, -1)]
    pages = {"0": newest[:100], "100": [newest[99], *newest[100:]]}
    wire.on("GET", REFUNDS, lambda query: (200, items(*pages[query["skip"]])))
    found = await razorpay.refunds_of(account, PAY_ID, None)
    assert [one.refund_id for one in found] == [f"rfnd_{number:014}" for number in range(1, 151)]


@pytest.mark.parametrize("notes", [[], None, {}, {"refund_key": 7}])
async def test_notes_have_three_shapes(
    wire: Answering, razorpay: Razorpay, account: Account, notes: Any
) -> None:
    wire.on("GET", REFUNDS, items(refund(notes=notes, status="failed"), refund(2, payment_id=LATER_ID)))
    (found,) = await razorpay.refunds_of(account, PAY_ID, None)
    assert (found.outcome, found.key) == ("FAILED", None)


# --- messages


def read(razorpay: Razorpay, body: bytes = EVENT, secret: str = SECRET, **headers: str) -> Message:
    given = {"x-razorpay-signature": signature(SECRET, body), **headers}
    return razorpay.read_webhook(account_at(webhook_secret=secret), given, body, now=NOW)


def test_the_published_signature_is_accepted(razorpay: Razorpay) -> None:
    headers = {"x-razorpay-signature": SIGNATURE, "x-razorpay-event-id": "evt1"}
    message = razorpay.read_webhook(account_at(), headers, EVENT, now=NOW)
    assert (message.event_id, message.kind, message.authentic) == ("evt1", "payment_link.paid", True)
    assert message.named == [Named("ple-0001", "plink_TEST0000000001")]


def test_several_secrets_while_one_is_being_changed(razorpay: Razorpay) -> None:
    for secret in (f"new {SECRET}", f"{SECRET},new"):
        assert read(razorpay, secret=secret).authentic
    for secret in ("", " ,", "new"):
        with pytest.raises(SignatureInvalid):
            read(razorpay, secret=secret)
    with pytest.raises(SignatureInvalid):
        razorpay.read_webhook(account_at(), {}, EVENT, now=NOW)


@pytest.mark.parametrize(
    ("entity", "named"),
    [
        (payment(), [Named(None, "plink_ExjpAUN3gVHrPJ")]),
        (payment(notes={"reference": REFERENCE}, description=None), [Named(REFERENCE, None)]),
        (payment(notes=None, description="Order 1"), []),
        (payment(notes=[], description=7), []),
        ([], []),
    ],
)
def test_a_payment_names_its_link_if_it_can(razorpay: Razorpay, entity: Any, named: list[Named]) -> None:
    for event in ("payment.failed", "refund.processed", "payment.dispute.created"):
        body = json.dumps({"event": event, "payload": {"payment": {"entity": entity}}}).encode()
        assert read(razorpay, body).named == named


def test_what_is_signed_but_no_event_is_refused(razorpay: Razorpay) -> None:
    for body in (b"[]", b"{}", b'{"event":"x","payload":[]}', b"\xff"):
        with pytest.raises(ValueError, match="not an event"):
            read(razorpay, body)


# --- the simulator's way back of the browser

WAYS_BACK = [
    (
        "EnLs21M47BllR3X8PSFtjtbd",
        "plink_IH3cNucfVEgV68|TSsd1989|paid|pay_IH3d0ara9bSsjQ",
        "07ae18789e35093e51d0a491eb9922646f3f82773547e5b0f67ee3f2d3bf7d5b",
    ),
    (
        "test_key_secret_0001",
        "plink_TEST0000000001|ple-0001|paid|pay_TEST0000000001",
        "e23dc0b6a68f490620019fdcb2373e2ab299c6c6da322376aa281a2706175b23",
    ),
]


@pytest.mark.parametrize(("secret", "said", "expected"), WAYS_BACK)
def test_the_simulator_signs_the_way_back_as_published(secret: str, said: str, expected: str) -> None:
    link_id, reference, status, payment_id = said.split("|")
    paid = Transaction(
        id=payment_id, amount=1000, currency="INR", reference=reference, fee=0, paid_at=int(NOW)
    )
    checkout = Checkout(
        id=link_id,
        owner="acc_1",
        account="acc_1",
        live=False,
        reference=reference,
        amount=1000,
        currency="INR",
        description="",
        status=Status.PAID,
        return_url="https://shop.example/rzp",
        cancel_url="",
        webhook_url=None,
        created_at=int(NOW),
        updated_at=int(NOW),
        expires_at=None,
        transaction=paid,
        extra={shown.SIGNER: secret},
    )
    assert way_back(checkout) == {
        "razorpay_payment_id": payment_id,
        "razorpay_payment_link_id": link_id,
        "razorpay_payment_link_reference_id": reference,
        "razorpay_payment_link_status": status,
        "razorpay_signature": expected,
    }
