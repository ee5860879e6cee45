"""SumUp on the wire: the exact bytes we send, every answer of its sheet as a verdict, every signature vector."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from paystate.adapters.providers import load_providers
from paystate.adapters.providers.sumup import SumUp, make
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
from paystate.kit.clock import SECOND, Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http

REFERENCE, CHECKOUT = "ple0001ple0001ple0001", "4e425463-3e1b-431d-83fa-1e51c2925e99"
TRANSACTION, MERCHANT = "410fc44a-5956-44e1-b5cc-19c6f8d727a4", "MH4H92C7"
CHECKOUTS = "/v0.1/checkouts"
ONE, ABOUT = f"{CHECKOUTS}/{CHECKOUT}", f"/v2.1/merchants/{MERCHANT}/transactions"
REFUND = f"/v1.0/merchants/{MERCHANT}/payments/{TRANSACTION}/refunds"
LATER = "Fri, 09 Oct 2026 10:00:00 GMT"
UNPAID = f"""{{"id":"{CHECKOUT}","checkout_reference":"{REFERENCE}","amount":10.1,"currency":"EUR",
  "merchant_code":"{MERCHANT}","merchant_name":"Sample Merchant","description":"Order 1","purpose":"CHECKOUT",
  "status":"PENDING","date":"2026-10-09T08:53:20.000+00:00","valid_until":null,"hosted_checkout":{{"enabled":true}},
  "hosted_checkout_url":"https://checkout.sumup.com/pay/8f9316a3","transactions":[]}}"""
TRY = f"""{{"id":"{TRANSACTION}","transaction_code":"TEENSK4W2K","amount":10.1,"currency":"EUR",
  "timestamp":"2026-10-09T08:55:01.876Z","status":"SUCCESSFUL","payment_type":"ECOM","installments_count":1,
  "merchant_code":"{MERCHANT}","vat_amount":0,"tip_amount":0,"entry_mode":"CUSTOMER_ENTRY","auth_code":"053201"}}"""
PAID = UNPAID.replace('"PENDING"', '"PAID"').replace(
    '"transactions":[]', f'"transaction_id":"{TRANSACTION}","transactions":[{TRY}]'
)
RECORD = TRY[:-1] + (
    ',"simple_status":"SUCCESSFUL","simple_payment_type":"CARD","foreign_transaction_id":"x","fee_amount":0.25,'
    '"card":{"last_4_digits":"0091","type":"VISA"},'
    '"events":[{"id":1001,"type":"PAYOUT","status":"SCHEDULED","amount":9.85,"fee_amount":0.25}]}'
)


class Wire:
    """What a test has SumUp answer, and what was really sent to it."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, str, Mapping[str, str]]]] = {}
        self.sent: list[tuple[str, str, str, bytes]] = []
        self.authorization: set[str] = set()

    def on(self, method: str, path: str, *answers: str | tuple[int, str], **headers: str) -> "Wire":
        """In this order; the last one for ever."""
        given = [(200, a) if isinstance(a, str) else a for a in answers]
        self.answers[method, path] = [(status, body, headers) for status, body in given]
        return self

    async def handle(self, request: web.Request) -> web.Response:
        self.sent.append((request.method, request.raw_path, request.path, await request.read()))
        self.authorization.add(request.headers.get("Authorization", ""))
        waiting = self.answers.get((request.method, request.path), [(404, '{"error_code":"NOT_FOUND"}', {})])
        status, body, headers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return web.Response(status=status, body=body.encode(), headers=dict(headers))

    def calls(self, method: str) -> list[str]:
        return [raw for verb, raw, _, _ in self.sent if verb == method]


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
    yield _account(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    await runner.cleanup()


@pytest.fixture
async def sumup() -> AsyncIterator[SumUp]:
    http = Http(allow_private=["127.0.0.1/32"])
    yield make(http)
    await http.close()


def _account(url: str = "https://api.sumup.com", webhook_secret: str = "") -> Account:
    return Account(
        connection_id="con_1",
        account=MERCHANT,
        live=True,
        settings={"merchantCode": MERCHANT, "baseUrl": url},
        secrets={"secretKey": "sup_sk_1", "webhookSecret": webhook_secret},
    )


def _order(money: Money, expires_at: Instant | None = None) -> CheckoutOrder:
    return CheckoutOrder(
        reference=REFERENCE,
        money=money,
        description="Order 1",
        return_url="https://pay.example/pay/abc/return",
        cancel_url="https://pay.example/pay/abc/return?from=cancel",
        webhook_url="https://pay.example/api/webhooks/sumup/con_1",
        expires_at=expires_at,
    )


def _record(*changes: tuple[str, str]) -> str:
    text = RECORD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def _events(*events: tuple[int, str, str], status: str = "SUCCESSFUL") -> str:
    """The record of the transaction with these REFUND events: id, status, amount as written."""
    rows = ",".join(f'{{"id":{i},"type":"REFUND","status":"{s}","amount":{a}}}' for i, s, a in events)
    return _record(('"events":[', f'"events":[{rows},'), ('"status":"SUCCESSFUL"', f'"status":"{status}"'))


async def _asked(sumup: SumUp, account: Account, wire: Wire, checkout: str, record: str = RECORD) -> Verdict:
    wire.on("GET", ONE, checkout).on("GET", ABOUT, record)
    return await sumup.ask(account, Subject(REFERENCE, CHECKOUT))


# --- what it is


def test_it_is_found_and_offers_what_sumup_can(sumup: SumUp) -> None:
    assert load_providers(sumup._http)["sumup"].name == "sumup"
    assert all(isinstance(sumup, can) for can in (Closes, Refunds, SendsWebhooks))
    assert not any(isinstance(sumup, cannot) for cannot in (Lists, KeepsRefundKeys))
    assert sumup.optional_fields["baseUrl"] == "https://api.sumup.com"
    assert set(sumup.optional_fields) | sumup.secret_fields <= set(sumup.fields)


# --- the exact bytes of a start


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(1010, "EUR"), "10.10"),
        (Money(1, "CHF"), "0.01"),
        (Money(1500, "CLP"), "1500"),
        (Money(999_999_999_999_99, "HUF"), "999999999999.99"),
    ],
)
def test_golden_bytes(sumup: SumUp, money: Money, amount: str) -> None:
    assert (
        sumup.prepare(_account(), _order(money))
        == (
            f'{{"checkout_reference":"{REFERENCE}","amount":{amount},"currency":"{money.currency}",'
            f'"merchant_code":"{MERCHANT}","description":"Order 1",'
            '"return_url":"https://pay.example/api/webhooks/sumup/con_1",'
            '"redirect_url":"https://pay.example/pay/abc/return","hosted_checkout":{"enabled":true}}'
        ).encode()
    )


