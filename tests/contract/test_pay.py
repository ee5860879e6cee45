"""From an offer to a proof: with webhooks, without any, after a decline."""

import re
from html import unescape

import pytest

from paystate.domain.payments import AttemptState, State
from paystate.domain.payments.port import AsksByTrace, LandsOnFixedPath, SendsWebhooks
from tests.contract.found import DIALECTS, PROVIDERS, each, having, lacking

HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
WAITS = (State.OPEN, State.PENDING_VERIFICATION)


@each(PROVIDERS)
async def test_a_customer_pays_and_the_provider_says_so(world) -> None:
    payment = await world.payment()
    checkout = await world.checkout(payment)
    await world.pays_on(await world.goes_to(checkout.offer))
    statuses = await world.heard_and_looked()
    assert bool(statuses) == isinstance(world.adapter, SendsWebhooks)
    assert set(statuses) <= {200}
    await world.is_paid_once(payment)
    verdict = await world.ask(checkout.attempt)
    (money,) = (await world.sandbox.objects())["transactions"]
    assert verdict.fee in (None, money["fee"])
    assert (verdict.amount_refunded, verdict.disputed, verdict.further) == (0, False, ())


@each(lacking(AsksByTrace))
async def test_every_webhook_is_lost_and_asking_finds_the_money(world) -> None:
    payment, attempt = await world.at_the_till()
    await world.looked()
    assert await world.state(payment) in WAITS
    await world.sandbox.outcome(attempt, "pay")
    await world.looked()
    await world.is_paid_once(payment)


@each([name for name in PROVIDERS if name not in lacking(AsksByTrace)])
async def test_who_can_only_be_asked_by_trace_waits_for_one_and_concludes_nothing(world) -> None:
    """Without a message nothing is known, which is neither a payment nor a failure; a late message finds the money."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay")
    await world.looked()
    assert await world.state(payment) in WAITS
    assert (await world.attempt(payment)).state is AttemptState.LIVE
    await world.heard_and_looked()
    await world.is_paid_once(payment)


@each(having(LandsOnFixedPath))
async def test_every_webhook_is_lost_and_the_browser_that_comes_back_is_enough(world) -> None:
    """All browsers land on one address; what one brings is believed no more than a webhook."""
    address = f"{await world.site()}/pay/return/{world.connection.id}"
    await world.told(extra=world.dialect.landing_extra(address))
    payment = await world.payment()
    checkout = await world.checkout(payment)
    page = await world.pays_on(await world.goes_to(checkout.offer))
    assert address in page
    fields = {unescape(name): unescape(value) for name, value in HIDDEN.findall(page)}
    async with world.http.post(address, data=fields, allow_redirects=False) as answer:
        assert answer.status == 303
        assert payment.short_code in answer.headers["Location"]
    await world.nothing_is_proved()
    await world.looked()
    await world.is_paid_once(payment)


@each([name for name in PROVIDERS if DIALECTS[name].open_after_decline])
async def test_a_declined_customer_tries_again_on_the_same_checkout(world) -> None:
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "decline")
    await world.heard_and_looked()
    assert await world.state(payment) in WAITS
    assert (await world.attempt(payment)).state is AttemptState.LIVE
    await world.sandbox.outcome(attempt, "pay")
    await world.heard_and_looked()
    await world.is_paid_once(payment)


@each([name for name in PROVIDERS if not DIALECTS[name].open_after_decline])
async def test_where_a_decline_ends_the_checkout_the_payment_can_be_paid_by_a_new_one(world) -> None:
    payment, declined = await world.at_the_till()
    await world.sandbox.outcome(declined, "decline")
    await world.heard_and_looked()
    assert (await world.attempt(payment)).state is AttemptState.FAILED
    assert await world.state(payment) is State.FAILED
    again = await world.checkout(payment)
    assert again.attempt.provider_reference != declined.provider_reference
    await world.goes_to(again.offer)
    await world.sandbox.outcome(again.attempt, "pay")
    await world.heard_and_looked()
    await world.is_paid_once(payment)


@each([name for name in PROVIDERS if not DIALECTS[name].open_after_decline])
async def test_money_after_a_decline_on_the_very_same_checkout_is_found(world) -> None:
    """The provider's word was only true for then."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "decline")
    await world.heard_and_looked()
    await world.sandbox.outcome(attempt, "pay")
    await world.deliver()
    await world.asked_now(payment)
    await world.is_paid_once(payment)


@each(PROVIDERS)
async def test_a_customer_who_does_nothing_leaves_it_open(world) -> None:
    payment, _ = await world.at_the_till()
    for _ in range(3):
        await world.looked(61)
    assert await world.state(payment) in WAITS
    assert (await world.attempt(payment)).state is AttemptState.LIVE
    await world.nothing_is_proved()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_money_on_its_way_waits_and_then_pays(world) -> None:
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "process")
    await world.heard_and_looked()
    assert await world.state(payment) in WAITS
    await world.nothing_is_proved()
    await world.sandbox.outcome(attempt, "pay")
    await world.heard_and_looked()
    await world.is_paid_once(payment)
