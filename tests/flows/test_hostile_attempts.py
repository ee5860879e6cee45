"""Hostile: several checkouts of one payment, started, superseded, answered together, at once, or half done."""

import asyncio
import contextlib
import json
import threading
from dataclasses import replace

import pytest
from tests import a

from paystate.domain import connections
from paystate.domain.connections import NewConnection, secrets_aad
from paystate.domain.payments import AttemptState, Outcome, State, Step, Trigger, attempt_store, store
from paystate.domain.payments.port import NoAnswer, StartRefused
from paystate.flows import cancel_payment as cancelling
from paystate.flows.apply_answers import apply_answers
from paystate.flows.ask_provider import ask_provider
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.claim_attempts import claim_these
from paystate.flows.edit_payment import PaymentChanges, edit
from paystate.flows.expire_payments import expire_payments
from paystate.flows.move_payment import move_payments
from paystate.flows.settlement_rows import Asked
from paystate.flows.start_checkout import _record_attempt, _Wanted, order_of, start_checkout
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND
from paystate.kit.errors import Conflict, PaystateError
from paystate.kit.ids import new_id, new_provider_reference

OPENED = (AttemptState.CREATED, AttemptState.LIVE, AttemptState.PROCESSING)


class Adapter:
    """The sandbox's adapter under another name, or without a capability, or with a start of its own."""

    def __init__(self, adapter, name="sandbox", hidden=(), start=None) -> None:
        self._adapter, self.name, self._hidden = adapter, name, hidden
        if start is not None:
            self.start = start

    def __getattr__(self, name):
        if name.startswith("_") or name in self._hidden:
            raise AttributeError(name)
        return getattr(self._adapter, name)


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def _second_provider(shop) -> None:
    """Another provider of the same merchant: the same sandbox under the name `other`."""
    ctx = shop.app.ctx
    ctx.providers["other"] = Adapter(ctx.providers["sandbox"], "other")

    def connect(tx):
        connection_id = new_id("con", tx.now)
        secrets = {"secretKey": "sk_sandbox_paystate", "webhookSecret": "whsec_sandbox_paystate"}
        sealed = ctx.keys.seal(json.dumps(secrets).encode(), aad=secrets_aad(connection_id, shop.id))
        new = NewConnection(
            id=connection_id, merchant_id=shop.id, provider="other", name="Other", account="acct_sandbox",
            live=False, settings={"baseUrl": shop.sandbox.base_url}, secrets=sealed, rate_per_second=100,
        )  # fmt: skip
        return connections.create_connection(tx, a.WHO, new)

    await ctx.db.write(connect)


async def _attempts(shop, payment):
    """The attempt at `sandbox`, then the one at `other`: made within one tick, their ids do not tell the order."""
    return sorted(await shop.attempts(payment), key=lambda x: x.provider, reverse=True)


async def _two_live(shop, **values):
    """A payment with a live checkout at each of two providers: the first could not be closed in time."""
    await _second_provider(shop)
    payment, _ = await shop.opened(**values)
    await shop.sandbox.fault("close", "outage")
    await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "other")
    await shop.sandbox.heal()
    first, second = await _attempts(shop, payment)
    assert (first.state, second.state) == (AttemptState.LIVE, AttemptState.LIVE)
    return payment, first, second


async def _asked(shop, *attempts):
    ctx = shop.app.ctx
    claims = await ctx.db.write(lambda tx: claim_these([x.id for x in attempts], ctx.patience.lease, tx))
    by_id = {c.attempt.id: c for c in claims}
    return [await ask_provider(ctx, by_id[x.id]) for x in attempts]


async def test_starting_at_another_provider_closes_the_first_checkout(shop) -> None:
    """T47, domain: starting at B closes A where A can be closed."""
    await _second_provider(shop)
    payment, _ = await shop.opened()
    await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "other")
    first, second = await _attempts(shop, payment)
    assert (first.state, second.state) == (AttemptState.CANCELED, AttemptState.LIVE)


async def test_a_wish_to_close_survives_a_look_from_an_older_reading(shop) -> None:
    """`verify_now` is handed attempts that were read before the wish was written."""
    payment, attempt = await shop.opened()
    await shop.app.db.write(
        lambda tx: attempt_store.make_due(tx, a.WHO, [attempt], Trigger.START, close=True)
    )
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.MANUAL, 5)
    [after] = await shop.attempts(payment)
    assert after.close_wanted
    assert after.hint_no == 2