def test_the_deadline_and_a_long_description_on_the_wire(sumup: SumUp) -> None:
    order = _order(Money(1010, "EUR"), parse_rfc3339("2026-10-09T09:00:00Z"))
    body = json.loads(sumup.prepare(_account(), order))
    assert body["valid_until"] == "2026-10-09T09:00:00Z"


@pytest.mark.parametrize("currency", ["KWD", "JPY", "ZAR", "HBAR"])
def test_currencies_sumup_does_not_take(sumup: SumUp, currency: str) -> None:
    with pytest.raises(Refused) as refused:
        sumup.check(Money(1000, currency))
    assert refused.value.code == "currency_not_supported_by_provider"


def test_amounts_it_takes(sumup: SumUp) -> None:
    sumup.check(Money(1, "EUR"))
    sumup.check(Money(1, "CLP"))
    with pytest.raises(Refused) as refused:
        sumup.check(Money(0, "EUR"))
    assert refused.value.code == "amount_below_minimum"


# --- starting


async def test_a_start_sends_the_prepared_bytes_and_offers_the_hosted_page(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    wire.on("POST", CHECKOUTS, (201, UNPAID))
    request = sumup.prepare(account, _order(Money(1010, "EUR")))
    started = await sumup.start(account, request, idempotency_key="k")
    assert (started.checkout_id, started.offer.kind) == (CHECKOUT, "redirect")
    assert started.offer.url == "https://checkout.sumup.com/pay/8f9316a3"
    assert wire.sent == [("POST", CHECKOUTS, CHECKOUTS, request)]
    assert wire.authorization == {"Bearer sup_sk_1"}


DUPLICATED = '{"error_code":"DUPLICATED_CHECKOUT","message":"Checkout with this reference already exists"}'


async def test_a_start_that_was_made_before_goes_on_with_that_checkout(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    wire.on("POST", CHECKOUTS, (409, DUPLICATED)).on("GET", CHECKOUTS, f"[{UNPAID}]")
    request = sumup.prepare(account, _order(Money(1010, "EUR")))
    assert (await sumup.start(account, request, idempotency_key="k")).checkout_id == CHECKOUT
    assert wire.calls("GET") == [f"{CHECKOUTS}?checkout_reference={REFERENCE}"]


@pytest.mark.parametrize(
    "listed",
    [
        "[]",
        f"[{UNPAID.replace('10.1,', '10.2,')}]",
        f"[{UNPAID.replace('EUR', 'CHF')}]",
        f"[{UNPAID.replace(REFERENCE, 'another')}]",
    ],
)
async def test_a_conflict_that_cannot_be_adopted_is_never_a_refusal(
    sumup: SumUp, account: Account, wire: Wire, listed: str
) -> None:
    wire.on("POST", CHECKOUTS, (409, DUPLICATED)).on("GET", CHECKOUTS, listed)
    request = sumup.prepare(account, _order(Money(1010, "EUR")))
    with pytest.raises(NoAnswer) as silence:
        await sumup.start(account, request, idempotency_key="k")
    assert (type(silence.value), silence.value.reason) == (NoAnswer, "conflict")
    assert silence.value.server_error


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            400,
            '{"message":"Validation error","error_code":"MISSING","param":"merchant_code"}',
            "MISSING merchant_code",
        ),
        (
            400,
            '[{"message":"Validation error","error_code":"INVALID","param":"amount"}]',
            "INVALID amount",
        ),
        (
            422,
            '{"title":"Unprocessable Entity","status":422,"errors":[{"code":"INVALID_AMOUNT"}]}',
            "INVALID_AMOUNT",
        ),
        (400, '{"title":"Bad Request","status":400,"detail":"no"}', "Bad Request"),
        (400, '{"error":"invalid_grant","error_description":"no"}', "invalid_grant"),
        (400, "<html>", "refused"),
        (400, "[]", "refused"),
        (400, '{"errors":[17],"error_code":17}', "refused"),
    ],
)
async def test_refusals_in_every_shape(
    sumup: SumUp, account: Account, wire: Wire, status: int, body: str, code: str
) -> None:
    wire.on("POST", CHECKOUTS, (status, body))
    with pytest.raises(StartRefused) as refused:
        await sumup.start(account, b"{}", idempotency_key="k")
    assert refused.value.reason == code


