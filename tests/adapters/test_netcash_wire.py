"""Netcash on the wire: the form's exact fields, every answer of the Check call, and what is no answer at all."""

import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from tests.adapters.netcash_ws import (
    BALANCE,
    CONNECTION,
    KEY,
    OTHER_TRACE,
    REFERENCE,
    TRACE,
    Ws,
    account,
    order,
    said,
    subject,
)

from paystate.adapters.providers.netcash import PAY_URL, Netcash, make
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    CredentialsRefused,
    LandsOnFixedPath,
    NoAnswer,
    NotThere,
    Offer,
    SendsWebhooks,
)
from paystate.kit.clock import Instant
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http


@pytest.fixture
async def ws() -> AsyncIterator[Ws]:
    served = Ws()
    app = web.Application()
    app.add_routes([web.get("/PayNow/TransactionStatus/Check", served.check)])
    app.add_routes([web.post("/NIWS/NIWS_NIF.svc", served.balance)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture
async def netcash() -> AsyncIterator[Netcash]:
    http = Http(allow_private=("127.0.0.0/8",))
    yield make(http)
    await http.close()


@pytest.mark.parametrize(
    ("amount", "text"), [(15_000, "150.00"), (1, "0.01"), (1_010, "10.10"), (10**9, "10000000.00")]
)
def test_the_start_is_exactly_these_bytes(netcash, amount, text):
    assert netcash.prepare(account(), order(amount)).decode() == (
        f'{{"m1":"{KEY}","m2":"24ade73c-98cf-47b3-99be-cc7b867b3080","p2":"{REFERENCE}","p3":"Order 1",'
        f'"p4":"{text}","Budget":"Y","m5":"{CONNECTION}"}}'
    )


def test_a_description_is_cut_and_never_empty(netcash):
    long = msgspec.json.decode(netcash.prepare(account(), order(1, description="ä" * 60)))
    assert long["p3"] == "ä" * 50
    assert msgspec.json.decode(netcash.prepare(account(), order(1, description=" ")))["p3"] == REFERENCE


@pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])
def test_only_rand_is_taken(netcash, currency):
    with pytest.raises(Refused) as caught:
        netcash.check(Money(1_000, currency))
    assert caught.value.code == "currency_not_supported_by_provider"
    with pytest.raises(Refused) as caught:
        netcash.prepare(account(), order(1_000, currency))
    assert caught.value.code == "currency_not_supported_by_provider"


def test_nothing_is_too_little(netcash):
    netcash.check(Money(1, "ZAR"))
    with pytest.raises(Refused) as caught:
        netcash.check(Money(0, "ZAR"))
    assert caught.value.code == "amount_below_minimum"


async def test_the_start_makes_no_call_and_offers_the_stored_form(netcash):
    request = netcash.prepare(account(), order(15_000))
    started = await netcash.start(account(), request, idempotency_key="key")
    assert started.checkout_id is None
    assert started.offer == Offer("form", PAY_URL, msgspec.json.decode(request))
    elsewhere = await netcash.start(account(payUrl="http://127.0.0.1:1/p"), request, idempotency_key="key")
    assert elsewhere.offer.url == "http://127.0.0.1:1/p"


