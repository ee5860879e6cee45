"""Checkouts whose start makes no call: a form to post and instructions to follow, without an id of the provider."""

import aiohttp
import pytest
from tests import a

from paystate.domain.payments import AttemptState, State
from paystate.flows.add_connection import add_connection
from paystate.flows.start_checkout import BEFORE_CALL, start_checkout
from paystate.kit.clock import MINUTE, SECOND
from paystate.machinery import failpoints
from paystate.simulators import start_simulator
from paystate.simulators.netcash.dialect import SERVICE_KEY


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
async def hedera(shop):
    running = await start_simulator("hedera")
    wallet = a.Sandbox(running)
    fields = {"accountId": "0.0.800001", "baseUrl": running.base_url}
    await add_connection(shop.app.ctx, shop.id, "hedera", fields, name="", actor="key:test")
    yield wallet
    await wallet.close()
    await running.stop()


@pytest.fixture
async def netcash(shop):
    running = await start_simulator("netcash")
    control = a.Sandbox(running)
    url = running.base_url
    fields = {"serviceKey": SERVICE_KEY, "payUrl": f"{url}/site/paynow.aspx", "baseUrl": url}
    await add_connection(shop.app.ctx, shop.id, "netcash", fields, name="", actor="key:test")
    yield control
    await control.close()
    await running.stop()


async def posted(url, fields):
    """What a customer's browser does with an offer."""
    async with aiohttp.ClientSession() as http, http.post(url, data=fields, allow_redirects=False) as answer:
        return answer.status


async def test_instructions_are_followed_and_the_money_is_found_by_its_memo(shop, clock, hedera) -> None:
    payment = await shop.payment(10_100_000, "USDC")
    started = await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "hedera")
    assert (started.attempt.state, started.attempt.checkout_id) == (AttemptState.LIVE, None)
    assert started.offer is not None
    assert started.offer.kind == "instructions"
    assert await posted(f"{hedera.base_url}/wallet", started.offer.fields) == 303
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(payment)).state is State.OPEN
    await hedera.outcome(started.attempt, "pay")
    clock.advance(MINUTE)
    await shop.look()
    after = await shop.now(payment)
    assert (after.state, after.transaction_amount, after.payment_method) == (
        State.PAID,
        10_100_000,
        "HEDERA",
    )


async def test_a_form_leaves_the_attempt_live_until_something_is_heard(shop, clock, netcash) -> None:
    payment = await shop.payment(15_000, "ZAR")
    started = await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "netcash")
    assert (started.attempt.state, started.attempt.checkout_id) == (AttemptState.LIVE, None)
    assert started.offer is not None
    assert await posted(started.offer.url, started.offer.fields) == 303
    clock.advance(5 * SECOND)
    await shop.look()
    (attempt,) = await shop.attempts(payment)
    assert (attempt.state, attempt.checkout_id, attempt.last_outcome) == (AttemptState.LIVE, None, "PENDING")
    assert (await netcash.objects())["checkouts"][0]["reference"] == attempt.provider_reference


async def test_a_start_that_was_cut_off_is_made_up_for_without_an_id(shop, clock, hedera) -> None:
    payment = await shop.payment(10_100_000, "USDC")
    failpoints.arm(f"{BEFORE_CALL}=raise")
    try:
        with pytest.raises(failpoints.FailpointHit):
            await start_checkout(shop.app.ctx, a.WHO, payment.short_code, "hedera")
    finally:
        failpoints.arm(None)
    clock.advance(MINUTE)
    await shop.look()
    (attempt,) = await shop.attempts(payment)
    assert (attempt.state, attempt.checkout_id) == (AttemptState.LIVE, None)
    assert attempt.checkout is not None
    assert f'"memo":"{attempt.provider_reference}"' in attempt.checkout