async def test_the_rest_is_closed_when_its_own_answer_follows_the_proof_in_one_batch(shop, clock) -> None:
    payment, first, second = await _two_live(shop)
    await shop.sandbox.outcome(first, "pay")
    clock.advance(5 * SECOND)
    await apply_answers(shop.app.ctx, await _asked(shop, first, second))
    assert (await shop.now(payment)).state is State.PAID
    for _ in range(3):
        clock.advance(5 * SECOND)
        await shop.look()
    states = [x.state for x in await _attempts(shop, payment)]
    assert states == [AttemptState.SUCCEEDED, AttemptState.CANCELED]


async def test_two_successes_in_one_batch_carry_the_duplicate_flag(shop, clock) -> None:
    """T5: flags of an answer that does not move its payment must not be lost beside one that does."""
    payment, first, second = await _two_live(shop)
    await shop.sandbox.outcome(first, "pay")
    await shop.sandbox.outcome(second, "pay")
    clock.advance(5 * SECOND)
    await apply_answers(shop.app.ctx, await _asked(shop, first, second))
    after = await shop.now(payment)
    assert len(await shop.rows("SELECT id FROM refunds WHERE state = 'PREPARED'")) == 1
    assert (after.state, after.duplicate) == (State.PAID, True)


async def test_money_in_review_closes_the_other_checkouts(shop, clock) -> None:
    """Paid with a wrong amount at A: nobody may go on and pay at B as well."""
    payment, first, _ = await _two_live(shop)
    await shop.sandbox.outcome(first, "pay", amount=999)
    clock.advance(5 * SECOND)
    await apply_answers(shop.app.ctx, await _asked(shop, first))
    assert (await shop.now(payment)).state is State.REVIEW
    for _ in range(3):
        clock.advance(5 * SECOND)
        await shop.look()
    assert (await _attempts(shop, payment))[1].state not in OPENED


async def test_no_second_checkout_starts_while_the_first_is_processing(shop, clock) -> None:
    """Money is on its way at A: "do not pay again" (reference, rule 10)."""
    await _second_provider(shop)
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "process")
    clock.advance(5 * SECOND)
    await shop.look()
    with pytest.raises(Conflict):
        await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "other")