async def test_an_accepted_trace_of_our_reference_is_the_proof(netcash, ws):
    ws.answers[TRACE] = (200, said())
    verdict = await netcash.ask(account(ws), subject(TRACE))
    assert (verdict.outcome, verdict.reference, verdict.account) == (
        Outcome.SUCCEEDED,
        REFERENCE,
        "netcash_0011223344556677",
    )
    assert (verdict.amount, verdict.currency, verdict.live) == (15_000, "ZAR", True)
    assert (verdict.checkout_id, verdict.transaction_id, verdict.method) == (TRACE, TRACE, "card")
    assert verdict.raw_digest == hashlib.sha256(said()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "outcome", "detail"),
    [
        ({"TransactionAccepted": "true"}, Outcome.SUCCEEDED, "accepted"),
        ({"TransactionAccepted": "True "}, Outcome.SUCCEEDED, "accepted"),
        ({"TransactionAccepted": False, "Reason": "Pending EFT"}, Outcome.PROCESSING, "Pending EFT"),
        ({"TransactionAccepted": "false", "Reason": "pending"}, Outcome.PROCESSING, "pending"),
        (
            {"TransactionAccepted": False, "Reason": "Cancelled by customer"},
            Outcome.CANCELED,
            "Cancelled by customer",
        ),
        (
            {"TransactionAccepted": False, "Reason": "Insufficient funds"},
            Outcome.FAILED,
            "Insufficient funds",
        ),
        ({"TransactionAccepted": False}, Outcome.FAILED, "not_accepted"),
        ({"TransactionAccepted": "quantum"}, Outcome.UNKNOWN, "quantum"),
        ({"TransactionAccepted": "q" * 60}, Outcome.UNKNOWN, "q" * 40),
    ],
)
async def test_every_status(netcash, ws, changes, outcome, detail):
    ws.answers[TRACE] = (200, said(**changes))
    verdict = await netcash.ask(account(ws), subject(TRACE))
    assert (verdict.outcome, verdict.detail) == (outcome, detail)


@pytest.mark.parametrize(
    ("text", "cents"),
    [("10", 1_000), ("10.0", 1_000), ("10.10", 1_010), ('"10.10"', 1_010), ("0.07", 7), ("150.0000", 15_000)],
)
async def test_amounts_are_read_as_written(netcash, ws, text, cents):
    ws.answers[TRACE] = (200, said(Amount=msgspec.Raw(text.encode())))
    assert (await netcash.ask(account(ws), subject(TRACE))).amount == cents


@pytest.mark.parametrize(
    ("method", "read"), [(1, "card"), ("4", "instant_eft"), (99, "99"), (None, None), (..., None)]
)
async def test_methods(netcash, ws, method, read):
    ws.answers[TRACE] = (200, said(Method=method))
    assert (await netcash.ask(account(ws), subject(TRACE))).method == read


@pytest.mark.parametrize("extra2", ["", "con_another", None, ...])
async def test_a_form_that_was_not_ours_names_another_account(netcash, ws, extra2):
    ws.answers[TRACE] = (200, said(Extra2=extra2))
    assert (await netcash.ask(account(ws), subject(TRACE))).account == "other"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Please sign in</html>",
        b"[]",
        b'"ok"',
        b"{}",
        b'{"TransactionAccepted": tru',
        b'{"status":"pa\xff\xfeid"}',
        said(Amount=...),
        said(Amount=None),
        said(Amount=""),
        said(Amount="150,00"),
        said(Amount="1 500.00"),
        said(Amount=msgspec.Raw(b"150.001")),
        said(Amount=msgspec.Raw(b"1.5e2")),
        said(Amount=[15]),
        said(Reference=...),
        said(Reference=7),
        said(RequestTrace=...),
        said(RequestTrace=OTHER_TRACE),
        said(TransactionAccepted=...),
        said(TransactionAccepted=1),
        said(Reason=["pending"]),
    ],
)
async def test_what_cannot_be_read_is_no_answer(netcash, ws, body):
    ws.answers[TRACE] = (200, body)
    with pytest.raises(NoAnswer) as caught:
        await netcash.ask(account(ws), subject(TRACE))
    assert caught.value.reason == "unreadable"
    assert TRACE not in repr(caught.value)


async def test_without_a_trace_nothing_is_asked_and_nothing_concluded(netcash, ws):
    verdict = await netcash.ask(account(ws), subject())
    assert (verdict.outcome, verdict.amount, verdict.transaction_id) == (Outcome.PENDING, None, None)
    assert (verdict.reference, verdict.account, verdict.live) == (REFERENCE, "netcash_0011223344556677", True)
    assert ws.asked == []


