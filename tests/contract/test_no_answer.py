"""Everything that is no answer: the payment stays as it is, never FAILED and never PAID, until the provider is heard."""

import contextlib
from dataclasses import replace
from email.utils import format_datetime

import pytest

from paystate.domain import connections
from paystate.domain.connections import ConnectionState
from paystate.domain.payments import AttemptState, State
from paystate.domain.payments.port import (
    Closes,
    CredentialsRefused,
    Lists,
    NoAnswer,
    NotThere,
    RefundOrder,
    Refunds,
    StartRefused,
    Verdict,
)
from paystate.flows import ask_provider
from paystate.flows.add_connection import check_connection
from paystate.kit.clock import SECOND, Instant, SystemClock, as_datetime
from paystate.kit.ids import new_provider_reference
from paystate.kit.money import Money
from tests.contract.found import DIALECTS, PROVIDERS, each, having, one_database

WAITS = (State.OPEN, State.PENDING_VERIFICATION)
SHAPES = 7
"""So many wrong shapes `wrong_type` takes in turn."""

BROKEN = {
    "outage": 1,
    "error500": 1,
    "error502": 1,
    "error503": 1,
    "html": 1,
    "truncated": 1,
    "empty": 1,
    "huge": 1,
    "wrong_type": SHAPES,
    "invalid_utf8": 1,
    "gzip_bomb": 1,
    "unknown_status": 1,
    "rate_limit429": 1,
    "not_found404": 1,
}
"""How an answer goes wrong, and how often it is asked for."""


async def paid_unheard(world):
    """The money is there, its webhook is delivered, and nothing was asked yet."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay")
    await world.deliver()
    return payment, attempt


@each(PROVIDERS)
async def test_a_broken_answer_changes_nothing_and_the_next_good_one_pays(world) -> None:
    """The money is there all the time: whoever guessed from a broken answer would be wrong both ways."""
    payment, _ = await paid_unheard(world)
    for kind, times in BROKEN.items():
        fault = await world.fault("ask", kind)
        for _ in range(times):
            await world.looked(601)
        assert await world.hits(fault) >= 1, kind
        await world.sandbox.heal()
        assert await world.state(payment) in WAITS, kind
        assert (await world.attempt(payment)).state is AttemptState.LIVE, kind
    await world.nothing_is_proved()
    await world.looked(601)
    await world.is_paid_once(payment)


@one_database
@each(PROVIDERS)
async def test_an_answer_that_drips_is_cut_off_at_the_deadline(world, monkeypatch) -> None:
    monkeypatch.setattr(ask_provider, "ASK_SECONDS", 0.3)
    payment, _ = await paid_unheard(world)
    fault = await world.fault("ask", "drip", seconds=0.1)
    await world.looked()
    assert await world.hits(fault) >= 1
    assert await world.state(payment) in WAITS
    log = await world.rows("SELECT outcome, detail FROM verifications")
    assert [(v["outcome"], v["detail"]) for v in log] == [("NO_ANSWER", "timeout")]


@each(PROVIDERS)
async def test_shortly_after_the_start_unknown_means_not_yet(world) -> None:
    """What was made is not always seen at once; a failure would be a lie about a checkout that can be paid."""
    fault = await world.fault("ask", "not_found404")
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "process")
    await world.deliver()
    for _ in range(4):
        await world.looked(20)
        assert await world.state(payment) in WAITS
        assert (await world.attempt(payment)).state is AttemptState.LIVE
    assert await world.hits(fault) >= 1
    assert await world.rows("SELECT id FROM cases") == []
    await world.sandbox.heal()
    await world.sandbox.outcome(attempt, "pay")
    await world.heard_and_looked()
    await world.is_paid_once(payment)


@pytest.mark.parametrize("form", ["seconds", "date"])
@each(PROVIDERS)
async def test_too_many_requests_says_when_to_come_back(world, form: str) -> None:
    payment, _ = await paid_unheard(world)
    at = as_datetime(SystemClock().now() + 120 * SECOND)
    after = 120 if form == "seconds" else format_datetime(at, usegmt=True)
    fault = await world.fault("ask", "rate_limit429", retryAfter=after)
    asked = Instant(world.clock.now() + 5 * SECOND)
    await world.looked()
    assert await world.hits(fault) == 1
    due = (await world.attempt(payment)).next_check_at
    assert due is not None
    assert 110 * SECOND <= due - asked <= 121 * SECOND
    await world.looked(60)
    assert await world.hits(fault) == 1
    await world.sandbox.heal()
    await world.looked(61)
    await world.is_paid_once(payment)


@each(PROVIDERS)
async def test_refused_credentials_park_the_connection_and_touch_no_payment(world) -> None:
    payment, _ = await paid_unheard(world)
    fault = await world.fault("any", "unauthorized401")
    await world.looked()
    assert await world.hits(fault) >= 1
    assert (await connection_of(world)).state is ConnectionState.PARKED
    assert await world.state(payment) in WAITS
    assert (await world.attempt(payment)).state is AttemptState.LIVE
    hits = await world.hits(fault)
    await world.looked(60)
    assert await world.hits(fault) == hits
    await world.sandbox.heal()
    checked = await check_connection(world.app.ctx, world.id, world.connection.id)
    assert (checked.problem, checked.connection.state) == (None, ConnectionState.ACTIVE)
    await world.looked(601)
    await world.is_paid_once(payment)


@each([name for name in PROVIDERS if "secretKey" in DIALECTS[name].wrong_fields])
async def test_a_key_that_was_revoked_at_the_provider_parks_the_connection(world) -> None:
    payment, _ = await paid_unheard(world)
    account = world.dialect.accounts[0]
    await world.sandbox.control("accounts", {"account": account.id, "revoke": list(account.keys)})
    await world.looked()
    parked = await connection_of(world)
    assert parked.state is ConnectionState.PARKED
    assert await world.state(payment) in WAITS


async def connection_of(world):
    return await world.app.db.read(lambda tx: connections.get_connection(tx, world.id, world.connection.id))


@each(PROVIDERS)
async def test_a_broken_start_fails_no_payment(world) -> None:
    """Each in its turn; a start that makes no call cannot be broken."""
    for kind in ("error500", "html", "truncated", "empty", "wrong_type", "rate_limit429", "invalid_utf8"):
        fault = await world.fault("start", kind)
        payment = await world.payment()
        checkout = await world.checkout(payment)
        hits = await world.hits(fault)
        await world.sandbox.heal()
        assert (checkout.offer is None) == (hits > 0), kind
        assert await world.state(payment) is State.OPEN, kind
        assert (await world.attempt(payment)).state in (AttemptState.CREATED, AttemptState.LIVE), kind


def acts(world, subject, account):
    """Every call of the port that this adapter has, by the operation that faults know."""
    adapter, now = world.adapter, world.clock.now()
    calls = {"ask": lambda: adapter.ask(account, subject), "account": lambda: adapter.identify(account)}
    if isinstance(adapter, Closes):
        calls["close"] = lambda: adapter.close(account, subject)
    if isinstance(adapter, Lists):
        since = Instant(now - 60 * SECOND)
        calls["list"] = lambda: adapter.list_checkouts(
            account, since=since, until=Instant(now + 60 * SECOND), cursor=None
        )
    return calls


@one_database
@each(PROVIDERS)
async def test_no_call_lets_a_broken_answer_through(world) -> None:
    """Straight at the adapter: whatever comes back, only the port's own words for silence leave it."""
    _, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "process")
    subject = await world.subject(attempt)
    for operation, call in acts(world, subject, world.account).items():
        unknown = await said_when_unknown(world, call)
        for kind, times in BROKEN.items():
            if kind in ("unknown_status", "not_found404"):
                continue  # answers of a kind, looked at in the tests above
            fault = await world.fault("any", kind)
            for _ in range(times):
                said = await heard(call)
                # One of the wrong shapes may be a provider's own way to say that it knows nothing.
                assert said in ("silence", unknown), (operation, kind)
            assert await world.hits(fault) >= times, (operation, kind)
            await world.sandbox.heal()


