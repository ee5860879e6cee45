"""Hostile: clocks, budgets, and states that nobody leads on from."""

import asyncio
import contextlib

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State, Trigger, attempt_store
from paystate.flows.expire_payments import expire_payments
from paystate.flows.take_hint import take_return
from paystate.flows.verify_payments import Verifier, verify_now
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, rfc3339


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


class _WithoutClose:
    def __init__(self, adapter) -> None:
        self.name = adapter.name
        self.check, self.prepare, self.start, self.ask, self.identify = (
            adapter.check, adapter.prepare, adapter.start, adapter.ask, adapter.identify,
        )  # fmt: skip


async def _watched(shop, **values):
    """An OPEN payment whose only checkout was superseded and cannot be closed."""
    shop.app.ctx.providers["sandbox"] = _WithoutClose(shop.app.ctx.providers["sandbox"])
    payment, attempt = await shop.opened(**values)
    await shop.app.db.write(
        lambda tx: attempt_store.make_due(tx, a.WHO, [attempt], Trigger.START, close=True)
    )
    await shop.look()
    assert (await shop.attempts(payment))[0].state is AttemptState.WATCHED
    return payment, attempt


async def test_a_watched_checkout_that_is_processing_never_expires(shop, clock) -> None:
    """Domain: EXPIRED needs every attempt ended, or WATCHED after an answer other than PROCESSING or SUCCEEDED."""
    payment, attempt = await _watched(shop)
    await shop.sandbox.outcome(attempt, "process")
    clock.advance(5 * SECOND)
    await verify_now(shop.app.ctx, a.WHO, await shop.attempts(payment), Trigger.WEBHOOK, 5)
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    clock.advance(3 * HOUR)
    await shop.look()
    await expire_payments(shop.app.ctx, actor="job:test")
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION


async def test_a_watched_checkout_is_asked_once_more_before_its_payment_expires(shop, clock) -> None:
    """X2: never expire blindly."""
    payment, attempt = await _watched(shop, expires_in=HOUR)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    await expire_payments(shop.app.ctx, actor="job:test")
    assert (await shop.now(payment)).state is State.PAID


async def test_a_watched_checkout_of_an_open_payment_is_looked_at_within_minutes(shop, clock) -> None:
    """X1: the customer still has its page open; a day is no answer."""
    payment, attempt = await _watched(shop)
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(10 * MINUTE)
    await shop.look()
    assert (await shop.now(payment)).state is State.PAID


async def test_refused_credentials_end_in_review_past_time_and_a_day(shop, clock) -> None:
    """A parked connection is alerted; its payments must not stay OPEN past their time for ever."""
    payment, _ = await shop.opened(expires_in=HOUR)
    await shop.sandbox.fault("any", "unauthorized401")
    for _ in range(20):
        clock.advance(6 * HOUR)
        await shop.look()
        await expire_payments(shop.app.ctx, actor="job:test")
    assert (await shop.now(payment)).state is State.REVIEW


async def test_a_returned_bundle_payment_has_its_two_hours(shop, clock) -> None:
    """Which clock: 30 minutes from opening; once returned, the rule for PENDING_VERIFICATION (2 hours)."""
    payment, _ = await shop.opened(customer="ann", bundle_id="gold")
    clock.advance(29 * MINUTE)
    await take_return(shop.app.ctx, payment.short_code, from_cancel=False)
    for _ in range(6):
        clock.advance(61 * SECOND)
        await shop.look()
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION


async def test_the_expiry_job_does_not_make_a_slow_payment_dense_for_ever(shop, clock) -> None:
    """A bank transfer that takes days costs a call each few minutes, not each three seconds."""
    payment, attempt = await shop.opened(expires_in=HOUR)
    await shop.sandbox.outcome(attempt, "process")
    clock.advance(5 * SECOND)
    await shop.look()
    clock.advance(8 * HOUR)
    for _ in range(3):
        clock.advance(5 * MINUTE)
        await expire_payments(shop.app.ctx, actor="job:test")
        await shop.look()
    assert (await shop.now(payment)).state is State.PENDING_VERIFICATION
    [after] = await shop.attempts(payment)
    assert after.next_check_at - clock.now() >= MINUTE


async def test_a_claim_takes_no_more_of_the_budget_than_it_uses(shop, clock) -> None:
    """Granted is spent: one due attempt must not cost the connection two seconds of its budget."""
    await shop.opened()
    clock.advance(5 * SECOND)
    await shop.look()
    rate = shop.connection.rate_per_second
    free = await shop.app.ctx.pacer.grant(shop.connection.id, rate, 1, horizon_seconds=0.2)
    assert len(free) == 1


async def test_draining_waits_for_its_budget(shop, clock) -> None:
    """`drain`: until nothing is due any more; a budget that is spent for two seconds is no reason to stop."""
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    rate = shop.connection.rate_per_second
    await shop.app.ctx.pacer.grant(shop.connection.id, rate, int(rate * 2.5), horizon_seconds=3)
    ticking = asyncio.ensure_future(_tick(clock))  # a shared budget goes by the database's clock
    await shop.look()
    ticking.cancel()
    assert (await shop.now(payment)).state is State.PAID


async def _tick(clock) -> None:
    while True:
        await asyncio.sleep(0.05)
        clock.advance(SECOND // 20)


async def test_the_applier_survives_whatever_one_batch_does(shop, clock) -> None:
    """An exception behind one batch must not leave a worker that asks for ever and writes nothing."""
    payment, attempt = await shop.opened()
    said: list[int] = []

    def report(settled) -> None:
        said.append(len(settled))
        if len(said) == 1:
            raise RuntimeError("a log sink that is full")

    running = asyncio.ensure_future(Verifier(shop.app.ctx, 10, 10, report).run(asyncio.Event()))
    clock.advance(5 * SECOND)
    await _until(lambda: bool(said))
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(5 * SECOND)
    await _until(lambda: len(said) > 1 or running.done())
    alive = not running.done()
    for _ in range(2):  # the second one reaches the wait for answers that nobody writes
        running.cancel()
        await asyncio.wait([running], timeout=0.5)
    assert alive
    assert (await shop.now(payment)).state is State.PAID


async def _until(condition) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while not condition():
                await asyncio.sleep(0.01)


async def test_silence_of_our_own_uses_up_no_patience(shop, clock) -> None:
    """Reference, finding 4: one time-out, a day in which we did not ask, another time-out: that is not a day of silence."""
    payment, _ = await shop.opened(expires_in=HOUR)
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * HOUR)
    await shop.look()
    clock.advance(2 * DAY)
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN


async def test_a_stale_bundle_has_no_deadline_that_money_could_meet(shop, clock) -> None:
    """EXPIRED and paid before: only `expiresAt` was promised to the customer, staleness is ours; the policy decides."""
    payment, attempt = await shop.opened(customer="ann", bundle_id="gold")
    before = rfc3339(clock.now() + 29 * MINUTE)
    clock.advance(31 * MINUTE)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()
    assert (await shop.now(payment)).state is State.EXPIRED
    await shop.sandbox.outcome(attempt, "pay", paidAt=before)
    clock.advance(MINUTE)
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.MANUAL, 5)
    after = await shop.now(payment)
    assert (after.state, after.review_reason) == (State.REVIEW, "late")