async def test_a_false_claim_proves_nothing(netcash, ws):
    ws.answers[TRACE] = (200, said(Reference="another"))
    ws.answers["a b&c"] = (200, b"null")
    verdict = await netcash.ask(account(ws), subject(TRACE, "a b&c", "unknown"))
    assert verdict.outcome is Outcome.PENDING
    assert ws.asked == [TRACE, "a b&c", "unknown"]


async def test_the_newest_three_are_asked_and_the_known_one_always(netcash, ws):
    ws.answers[TRACE] = (200, said())
    verdict = await netcash.ask(account(ws), subject("a", "b", "c", "d", known=TRACE))
    assert verdict.outcome is Outcome.SUCCEEDED
    assert ws.asked == ["a", "b", "c", TRACE]


async def test_one_trace_in_two_spellings_is_one_transaction(netcash, ws):
    shouted = f"{{{TRACE.upper()}}}"
    ws.answers[shouted] = (200, said(RequestTrace=TRACE.upper()))
    verdict = await netcash.ask(account(ws), subject(shouted, known=TRACE))
    assert (verdict.transaction_id, verdict.further, ws.asked) == (TRACE, (), [shouted])


async def test_two_payments_of_one_reference_are_both_told(netcash, ws):
    ws.answers[TRACE] = (200, said())
    ws.answers[OTHER_TRACE] = (200, said(RequestTrace=OTHER_TRACE))
    verdict = await netcash.ask(account(ws), subject(OTHER_TRACE, TRACE))
    assert (verdict.transaction_id, [v.transaction_id for v in verdict.further]) == (OTHER_TRACE, [TRACE])


@pytest.mark.parametrize(
    ("older", "outcome"),
    [
        (said(), Outcome.SUCCEEDED),
        (said(TransactionAccepted=False, Reason="pending"), Outcome.PROCESSING),
        (said(TransactionAccepted="?"), Outcome.UNKNOWN),
        (said(TransactionAccepted=False, Reason="cancelled"), Outcome.FAILED),
    ],
)
async def test_what_may_still_be_money_outweighs_a_newer_failure(netcash, ws, older, outcome):
    ws.answers[OTHER_TRACE] = (
        200,
        said(RequestTrace=OTHER_TRACE, TransactionAccepted=False, Reason="Insufficient funds"),
    )
    ws.answers[TRACE] = (200, older)
    assert (await netcash.ask(account(ws), subject(OTHER_TRACE, TRACE))).outcome is outcome


async def test_silence_about_one_trace_leaves_only_money_to_be_told(netcash, ws):
    ws.answers[TRACE] = (503, b"")
    ws.answers[OTHER_TRACE] = (200, said(RequestTrace=OTHER_TRACE, TransactionAccepted=False, Reason="no"))
    with pytest.raises(NoAnswer) as caught:
        await netcash.ask(account(ws), subject(OTHER_TRACE, TRACE))
    assert (caught.value.reason, caught.value.server_error) == ("status_503", True)
    ws.answers[OTHER_TRACE] = (200, said(RequestTrace=OTHER_TRACE))
    paid = await netcash.ask(account(ws), subject(OTHER_TRACE, TRACE))
    assert paid.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("denial", [(404, b""), (200, b"null"), (200, b" null\n")])
async def test_a_known_trace_that_is_denied_is_not_there(netcash, ws, denial):
    ws.answers[TRACE] = denial
    with pytest.raises(NotThere):
        await netcash.ask(account(ws), subject(known=TRACE))
    with pytest.raises(NotThere):
        await netcash.ask(account(ws), subject(TRACE, known=TRACE))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_quotes_nothing_that_was_answered(netcash, ws, status):
    ws.answers[TRACE] = (status, TRACE.encode())
    with pytest.raises(CredentialsRefused) as caught:
        await netcash.ask(account(ws), subject(TRACE))
    assert (caught.value.field, caught.value.answered) == ("serviceKey", str(status))


async def test_too_many_requests_say_when_to_come_back(netcash, ws):
    ws.answers[TRACE], ws.headers = (429, b""), {"Retry-After": "7"}
    with pytest.raises(NoAnswer) as caught:
        await netcash.ask(account(ws), subject(TRACE))
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("rate_limited", 7)