async def heard(call) -> object:
    """What a call came to: "silence", "not there", "refused", or the answer without the digest of its bytes."""
    try:
        answer = await call()
    except NotThere:
        return "not there"
    except CredentialsRefused:
        return "refused"
    except NoAnswer:
        return "silence"
    return replace(answer, raw_digest="") if isinstance(answer, Verdict) else answer


async def said_when_unknown(world, call) -> object:
    await world.fault("any", "not_found404")
    said = await heard(call)
    await world.sandbox.heal()
    return said if isinstance(said, Verdict) else "silence"


@one_database
@each(having(Refunds))
async def test_a_broken_answer_to_a_refund_is_silence_or_is_looked_up(world) -> None:
    """Never a refusal, for it may have happened; and what an adapter says was made, is there."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay")
    verdict = await world.ask(attempt)
    named = (verdict.transaction_id or "", attempt.checkout_id)
    for number, kind in enumerate(("error500", "html", "truncated", "empty", "wrong_type", "outage")):
        fault = await world.fault("refund", kind, times=1)
        order = RefundOrder(*named, Money(100 + number, payment.currency), f"rfd_{number:012}")
        with contextlib.suppress(NoAnswer):
            answer = await world.adapter.refund(world.account, order)
            assert answer.money == order.money, kind
            assert answer in await world.adapter.refunds_of(world.account, *named), kind
        assert await world.hits(fault) == 1, kind
        await world.sandbox.heal()


@one_database
@each(PROVIDERS)
async def test_nobody_is_asked_about_under_a_reference_that_nobody_has(world) -> None:
    """Without an id and with a reference of no payment: not there, or nothing yet; never an end."""
    _, attempt = await world.at_the_till()
    subject = await world.subject(attempt)
    stranger = type(subject)(new_provider_reference(), None, subject.created_at, subject.money)
    try:
        verdict = await world.adapter.ask(world.account, stranger)
    except NotThere:
        return
    except StartRefused:
        pytest.fail("an unknown reference is not a refusal")
    assert (verdict.outcome.value, verdict.reference) == ("PENDING", stranger.reference)
