"""Money that is not what was asked for: each fact off by itself, as far as a provider's answer can show it."""

from typing import get_args

import pytest

from paystate.domain.payments import AttemptState, Outcome, State
from paystate.domain.payments.port import Pushes
from paystate.kit.ids import new_provider_reference
from paystate.kit.money import EXPONENTS
from paystate.simulators.till import Lie
from tests.contract.found import AMOUNT, DIALECTS, PROVIDERS, currencies, having, one_database

LIES = get_args(Lie)
PUSHING = having(Pushes)
TOLD = [
    (name, lie)
    for name in PROVIDERS
    for lie in LIES
    if lie not in DIALECTS[name].untold and not (lie == "amount" and name in PUSHING)
]
UNTOLD = [
    pytest.param(name, lie, id=f"{name}, {lie}: {reason}")
    for name in PROVIDERS
    for lie, reason in DIALECTS[name].untold.items()
]
FOREIGN = ("account", "live")


async def lie_about(world, attempt, lie: str) -> None:
    """Forces a payment that differs from what was asked for in this one fact."""
    others = [c for c in [*currencies(world.name), "JPY", "EUR"] if c != world.currency]
    said = {
        "amount": {"amount": AMOUNT - 10},
        "currency": {"currency": others[0]},
        "reference": {"transactionReference": new_provider_reference()},
        "account": {"account": "99999"},
        "live": {"live": not world.connection.live},
    }
    await world.sandbox.outcome(attempt, "pay", **said[lie])


def facts(verdict) -> tuple:
    money = (verdict.amount, verdict.currency)
    return (verdict.outcome, verdict.reference, verdict.account, verdict.live, *money)


@pytest.mark.parametrize(("provider", "lie"), TOLD)
async def test_a_lie_is_a_case_and_never_a_payment(world, lie: str) -> None:
    payment, attempt = await world.at_the_till()
    await lie_about(world, attempt, lie)
    await world.heard_and_looked()
    after = await world.now(payment)
    reason = "live_flag_mismatch" if lie == "live" else f"{lie}_mismatch"
    assert (after.state, after.review_reason) == (State.REVIEW, reason)
    await world.nothing_is_proved()
    assert [case["reason"] for case in await world.rows("SELECT reason FROM cases")] == [reason]
    (receipt,) = await world.rows("SELECT disposition FROM receipts")
    assert receipt["disposition"] == ("FOREIGN" if lie in FOREIGN else "UNAPPLIED")
    assert len(await world.rows("SELECT key FROM journals")) == (0 if lie in FOREIGN else 1)
    assert (await world.attempt(payment)).state is AttemptState.SUCCEEDED
    await world.each_move_is_told_once(payment)


@one_database
@pytest.mark.parametrize(("provider", "lie"), UNTOLD)
async def test_a_lie_that_no_answer_can_tell_is_really_not_to_be_seen(world, lie: str) -> None:
    """The answer is as of an honest payment, or as before it: if it ever shows, it is to be a case like the others."""
    payment, attempt = await world.at_the_till()
    before = await world.ask(attempt)
    await lie_about(world, attempt, lie)
    after = await world.ask(attempt)
    ours = (attempt.provider_reference, world.connection.account, world.connection.live)
    honest = (Outcome.SUCCEEDED, *ours, payment.amount, payment.currency)
    assert facts(after) in (facts(before), honest)
    await world.heard_and_looked()
    assert await world.state(payment) in (State.PAID, State.OPEN, State.PENDING_VERIFICATION)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name not in PUSHING])
async def test_more_than_was_asked_for_is_over_and_less_is_partial(world) -> None:
    for difference, flags in ((-10, (True, False)), (10, (False, True))):
        payment, attempt = await world.at_the_till()
        await world.sandbox.outcome(attempt, "pay", amount=AMOUNT + difference)
        await world.heard_and_looked()
        after = await world.now(payment)
        assert (after.partial, after.over) == flags
        assert after.state is State.REVIEW


@pytest.mark.parametrize("provider", PUSHING)
async def test_what_customers_send_themselves_is_added_up(world) -> None:
    """Less leaves it open and flagged, and is booked all the same; more pays it, flagged too."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay", amount=AMOUNT - 10)
    await world.heard_and_looked()
    after = await world.now(payment)
    assert (after.state in (State.OPEN, State.PENDING_VERIFICATION), after.partial) == (True, True)
    await world.nothing_is_proved()
    assert len(await world.rows("SELECT key FROM journals")) == 1
    second, other = await world.at_the_till()
    await world.sandbox.outcome(other, "pay", amount=AMOUNT + 10)
    await world.heard_and_looked()
    paid = await world.now(second)
    assert (paid.state, paid.over, paid.partial) == (State.PAID, True, False)


@pytest.mark.parametrize("provider", [n for n in PROVIDERS if "currency" not in DIALECTS[n].untold])
async def test_money_that_nobody_takes_there_is_never_a_payment(world) -> None:
    """Not only another currency of theirs: one that was never on offer, as a token of no value would be."""
    taken = currencies(world.name)
    foreign = next((c for c in EXPONENTS if c not in taken), taken[1])
    for currency in (taken[0], taken[-1]):
        payment, attempt = await world.at_the_till(currency=currency)
        await world.sandbox.outcome(attempt, "pay", currency=foreign)
        await world.heard_and_looked()
        assert await world.state(payment) in (State.REVIEW, State.OPEN, State.PENDING_VERIFICATION)
    await world.nothing_is_proved()