def test_a_trace_is_in_no_repr(netcash):
    message = netcash.read_return(account(), {"Reference": REFERENCE, "RequestTrace": TRACE})
    assert message.named[0].trace == TRACE
    assert TRACE not in repr(message)
    assert TRACE not in repr(subject(TRACE))


NOTIFICATION = (
    "TransactionAccepted=true&CardHolderIpAddr=197.80.1.2&RequestTrace=1f6d2c0e-6a55-4b5e-9d4e-2f2b3c4d5e6f"
    "&Reference=PLE-0001-A1&Extra1=ple-0001&Extra2=&Extra3=&Amount=150.00&Method=1&Reason="
)


def test_a_notification_is_a_hint_and_never_authentic(netcash):
    message = netcash.read_webhook(account(), {}, NOTIFICATION.encode(), now=Instant(0))
    assert (message.event_id, message.kind, message.authentic) == ("", "accepted", False)
    assert [(n.reference, n.checkout_id, n.trace) for n in message.named] == [("PLE-0001-A1", None, TRACE)]
    declined = NOTIFICATION.replace("=true", "=false").encode()
    assert netcash.read_webhook(account(), {}, declined, now=Instant(0)).kind == "not_accepted"
    deposit = (NOTIFICATION + "&type=DEPOSITRECEIPT").encode()
    assert netcash.read_webhook(account(), {}, deposit, now=Instant(0)).kind == "DEPOSITRECEIPT"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff\xfe", b"Reference=%ff", b"a=1", b"Reference=x&" + b"a=1&" * 200]
)
def test_what_is_no_postback_is_refused(netcash, body):
    with pytest.raises(ValueError):
        netcash.read_webhook(account(), {}, body, now=Instant(0))


def test_names_that_cannot_be_names_are_left_out(netcash):
    fields = {"Reference": "x" * 101, "RequestTrace": "a\nb", "TransactionAccepted": "true"}
    assert list(netcash.read_return(account(), fields).named) == []


def test_capabilities(netcash):
    assert isinstance(netcash, SendsWebhooks)
    assert isinstance(netcash, LandsOnFixedPath)


async def test_an_account_is_named_after_its_key(netcash):
    one = await netcash.identify(account())
    assert (one.account, one.live) == (f"netcash_{hashlib.sha256(KEY.encode()).hexdigest()[:16]}", True)
    assert await netcash.identify(account(serviceKey=f" {KEY.upper()} ")) == one
    assert (await netcash.identify(account(mode="test"))).live is False


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"serviceKey": "x"}, "serviceKey"), ({"serviceKey": ""}, "serviceKey"), ({"mode": "prod"}, "mode")],
)
async def test_a_setting_that_cannot_be_is_refused(netcash, settings, named):
    with pytest.raises(CredentialsRefused) as caught:
        await netcash.identify(account(**settings))
    assert caught.value.field == named


async def test_an_account_service_key_is_proved_by_a_balance(netcash, ws):
    await netcash.identify(account(ws, secret="a&b"))
    action, envelope = ws.posted[0]
    assert action == '"http://tempuri.org/INIWS_NIF/GetAvailableBalance"'
    assert "<serviceKey>a&amp;b</serviceKey>" in envelope
    refused = b"<r><GetAvailableBalanceResult>100</GetAvailableBalanceResult></r>"
    ws.soap = (200, refused)
    with pytest.raises(CredentialsRefused) as caught:
        await netcash.identify(account(ws, secret="wrong"))
    assert caught.value.field == "accountServiceKey"


@pytest.mark.parametrize("soap", [(200, b""), (200, b"<html/>"), (500, BALANCE), (200, BALANCE[:200])])
async def test_an_account_service_key_without_an_answer_is_not_refused(netcash, ws, soap):
    ws.soap = soap
    with pytest.raises(NoAnswer) as caught:
        await netcash.identify(account(ws, secret="key"))
    assert not isinstance(caught.value, CredentialsRefused)