@pytest.mark.parametrize(
    "body", [UNPAID.replace('"hosted_checkout_url"', '"x"'), "<html>", "", '{"id":17}', "[]"]
)
async def test_a_start_without_a_page_to_go_to_is_no_answer(
    sumup: SumUp, account: Account, wire: Wire, body: str
) -> None:
    wire.on("POST", CHECKOUTS, (201, body))
    with pytest.raises(NoAnswer, match="unreadable"):
        await sumup.start(account, b"{}", idempotency_key="k")


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_name_the_field(
    sumup: SumUp, account: Account, wire: Wire, status: int
) -> None:
    wire.on("POST", CHECKOUTS, (status, '{"error_message":"checkout_payments_not_allowed"}'))
    with pytest.raises(CredentialsRefused) as refused:
        await sumup.start(account, b"{}", idempotency_key="k")
    assert refused.value.field == "secretKey"
    assert "checkout_payments_not_allowed" in refused.value.answered
    assert "sup_sk_1" not in refused.value.answered


# --- asking


async def test_a_paid_checkout_is_proof_with_everything_it_says(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    assert await _asked(sumup, account, wire, PAID) == Verdict(
        outcome=Outcome.SUCCEEDED,
        reference=REFERENCE,
        account=MERCHANT,
        live=True,
        detail="SUCCESSFUL",
        raw_digest=hashlib.sha256((PAID + RECORD).encode()).hexdigest(),
        checkout_id=CHECKOUT,
        amount=1010,
        currency="EUR",
        transaction_id=TRANSACTION,
        method="card",
        fee=25,
        provider_at=parse_rfc3339("2026-10-09T08:55:01.876Z"),
    )
    assert wire.calls("GET") == [ONE, f"{ABOUT}?id={TRANSACTION}"]


def _with(status: str, *tries: str, until: str = "null") -> str:
    rows = ",".join(TRY.replace("SUCCESSFUL", word).replace(TRANSACTION, f"t{word}") for word in tries)
    return (
        UNPAID.replace('"PENDING"', f'"{status}"')
        .replace('"transactions":[]', f'"transactions":[{rows}]')
        .replace('"valid_until":null', f'"valid_until":{until}')
    )


@pytest.mark.parametrize(
    ("checkout", "outcome", "detail"),
    [
        (_with("PENDING"), Outcome.PENDING, "PENDING"),
        (_with("PENDING", "FAILED"), Outcome.PENDING, "PENDING"),
        (_with("PENDING", "PENDING"), Outcome.PROCESSING, "PENDING"),
        (_with("PENDING", "SUCCESSFUL"), Outcome.PROCESSING, "PENDING"),
        (_with("FAILED", "FAILED"), Outcome.PENDING, "declined"),
        (_with("FAILED", "FAILED", until='"2026-10-09T09:59:59+00:00"'), Outcome.FAILED, "FAILED"),
        (_with("FAILED", "FAILED", until='"2026-10-09T10:00:01+00:00"'), Outcome.PENDING, "declined"),
        (_with("FAILED", "FAILED", "PENDING"), Outcome.PROCESSING, "FAILED"),
        (_with("EXPIRED"), Outcome.EXPIRED, "EXPIRED"),
        (_with("EXPIRED", "FAILED"), Outcome.EXPIRED, "EXPIRED"),
        (_with("EXPIRED", "SUCCESSFUL"), Outcome.UNKNOWN, "EXPIRED with money"),
        (_with("quantum"), Outcome.UNKNOWN, "quantum"),
        (_with("w" * 60), Outcome.UNKNOWN, "w" * 40),
        (_with("paid"), Outcome.UNKNOWN, "paid"),
    ],
)
async def test_every_word_of_an_unpaid_checkout(
    sumup: SumUp, account: Account, wire: Wire, checkout: str, outcome: Outcome, detail: str
) -> None:
    wire.on("GET", ONE, checkout, Date=LATER)
    verdict = await sumup.ask(account, Subject(REFERENCE, CHECKOUT))
    assert (verdict.outcome, verdict.detail) == (outcome, detail)
    assert (verdict.amount, verdict.transaction_id) == (None, None)
    assert verdict.raw_digest == hashlib.sha256(checkout.encode()).hexdigest()
    assert len(wire.sent) == 1


async def test_without_a_clock_of_theirs_a_failed_checkout_can_still_be_paid(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    wire.on("GET", ONE, _with("FAILED", until='"2020-01-01T00:00:00Z"'), Date="yesterday")
    assert (await sumup.ask(account, Subject(REFERENCE, CHECKOUT))).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("status", "simple", "outcome"),
    [
        ("SUCCESSFUL", "PAID_OUT", Outcome.SUCCEEDED),
        ("PENDING", "PENDING", Outcome.PROCESSING),
        ("CANCELLED", "CANCELLED", Outcome.CANCELED),
        ("REFUNDED", "REFUNDED", Outcome.REFUNDED),
        ("FAILED", "FAILED", Outcome.UNKNOWN),
        ("SUCCESSFUL", "REFUND_FAILED", Outcome.UNKNOWN),
        ("SUCCESSFUL", "CANCEL_FAILED", Outcome.UNKNOWN),
        ("SUCCESSFUL", "NON_COLLECTION", Outcome.UNKNOWN),
        ("quantum", "SUCCESSFUL", Outcome.UNKNOWN),
    ],
)
async def test_every_word_of_a_transaction(
    sumup: SumUp, account: Account, wire: Wire, status: str, simple: str, outcome: Outcome
) -> None:
    record = _record(
        ('"simple_status":"SUCCESSFUL"', f'"simple_status":"{simple}"'),
        ('"status":"SUCCESSFUL"', f'"status":"{status}"'),
    )
    verdict = await _asked(sumup, account, wire, PAID, record)
    assert (verdict.outcome, verdict.disputed) == (outcome, False)
    if outcome is Outcome.UNKNOWN:
        assert verdict.detail in (status, simple)
        assert verdict.detail != "SUCCESSFUL"
    if outcome is Outcome.REFUNDED:
        assert verdict.amount_refunded == 1010


@pytest.mark.parametrize(
    "change",
    [
        ('"simple_status":"SUCCESSFUL"', '"simple_status":"CHARGEBACK"'),
        ('"type":"PAYOUT"', '"type":"CHARGE_BACK"'),
    ],
)
async def test_disputes(sumup: SumUp, account: Account, wire: Wire, change: tuple[str, str]) -> None:
    verdict = await _asked(sumup, account, wire, PAID, _record(change))
    assert (verdict.outcome, verdict.disputed) == (Outcome.SUCCEEDED, True)


@pytest.mark.parametrize(
    ("record", "outcome", "refunded"),
    [
        (_events((7, "SUCCESSFUL", "4")), Outcome.SUCCEEDED, 400),
        (_events((7, "REFUNDED", "4.10"), (8, "SUCCESSFUL", "6")), Outcome.REFUNDED, 1010),
        (_events((7, "REFUNDED", "-4.10")), Outcome.SUCCEEDED, 410),
        (_events((7, "REFUNDED", "4.1"), status="REFUNDED"), Outcome.SUCCEEDED, 410),
        (_events((7, "PENDING", "4.1"), status="REFUNDED"), Outcome.SUCCEEDED, 410),
        (_events((7, "FAILED", "4"), (8, "PENDING", "6")), Outcome.SUCCEEDED, 0),
        (_events((7, "quantum", "4")), Outcome.SUCCEEDED, 0),
        (
            _record(
                (
                    '"events":[',
                    '"transaction_events":[{"id":7,"event_type":"REFUND","status":"REFUNDED","amount":5}],"events":[',
                )
            ),
            Outcome.SUCCEEDED,
            500,
        ),
    ],
)
async def test_refunds_beside_a_payment(
    sumup: SumUp, account: Account, wire: Wire, record: str, outcome: Outcome, refunded: int
) -> None:
    verdict = await _asked(sumup, account, wire, PAID, record)
    assert (verdict.outcome, verdict.amount_refunded, verdict.amount) == (outcome, refunded, 1010)


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("10", 1000),
        ("10.0", 1000),
        ("10.1", 1010),
        ("10.10", 1010),
        ("10.100", 1010),
        ('"10.10"', 1010),
        ("1.01e1", 1010),
        ("0.07", 7),
        ("90071992547409.93", 9007199254740993),
    ],
)
async def test_amounts_are_exact(
    sumup: SumUp, account: Account, wire: Wire, written: str, minor: int
) -> None:
    verdict = await _asked(sumup, account, wire, PAID, _record(('"amount":10.1', f'"amount":{written}')))
    assert verdict.amount == minor


