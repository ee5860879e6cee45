"""What was carried out although its answer got lost is there once: checkouts and refunds."""

import pytest

from paystate.domain.payments import AttemptState, State
from paystate.domain.payments.port import (
    KeepsRefundKeys,
    NoAnswer,
    Provider,
    RefundAnswer,
    RefundOrder,
    Refunds,
)
from paystate.kit.money import Money
from tests.contract.found import AMOUNT, PROVIDERS, each, having, one_database

PART = 4_500
LOST = ("act_then_drop", "outage")


@pytest.mark.parametrize("kind", LOST)
@each(PROVIDERS)
async def test_a_start_whose_answer_got_lost_made_at_most_one_checkout(world, kind: str) -> None:
    """However often it is sent again; and the customer can pay in the end."""
    lost = await world.fault("start", kind, times=1)
    payment = await world.payment()
    first = await world.checkout(payment)
    if await world.hits(lost) == 0:
        # This start makes no call at all: nothing can get lost, and the customer has the offer already.
        assert first.offer is not None
        assert not set(await world.calls()) - {"account"}
        return
    assert first.offer is None
    for _ in range(12):
        await world.looked(10)
    assert len(await world.at_provider(first.attempt.provider_reference)) == 1
    now = await world.attempt(payment)
    assert now.state in (AttemptState.LIVE, AttemptState.WATCHED, AttemptState.CANCELED)
    again = await world.checkout(payment)
    assert (again.attempt.id == first.attempt.id) == (now.state is AttemptState.LIVE)
    await world.goes_to(again.offer)
    assert await world.state(payment) in (State.OPEN, State.PENDING_VERIFICATION)
    await world.sandbox.outcome(again.attempt, "pay")
    await world.heard_and_looked()
    await world.is_paid_once(payment)


@each(PROVIDERS)
async def test_a_start_that_fails_twice_alike_is_asked_about_and_never_a_failure(world) -> None:
    """The stored bytes, the same key: a provider that keeps its error under the key must not trap us."""
    await world.fault("start", "error500", acts=True, stored=True)
    payment = await world.payment()
    first = await world.checkout(payment)
    for _ in range(12):
        await world.looked(10)
    await world.sandbox.heal()
    for _ in range(3):
        await world.looked(10)
    assert await world.state(payment) in (State.OPEN, State.PENDING_VERIFICATION)
    assert len(await world.at_provider(first.attempt.provider_reference)) <= 1


async def given_back(provider: Provider, account, order: RefundOrder) -> RefundAnswer:
    """What a refund has to be, built from the port alone: look, send, and after silence never send blindly."""
    assert isinstance(provider, Refunds)
    before = await provider.refunds_of(account, order.transaction_id, order.checkout_id)
    known = {refund.refund_id for refund in before}
    try:
        return await provider.refund(account, order)
    except NoAnswer:
        if isinstance(provider, KeepsRefundKeys):
            return await provider.refund(account, order)
    now = await provider.refunds_of(account, order.transaction_id, order.checkout_id)
    fresh = [refund for refund in now if refund.refund_id not in known and refund.money == order.money]
    return fresh[0] if fresh else await provider.refund(account, order)


async def paid(world):
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay")
    await world.heard_and_looked()
    verdict = await world.ask(await world.attempt(payment))
    assert verdict.transaction_id is not None
    return payment, await world.attempt(payment), verdict


@one_database
@pytest.mark.parametrize("kind", LOST)
@each(having(Refunds))
async def test_a_refund_whose_answer_got_lost_is_made_once(world, kind: str) -> None:
    payment, attempt, verdict = await paid(world)
    lost = await world.fault("refund", kind, times=1)
    order = RefundOrder(
        verdict.transaction_id, attempt.checkout_id, Money(PART, payment.currency), "rfd_contract_0001"
    )
    answer = await given_back(world.adapter, world.account, order)
    assert await world.hits(lost) == 1
    made = (await world.sandbox.objects())["refunds"]
    assert [(row["amount"], row["currency"]) for row in made] == [(PART, payment.currency)]
    assert answer.money == order.money
    assert answer.outcome in ("PENDING", "SUCCEEDED")
    listed = await world.adapter.refunds_of(world.account, order.transaction_id, order.checkout_id)
    assert [refund.refund_id for refund in listed] == [answer.refund_id]


@one_database
@each(having(Refunds))
async def test_two_refunds_are_two_and_show_in_the_next_answer(world) -> None:
    payment, attempt, verdict = await paid(world)
    for number, amount in enumerate((PART, AMOUNT - PART)):
        order = RefundOrder(
            verdict.transaction_id,
            attempt.checkout_id,
            Money(amount, payment.currency),
            f"rfd_contract_000{number}",
        )
        await given_back(world.adapter, world.account, order)
        said = await world.ask(attempt)
        assert said.amount_refunded == (PART if number == 0 else AMOUNT)
        assert said.outcome.value == ("SUCCEEDED" if number == 0 else "REFUNDED")
    assert (
        len(await world.adapter.refunds_of(world.account, verdict.transaction_id, attempt.checkout_id)) == 2
    )
    await world.asked_now(payment)
    assert await world.state(payment) is State.PAID
    assert [c["reason"] for c in await world.rows("SELECT reason FROM cases")] == ["refunded_at_provider"]


@one_database
@each(having(KeepsRefundKeys))
async def test_the_same_refund_sent_again_is_the_same_refund(world) -> None:
    payment, attempt, verdict = await paid(world)
    order = RefundOrder(
        verdict.transaction_id, attempt.checkout_id, Money(PART, payment.currency), "rfd_contract_0001"
    )
    answers = [await world.adapter.refund(world.account, order) for _ in range(3)]
    assert len({answer.refund_id for answer in answers}) == 1
    assert len((await world.sandbox.objects())["refunds"]) == 1
