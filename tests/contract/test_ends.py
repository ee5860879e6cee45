"""How a checkout ends that nobody paid in time, and what becomes of money that comes after that."""

from paystate.domain.payments import AttemptState, State
from paystate.domain.payments.port import Closes
from paystate.flows.expire_payments import expire_payments
from paystate.kit.clock import MINUTE, SECOND, rfc3339
from tests.contract.found import PROVIDERS, each, having, lacking

TIME = 2 * MINUTE
"""Short, so that what the provider signs now is not too old when it is over."""


async def over(world, payment) -> None:
    """The payment's time passes, and the sweep that expires payments runs as often as it needs."""
    world.clock.advance(TIME + SECOND)
    for _ in range(3):
        await expire_payments(world.app.ctx, actor="job:test")
        await world.looked(2)
    assert await world.state(payment) is State.EXPIRED


@each(having(Closes))
async def test_an_abandoned_checkout_is_ended_at_the_provider_and_expires(world) -> None:
    payment, attempt = await world.at_the_till(expires_in=TIME)
    await over(world, payment)
    assert (await world.attempt(payment)).state in (AttemptState.EXPIRED, AttemptState.CANCELED)
    (checkout,) = await world.at_provider(attempt.provider_reference)
    assert checkout["status"] in ("closed", "expired")
    assert (await world.calls()).get("close", 0) >= 1


@each(lacking(Closes))
async def test_what_cannot_be_ended_is_watched_when_the_payment_expires(world) -> None:
    payment, attempt = await world.at_the_till(expires_in=TIME)
    await over(world, payment)
    after = await world.attempt(payment)
    assert after.state is AttemptState.WATCHED
    assert after.next_check_at is not None
    (checkout,) = await world.at_provider(attempt.provider_reference)
    assert checkout["status"] == "open"


@each(PROVIDERS)
async def test_money_after_the_end_is_kept_for_a_person(world) -> None:
    """Late policy `review`, the default: nothing is issued, and nothing is lost."""
    payment, attempt = await world.at_the_till(expires_in=TIME)
    await over(world, payment)
    await world.sandbox.outcome(attempt, "pay", paidAt=rfc3339(world.clock.now()))
    await world.deliver()
    await world.asked_now(payment)
    after = await world.now(payment)
    assert (after.state, after.review_reason, after.late) == (State.REVIEW, "late", True)
    await world.nothing_is_proved()
    (receipt,) = await world.rows("SELECT disposition, amount, currency FROM receipts")
    assert receipt == {
        "disposition": "UNAPPLIED",
        "amount": payment.amount,
        "currency": payment.currency,
    }
    assert [case["reason"] for case in await world.rows("SELECT reason FROM cases")] == ["late"]
    (kept,) = await world.rows("SELECT balance FROM ledger_accounts WHERE code = '2300'")
    assert kept["balance"] == payment.amount
    await world.each_move_is_told_once(payment)


@each(having(Closes))
async def test_an_ended_checkout_that_was_paid_meanwhile_is_paid(world) -> None:
    """The customer was faster than the end: the close is refused, and the money is asked about."""
    payment, attempt = await world.at_the_till(expires_in=TIME)
    await world.sandbox.outcome(attempt, "pay")
    world.clock.advance(TIME + SECOND)
    await expire_payments(world.app.ctx, actor="job:test")
    await world.looked(2)
    await world.is_paid_once(payment)