@pytest.mark.parametrize(
    "written", ["10.101", "1e999999", "1e-999999", '"NaN"', '"Infinity"', '"ten"', "null", "true", "[10]"]
)
async def test_amounts_that_are_none(sumup: SumUp, account: Account, wire: Wire, written: str) -> None:
    with pytest.raises(NoAnswer, match="unreadable"):
        await _asked(sumup, account, wire, PAID, _record(('"amount":10.1', f'"amount":{written}')))


@pytest.mark.parametrize(("written", "fee"), [("0.2525", 25), ('"NaN"', None), ("null", None), ("1", 100)])
async def test_a_fee_that_is_odd_does_not_stand_in_the_way(
    sumup: SumUp, account: Account, wire: Wire, written: str, fee: int | None
) -> None:
    record = _record(('"fee_amount":0.25,"card"', f'"fee_amount":{written},"card"'))
    verdict = await _asked(sumup, account, wire, PAID, record)
    assert (verdict.outcome, verdict.fee) == (Outcome.SUCCEEDED, fee)


async def test_a_transaction_that_is_not_listed_yet_is_taken_from_the_checkout(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    wire.on("GET", ONE, PAID)
    verdict = await sumup.ask(account, Subject(REFERENCE, CHECKOUT))
    assert (verdict.outcome, verdict.amount, verdict.fee) == (Outcome.SUCCEEDED, 1010, None)
    assert verdict.method == "ecom"


@pytest.mark.parametrize(("status", "reason"), [(503, "status_503"), (429, "rate_limited")])
async def test_silence_about_the_transaction_is_silence(
    sumup: SumUp, account: Account, wire: Wire, status: int, reason: str
) -> None:
    wire.on("GET", ONE, PAID).on("GET", ABOUT, (status, "{}"), **{"Retry-After": "7"})
    with pytest.raises(NoAnswer, match=reason) as silence:
        await sumup.ask(account, Subject(REFERENCE, CHECKOUT))
    assert silence.value.retry_after_seconds == (7.0 if status == 429 else None)


async def test_only_an_id_of_the_transaction_is_enough_where_its_record_says_the_rest(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    checkout = PAID.replace(f"[{TRY}]", "[]")
    assert (await _asked(sumup, account, wire, checkout)).amount == 1010


@pytest.mark.parametrize(
    ("checkout", "record"),
    [
        (_with("PAID"), RECORD),
        (_with("PAID", "FAILED"), RECORD),
        (PAID, _record((TRANSACTION, "another"))),
        (PAID, _record(('"currency":"EUR"', '"currency":"XXQ"'))),
        (PAID, _record(('"currency":"EUR"', '"currency":null'))),
        (PAID, "<html>"),
        (PAID, "[]"),
        ("<html>", RECORD),
        ("", RECORD),
        ("[]", RECORD),
        ('{"id":17,"status":["paid"]}', RECORD),
        (PAID.replace('"PAID"', "17"), RECORD),
        (PAID.replace('"checkout_reference"', '"x"'), RECORD),
    ],
)
async def test_what_cannot_be_read_is_no_answer(
    sumup: SumUp, account: Account, wire: Wire, checkout: str, record: str
) -> None:
    with pytest.raises(NoAnswer, match="unreadable"):
        await _asked(sumup, account, wire, checkout, record)


async def test_a_checkout_paid_twice_tells_of_both(sumup: SumUp, account: Account, wire: Wire) -> None:
    first = TRY.replace(TRANSACTION, "earlier").replace("10.1", "9")
    checkout = PAID.replace(f"[{TRY}]", f"[{first},{TRY}]")
    wire.on("GET", ONE, checkout)  # neither has a record yet
    verdict = await sumup.ask(account, Subject(REFERENCE, CHECKOUT))
    assert (verdict.transaction_id, verdict.amount) == (TRANSACTION, 1010)
    assert [(v.transaction_id, v.amount, v.outcome) for v in verdict.further] == [
        ("earlier", 900, Outcome.SUCCEEDED)
    ]


async def test_another_account_and_reference_are_told_as_they_are(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    verdict = await _asked(
        sumup,
        account,
        wire,
        PAID.replace(REFERENCE, "another"),
        _record((f'"merchant_code":"{MERCHANT}"', '"merchant_code":"OTHER"')),
    )
    assert (verdict.reference, verdict.account) == ("another", "OTHER")


async def test_by_reference_the_paid_one_of_ours_counts(sumup: SumUp, account: Account, wire: Wire) -> None:
    foreign = PAID.replace(REFERENCE, "foreign")
    wire.on("GET", CHECKOUTS, f"[{foreign},{UNPAID},{PAID}]").on("GET", ABOUT, RECORD)
    verdict = await sumup.ask(account, Subject(REFERENCE, None))
    assert (verdict.outcome, verdict.reference) == (Outcome.SUCCEEDED, REFERENCE)
    assert wire.calls("GET")[0] == f"{CHECKOUTS}?checkout_reference={REFERENCE}"


async def test_unknown_ones_are_not_there(sumup: SumUp, account: Account, wire: Wire) -> None:
    wire.on("GET", CHECKOUTS, "[]")
    with pytest.raises(NotThere):
        await sumup.ask(account, Subject(REFERENCE, None))
    with pytest.raises(NotThere):
        await sumup.ask(account, Subject(REFERENCE, "a/b?c"))
    assert wire.calls("GET")[-1] == f"{CHECKOUTS}/a%2Fb%3Fc"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_404_of_a_call_that_is_about_no_checkout_says_nothing_of_any(
    sumup: SumUp, account: Account, wire: Wire, method: str
) -> None:
    wire.on(method, CHECKOUTS, (404, "{}"))
    asking = (
        sumup.ask(account, Subject(REFERENCE, None))
        if method == "GET"
        else sumup.start(account, b"{}", idempotency_key="k")
    )
    with pytest.raises(NoAnswer, match="status_404") as silence:
        await asking
    assert type(silence.value) is NoAnswer
    with pytest.raises(NoAnswer, match="status_404"):
        await sumup.refunds_of(account, TRANSACTION, CHECKOUT)


# --- closing


async def test_closing_ends_it_as_cancelled(sumup: SumUp, account: Account, wire: Wire) -> None:
    wire.on("DELETE", ONE, _with("EXPIRED"))
    verdict = await sumup.close(account, Subject(REFERENCE, CHECKOUT))
    assert verdict.outcome is Outcome.CANCELED
    assert wire.calls("DELETE") == [ONE]


async def test_closing_one_that_was_paid_meanwhile_is_a_proof(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    processed = '{"error_code":"CHECKOUT_PROCESSED","message":"Checkout is already processed"}'
    wire.on("DELETE", ONE, (409, processed)).on("GET", ONE, PAID).on("GET", ABOUT, RECORD)
    verdict = await sumup.close(account, Subject(REFERENCE, CHECKOUT))
    assert (verdict.outcome, verdict.amount) == (Outcome.SUCCEEDED, 1010)


async def test_closing_by_reference_finds_it_first(sumup: SumUp, account: Account, wire: Wire) -> None:
    wire.on("GET", CHECKOUTS, f"[{UNPAID}]").on("DELETE", ONE, _with("EXPIRED"))
    assert (await sumup.close(account, Subject(REFERENCE, None))).outcome is Outcome.CANCELED


# --- refunds


def _refund_order(amount: int = 400) -> RefundOrder:
    return RefundOrder(TRANSACTION, CHECKOUT, Money(amount, "EUR"), "key")


async def test_a_refund_is_the_one_that_was_not_there_before(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    before, after = (
        _events((7, "REFUNDED", "4")),
        _events((7, "REFUNDED", "4"), (8, "PENDING", "4.00")),
    )
    wire.on("GET", ABOUT, before, after).on("POST", REFUND, (201, "{}"))
    made = await sumup.refund(account, _refund_order())
    assert (made.refund_id, made.outcome, made.money) == (
        f"{TRANSACTION}/8",
        "PENDING",
        Money(400, "EUR"),
    )
    assert [body for verb, _, _, body in wire.sent if verb == "POST"] == [b'{"amount":4.00}']
    listed = await sumup.refunds_of(account, TRANSACTION, CHECKOUT)
    assert [(r.refund_id, r.outcome) for r in listed] == [
        (f"{TRANSACTION}/7", "SUCCEEDED"),
        (f"{TRANSACTION}/8", "PENDING"),
    ]


async def test_a_refund_that_is_not_listed_yet_is_no_answer(
    sumup: SumUp, account: Account, wire: Wire
) -> None:
    wire.on("GET", ABOUT, _events((7, "REFUNDED", "4"))).on("POST", REFUND, (201, "{}"))
    with pytest.raises(NoAnswer, match="refund_not_listed_yet"):
        await sumup.refund(account, _refund_order())


async def test_refused_refunds(sumup: SumUp, account: Account, wire: Wire) -> None:
    too_high = (
        '{"title":"Unprocessable Entity","errors":[{"code":"INVALID_AMOUNT","reason":"amount_too_high"}]}'
    )
    wire.on("GET", ABOUT, RECORD).on(
        "POST", REFUND, (422, too_high), (409, '{"title":"Conflict"}'), (500, "")
    )
    with pytest.raises(StartRefused, match="INVALID_AMOUNT"):
        await sumup.refund(account, _refund_order())
    with pytest.raises(NoAnswer, match="not_refundable_now"):
        await sumup.refund(account, _refund_order())
    with pytest.raises(NoAnswer, match="status_500"):
        await sumup.refund(account, _refund_order())


# --- whose key it is


@pytest.mark.parametrize(
    ("body", "live", "name"),
    [
        (f'{{"merchant_code":"{MERCHANT}","alias":"Shop","sandbox":true,"country":"DE"}}', False, "Shop"),
        (f'{{"merchant_code":"{MERCHANT}","sandbox":false}}', True, MERCHANT),
        (f'{{"merchant_code":"{MERCHANT}"}}', True, MERCHANT),
    ],
)
async def test_identity(sumup: SumUp, account: Account, wire: Wire, body: str, live: bool, name: str) -> None:
    wire.on("GET", f"/v1/merchants/{MERCHANT}", body)
    identity = await sumup.identify(account)
    assert (identity.account, identity.live, identity.name) == (MERCHANT, live, name)


async def test_a_merchant_code_of_another_is_named(sumup: SumUp, account: Account, wire: Wire) -> None:
    with pytest.raises(CredentialsRefused) as refused:
        await sumup.identify(account)
    assert refused.value.field == "merchantCode"
    wire.on("GET", f"/v1/merchants/{MERCHANT}", (401, '{"title":"Unauthorized"}'))
    with pytest.raises(CredentialsRefused) as refused:
        await sumup.identify(account)
    assert refused.value.field == "secretKey"


@pytest.mark.parametrize("body", ["{}", '{"merchant_code":""}', '{"merchant_code":"M","sandbox":"no"}'])
async def test_an_odd_identity_is_no_answer(sumup: SumUp, account: Account, wire: Wire, body: str) -> None:
    wire.on("GET", f"/v1/merchants/{MERCHANT}", body)
    with pytest.raises(NoAnswer, match="unreadable"):
        await sumup.identify(account)


# --- webhooks: the vectors of the sheet

EVENTS_SECRET, EVENTS_AT = "sumup-events-secret-0001", Instant(1760000000 * SECOND)
EVENTS_BODY = (
    b'{"id":"evt_0001","type":"checkouts.paid","created_at":"2025-10-09T08:53:20Z","object":{"id":"4e425463-3e1b-431d-'
    b'83fa-1e51c2925e99","type":"checkout","url":"https://api.sumup.com/v0.1/checkouts/4e425463-3e1b-431d-83fa-1e51c2925e99"}}'
)
EVENTS_HEX = "90abb8d219d98b22cdcba8a10d9bcc45d67e44d36fb59952ffe48720be1ecd3e"
LEGACY_SECRET = "sumup-webhook-secret-0001"
LEGACY_BODY = (
    b'{"id":"8f1b7c1e-0000-4000-8000-000000000001","event_type":"checkout.status.updated","payload":{"checkout_id":'
    b'"4e425463-3e1b-431d-83fa-1e51c2925e99","reference":"ple-0001","status":"PAID"},"timestamp":"2025-10-09T08:53:20Z"}'
)
LEGACY_HEX = "f05d377c5b4070bc605c2976575737a6daa7874d7abaae339d4de56586207a19"
SIGNATURE, STAMP, LEGACY = (
    "x-sumup-webhook-signature",
    "x-sumup-webhook-timestamp",
    "x-payload-signature",
)


def _read(
    sumup: SumUp,
    headers: Mapping[str, str],
    body: bytes,
    secret: str = EVENTS_SECRET,
    now: Instant = EVENTS_AT,
) -> Any:
    return sumup.read_webhook(_account(webhook_secret=secret), headers, body, now=now)


@pytest.mark.parametrize(
    "headers",
    [
        {SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"},
        {SIGNATURE: f"t=1760000000,v1={'0' * 64},v1={EVENTS_HEX}"},
        {SIGNATURE: f"v1={EVENTS_HEX}", STAMP: "1760000000"},
    ],
)
@pytest.mark.parametrize("secret", [EVENTS_SECRET, f"another {EVENTS_SECRET}"])
def test_a_signed_event(sumup: SumUp, headers: Mapping[str, str], secret: str) -> None:
    message = _read(sumup, headers, EVENTS_BODY, secret)
    assert (message.event_id, message.kind, message.authentic) == ("evt_0001", "checkouts.paid", True)
    assert [(n.reference, n.checkout_id) for n in message.named] == [(None, CHECKOUT)]


@pytest.mark.parametrize("late", [-300, 300])
def test_a_signed_event_within_five_minutes(sumup: SumUp, late: int) -> None:
    now = Instant(EVENTS_AT + late * SECOND)
    assert _read(sumup, {SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"}, EVENTS_BODY, now=now).authentic


@pytest.mark.parametrize(
    ("headers", "body", "secret", "late"),
    [
        (
            {SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"},
            EVENTS_BODY.replace(b"paid", b"pald"),
            EVENTS_SECRET,
            0,
        ),
        ({SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"}, EVENTS_BODY, "wrong", 0),
        ({SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"}, EVENTS_BODY, "", 0),
        ({SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"}, EVENTS_BODY, EVENTS_SECRET, 301),
        ({SIGNATURE: f"t=1760000000,v1={EVENTS_HEX}"}, EVENTS_BODY, EVENTS_SECRET, -301),
        ({SIGNATURE: f"t=1760000001,v1={EVENTS_HEX}"}, EVENTS_BODY, EVENTS_SECRET, 0),
        ({SIGNATURE: "t=1760000000"}, EVENTS_BODY, EVENTS_SECRET, 0),
        ({SIGNATURE: f"v1={EVENTS_HEX}"}, EVENTS_BODY, EVENTS_SECRET, 0),
        ({SIGNATURE: ""}, EVENTS_BODY, EVENTS_SECRET, 0),
        ({LEGACY: LEGACY_HEX}, LEGACY_BODY.replace(b"PAID", b"PALD"), LEGACY_SECRET, 0),
        ({LEGACY: LEGACY_HEX}, LEGACY_BODY, "wrong", 0),
        ({LEGACY: LEGACY_HEX}, LEGACY_BODY, "", 0),
        ({LEGACY: ""}, LEGACY_BODY, LEGACY_SECRET, 0),
    ],
)
def test_signatures_that_do_not_hold(
    sumup: SumUp, headers: Mapping[str, str], body: bytes, secret: str, late: int
) -> None:
    with pytest.raises(SignatureInvalid):
        _read(sumup, headers, body, secret, Instant(EVENTS_AT + late * SECOND))


def test_an_empty_secret_signs_nothing_even_when_the_sender_signed_with_it(sumup: SumUp) -> None:
    forged = hmac.new(b"", LEGACY_BODY, "sha256").hexdigest()
    with pytest.raises(SignatureInvalid):
        _read(sumup, {LEGACY: forged}, LEGACY_BODY, "")


def test_a_legacy_event(sumup: SumUp) -> None:
    message = _read(sumup, {LEGACY: LEGACY_HEX}, LEGACY_BODY, LEGACY_SECRET)
    assert (message.event_id, message.kind) == (
        "8f1b7c1e-0000-4000-8000-000000000001",
        "checkout.status.updated",
    )
    assert [(n.reference, n.checkout_id) for n in message.named] == [("ple-0001", CHECKOUT)]
    assert message.authentic


@pytest.mark.parametrize("secret", ["", EVENTS_SECRET])
def test_the_unsigned_default_is_a_hint_and_no_more(sumup: SumUp, secret: str) -> None:
    body = f'{{"event_type":"CHECKOUT_STATUS_CHANGED","id":"{CHECKOUT}"}}'.encode()
    message = _read(sumup, {}, body, secret)
    assert (message.event_id, message.kind, message.authentic) == ("", "CHECKOUT_STATUS_CHANGED", False)
    assert [n.checkout_id for n in message.named] == [CHECKOUT]


def test_an_unsigned_message_cannot_take_the_id_of_a_real_event(sumup: SumUp) -> None:
    message = _read(sumup, {}, EVENTS_BODY)
    assert (message.event_id, message.authentic) == ("", False)
    assert [n.checkout_id for n in message.named] == [CHECKOUT]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"event_type":"OTHER","id":"x"}',
        b'{"event_type":"CHECKOUT_STATUS_CHANGED","id":17}',
        b'{"type":"members.created","object":{"id":"x","type":"member"}}',
        b'{"payload":{"checkout_id":[],"reference":null}}',
    ],
)
def test_messages_about_nothing_of_ours_name_nothing(sumup: SumUp, body: bytes) -> None:
    assert _read(sumup, {}, body).named == []


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b'"x"'])
def test_messages_that_are_none(sumup: SumUp, body: bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        _read(sumup, {}, body)