@pytest.mark.parametrize(
    "database_url", ["postgresql"], indirect=True
)  # SQLite has one writer: nothing runs beside it
async def test_a_cancel_beside_a_start_never_leaves_a_live_checkout_of_a_cancelled_payment(shop) -> None:
    """PostgreSQL: the attempt that is being inserted is invisible to whoever locked "all attempts" before it."""
    ctx, loop = shop.app.ctx, asyncio.get_running_loop()
    payment = await shop.payment()
    reference = new_provider_reference()
    account = ctx.account(shop.connection)
    request = ctx.provider("sandbox").prepare(account, order_of(ctx, payment, shop.connection, reference))
    inserted, go = asyncio.Event(), threading.Event()

    def start(tx):
        made = _record_attempt(_Wanted(ctx.patience, a.WHO, payment, shop.connection, reference, request), tx)
        loop.call_soon_threadsafe(inserted.set)
        assert go.wait(5)
        return made

    starting = asyncio.ensure_future(ctx.db.write(start))
    await inserted.wait()
    acting = asyncio.ensure_future(cancel_payment(ctx, shop.id, payment.id, actor="key:test"))
    async with asyncio.timeout(5):
        while not await shop.rows("SELECT 1 AS x FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    go.set()
    await starting
    with contextlib.suppress(PaystateError):
        await acting
    states = [x.state for x in await shop.attempts(payment)]
    assert not ((await shop.now(payment)).state is State.CANCELED and set(states) & set(OPENED)), states


@pytest.mark.parametrize(
    "database_url", ["postgresql"], indirect=True
)  # SQLite has one writer: nothing runs beside it
async def test_an_attempt_started_beside_a_failing_one_keeps_the_payment_open(shop, clock) -> None:
    """PostgreSQL: A ends for good while B is being inserted; the payment must see B."""
    await _second_provider(shop)
    ctx, loop = shop.app.ctx, asyncio.get_running_loop()
    payment, first = await shop.opened(customer="ann", bundle_id="gold")
    other = next(c for c in await ctx.db.read(lambda tx: connections.active_for(tx, shop.id, "other")))
    await shop.sandbox.outcome(first, "fail")
    clock.advance(5 * SECOND)
    answers = await _asked(shop, first)
    reference = new_provider_reference()
    request = ctx.provider("other").prepare(ctx.account(other), order_of(ctx, payment, other, reference))
    inserted, go = asyncio.Event(), threading.Event()

    def start(tx):
        made = _record_attempt(_Wanted(ctx.patience, a.WHO, payment, other, reference, request), tx)
        loop.call_soon_threadsafe(inserted.set)
        assert go.wait(5)
        return made

    starting = asyncio.ensure_future(ctx.db.write(start))
    await inserted.wait()
    settling = asyncio.ensure_future(apply_answers(ctx, answers))
    async with asyncio.timeout(5):
        while not await shop.rows("SELECT 1 AS x FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    go.set()
    await starting
    await settling
    after = await shop.now(payment)
    states = [x.state for x in await _attempts(shop, payment)]
    assert states == [AttemptState.FAILED, AttemptState.CREATED]
    assert (after.state, after.slot_key) == (State.OPEN, payment.slot_key)


async def test_a_checkout_left_live_on_a_final_payment_is_closed(shop, clock) -> None:
    """However it came to that (a race, a decision by hand): a cancelled payment leaves nothing payable behind."""
    payment, _ = await shop.opened()

    def cancel_blindly(tx):
        locked = store.lock(tx, a.WHO, [payment.id])[payment.id]
        move_payments(
            tx, a.WHO, [Step(locked, State.CANCELED, "operator:x", "by hand")], shop.app.ctx.patience
        )

    await shop.app.db.write(cancel_blindly)
    for _ in range(3):
        clock.advance(HOUR)
        await shop.look()
    assert (await shop.attempts(payment))[0].state not in OPENED


async def test_a_cancel_during_a_start_that_never_reached_the_provider_ends(shop, clock, monkeypatch) -> None:
    """The start gives its attempt up; then nobody asks any more, and the cancelled payment must still end."""
    monkeypatch.setattr(cancelling, "PROVIDER_WAIT_SECONDS", 0.3)
    ctx, adapter = shop.app.ctx, shop.app.ctx.providers["sandbox"]
    go, called, calls = asyncio.Event(), asyncio.Event(), []

    async def start(account, request, *, idempotency_key):
        calls.append(idempotency_key)
        called.set()
        if len(calls) == 1:
            await go.wait()
        raise NoAnswer("cannot_connect", sent=False)

    ctx.providers["sandbox"] = Adapter(adapter, start=start)
    payment = await shop.payment()
    starting = asyncio.ensure_future(shop.checkout(payment))
    await called.wait()
    wished = await cancel_payment(ctx, shop.id, payment.id, actor="key:test")
    assert wished.cancel_requested_at is not None
    go.set()
    with pytest.raises(PaystateError):
        await starting
    for _ in range(12):
        clock.advance(DAY)
        await shop.look()
        await expire_payments(ctx, actor="job:test")
    again = await cancel_payment(ctx, shop.id, payment.id, actor="key:test")
    assert again.state is State.CANCELED


async def test_a_start_is_not_sent_again_for_a_cancelled_payment(shop, clock, monkeypatch) -> None:
    """Nothing was made at a provider that cannot close: a cancel must not make something there."""
    monkeypatch.setattr(cancelling, "PROVIDER_WAIT_SECONDS", 0.3)
    ctx = shop.app.ctx
    ctx.providers["sandbox"] = Adapter(ctx.providers["sandbox"], hidden=("close",))
    await shop.sandbox.fault("start", "outage", times=1)
    payment, _ = await shop.opened()
    await cancel_payment(ctx, shop.id, payment.id, actor="key:test")
    for _ in range(3):
        clock.advance(MINUTE)
        await shop.look()
    assert (await shop.sandbox.objects())["checkouts"] == []


async def test_a_refused_resend_does_not_fail_a_checkout_that_is_live(shop, clock) -> None:
    """The worker's resend collides with the start still under way (409 in progress): the start wins."""
    payment, attempt = await shop.opened()
    [answer] = await _asked(shop, attempt)
    late = Asked(answer.attempt, answer.account, answer.live, 1, refused="idempotency_key_in_use")
    await apply_answers(shop.app.ctx, [late])
    assert (await shop.attempts(payment))[0].state is AttemptState.LIVE


async def test_a_refused_start_opens_no_case_about_a_missing_checkout(shop, clock) -> None:
    await shop.sandbox.fault("start", "outage", times=1)
    _, attempt = await shop.opened()
    assert attempt.state is AttemptState.CREATED
    ctx = shop.app.ctx
    [claim] = await ctx.db.write(lambda tx: claim_these([attempt.id], ctx.patience.lease, tx))
    refused = Asked(claim.attempt, "acct_sandbox", False, 1, refused="amount_too_small")
    await apply_answers(ctx, [refused])
    for _ in range(8):
        clock.advance(DAY)
        await shop.look()
    assert await shop.rows("SELECT reason FROM cases") == []


async def test_a_checkout_found_by_reference_can_still_be_paid_by_the_customer(shop, clock) -> None:
    """The start was carried out but always answered 500: found by reference, it has no address to send anybody to."""
    await shop.sandbox.fault("start", "error500", acts=True)
    payment, _ = await shop.opened()
    for _ in range(5):
        clock.advance(10 * SECOND)
        await shop.look()
    await shop.sandbox.heal()
    for _ in range(5):
        clock.advance(10 * SECOND)
        await shop.look()
    assert (await shop.checkout(payment)).offer is not None


async def test_after_two_server_errors_the_start_is_not_sent_again(shop, clock) -> None:
    """Domain: after the same 5xx twice, ask by reference or list only."""
    await shop.sandbox.fault("start", "error500")
    await shop.opened()
    for _ in range(12):
        clock.advance(2 * MINUTE)
        await shop.look()
    calls = (await shop.sandbox.objects())["calls"]
    assert calls["start"] <= 3


async def test_a_wrong_object_never_fails_a_payment(shop, clock) -> None:
    """T41: a well-formed answer about another checkout is unknown, never FAILED."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "fail")
    clock.advance(5 * SECOND)
    [answer] = await _asked(shop, attempt)
    assert answer.verdict.outcome is Outcome.FAILED
    foreign = replace(answer.verdict, reference="someotherreference01", checkout_id="chk_foreign")
    await apply_answers(shop.app.ctx, [replace(answer, verdict=foreign)])
    assert (await shop.now(payment)).state is State.OPEN


async def test_a_reference_the_provider_has_already_is_no_refusal(shop) -> None:
    """409 "there is a checkout for this reference" (its key is forgotten there): something WAS made, it must be asked about."""
    ctx = shop.app.ctx
    payment, attempt = await shop.opened()
    account, sandbox = ctx.account(shop.connection), ctx.provider("sandbox")
    request = sandbox.prepare(account, order_of(ctx, payment, shop.connection, attempt.provider_reference))
    try:
        started = await sandbox.start(account, request, idempotency_key="paystate-forgotten-key")
        assert started.checkout_id == attempt.checkout_id
    except NoAnswer:
        pass
    except StartRefused as error:
        pytest.fail(f"taken for a refusal for good: {error.reason}")


async def test_a_checkout_never_asks_for_an_amount_that_was_changed_meanwhile(shop) -> None:
    """The bytes are made from a reading without a lock; the merchant changes the amount before they are recorded."""
    ctx = shop.app.ctx
    payment = await shop.payment(1000)
    reference = new_provider_reference()
    account = ctx.account(shop.connection)
    request = ctx.provider("sandbox").prepare(account, order_of(ctx, payment, shop.connection, reference))
    await ctx.db.write(
        lambda tx: edit(ctx, shop.id, payment.id, PaymentChanges(amount=2000), tx, version=None)
    )
    wanted = _Wanted(ctx.patience, a.WHO, payment, shop.connection, reference, request)
    with pytest.raises(Conflict):
        await ctx.db.write(lambda tx: _record_attempt(wanted, tx))
