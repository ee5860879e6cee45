"""Creating payments: conflicts decided by the index, stale ones expired first, both ways out of a conflict."""

import asyncio

import pytest
from tests import a

from paystate.domain.payments import AttemptState, State
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.replace_payment import finish_intent
from paystate.kit.clock import HOUR, MINUTE, SECOND
from paystate.kit.errors import Conflict, Refused


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def test_of_twenty_parallel_creates_one_wins(shop) -> None:
    results = await asyncio.gather(
        *(shop.create(customer="ann", bundle_id="gold", plan_name="Gold") for _ in range(20)),
        return_exceptions=True,
    )
    conflicts = [r for r in results if isinstance(r, Conflict)]
    assert len(conflicts) == 19, [r for r in results if isinstance(r, Exception)][:3]
    assert {c.code for c in conflicts} == {"PENDING_SAME_BUNDLE"}
    assert all(set(c.help["actions"]) == {"complete", "cancel"} for c in conflicts)
    assert len(await shop.rows("SELECT id FROM payments")) == 1


async def test_another_bundle_is_allowed_with_a_warning(shop) -> None:
    first = await shop.payment(customer="ann", bundle_id="gold", plan_name="Gold")
    second = await shop.create(customer="ann", bundle_id="silver")
    assert [w["code"] for w in second.warnings] == ["OTHER_PENDING"]
    assert second.warnings[0]["payments"][0]["id"] == first.id
    assert "Gold" in second.warnings[0]["message"]


async def test_a_stale_payment_without_a_checkout_expires_before_the_next(shop, clock) -> None:
    first = await shop.payment(customer="ann", bundle_id="gold")
    clock.advance(31 * MINUTE)
    second = await shop.payment(customer="ann", bundle_id="gold")
    assert (await shop.now(first)).state is State.EXPIRED
    assert second.state is State.OPEN


async def test_a_stale_payment_at_a_provider_is_asked_and_ended_first(shop, clock) -> None:
    first, _attempt = await shop.opened(customer="ann", bundle_id="gold")
    clock.advance(31 * MINUTE)
    second = await shop.payment(customer="ann", bundle_id="gold")
    assert second.state is State.OPEN
    assert (await shop.now(first)).state is State.EXPIRED
    [checkout] = (await shop.sandbox.objects())["checkouts"]
    assert checkout["status"] in ("closed", "expired")


async def test_a_conflicting_payment_that_turns_out_paid_says_so(shop, clock) -> None:
    first, attempt = await shop.opened(customer="ann", bundle_id="gold")
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(2 * SECOND)
    with pytest.raises(Conflict) as refused:
        await shop.payment(customer="ann", bundle_id="gold")
    assert refused.value.help["alreadyPaid"] is True
    assert (await shop.now(first)).state is State.PAID


async def test_a_silent_provider_means_conflict_never_expiry(shop, clock) -> None:
    first, _ = await shop.opened(customer="ann", bundle_id="gold")
    clock.advance(31 * MINUTE)
    await shop.sandbox.fault("any", "outage")
    with pytest.raises(Conflict) as refused:
        await shop.payment(customer="ann", bundle_id="gold")
    assert refused.value.code == "PENDING_SAME_BUNDLE"
    assert (await shop.now(first)).state is State.OPEN


async def test_return_existing_and_cancel_existing(shop) -> None:
    first = await shop.payment(customer="ann", bundle_id="gold")
    again = await shop.create(customer="ann", bundle_id="gold", on_conflict="RETURN_EXISTING")
    assert (again.payment.id, again.existing) == (first.id, True)
    fresh = await shop.create(customer="ann", bundle_id="gold", on_conflict="CANCEL_EXISTING")
    assert fresh.payment.id != first.id
    assert (await shop.now(first)).state is State.CANCELED


async def test_cancel_and_start_new_in_one_step_and_only_once(shop) -> None:
    first, _ = await shop.opened(1000, customer="ann", bundle_id="gold")
    with pytest.raises(Conflict) as refused:
        await shop.payment(2000, customer="ann", bundle_id="gold")
    intent_id = refused.value.help["actions"]["cancel"]["url"].rsplit("=", 1)[1]
    made = await asyncio.gather(
        *(finish_intent(shop.app.ctx, intent_id) for _ in range(5)), return_exceptions=True
    )
    payments = {p.id for p in made if not isinstance(p, Exception)}
    assert len(payments) == 1, made
    assert (await shop.now(first)).state is State.CANCELED
    [checkout] = (await shop.sandbox.objects())["checkouts"]
    assert checkout["status"] == "closed"
    again = await finish_intent(shop.app.ctx, intent_id)
    assert again.amount == 2000


async def test_an_offer_to_start_new_ends_after_half_an_hour(shop, clock) -> None:
    await shop.payment(customer="ann", bundle_id="gold", expires_in=3 * HOUR)
    with pytest.raises(Conflict) as refused:
        await shop.payment(customer="ann", bundle_id="gold")
    intent_id = refused.value.help["actions"]["cancel"]["url"].rsplit("=", 1)[1]
    clock.advance(31 * MINUTE)
    with pytest.raises(Conflict):
        await finish_intent(shop.app.ctx, intent_id)


async def test_a_reference_is_used_once_also_at_the_same_time(shop) -> None:
    results = await asyncio.gather(
        *(shop.create(reference="order-1") for _ in range(8)), return_exceptions=True
    )
    codes = [r.code for r in results if isinstance(r, Conflict)]
    assert codes == ["duplicate_reference"] * 7


async def test_an_unconfigured_provider_is_refused_before_anything(shop) -> None:
    with pytest.raises(Refused) as refused:
        await shop.create(providers=("nowhere",))
    assert refused.value.code == "provider_not_configured"
    assert await shop.rows("SELECT id FROM payments") == []


async def test_cancel_ends_the_checkout_at_the_provider_first(shop, clock) -> None:
    payment, _attempt = await shop.opened()
    clock.advance(2 * SECOND)
    after = await cancel_payment(shop.app.ctx, shop.id, payment.id, actor="key:test")
    assert after.state is State.CANCELED
    [checkout] = (await shop.sandbox.objects())["checkouts"]
    assert checkout["status"] == "closed"
    assert (await cancel_payment(shop.app.ctx, shop.id, payment.id, actor="key:test")).seq == after.seq


async def test_cancel_of_a_payment_that_was_just_paid_ends_paid(shop, clock) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    clock.advance(2 * SECOND)
    after = await cancel_payment(shop.app.ctx, shop.id, payment.id, actor="customer")
    assert after.state is State.PAID


async def test_cancel_at_a_silent_provider_frees_the_slot_and_follows_the_answer(shop, clock) -> None:
    payment, _attempt = await shop.opened(customer="ann", bundle_id="gold")
    await shop.sandbox.fault("any", "outage")
    clock.advance(2 * SECOND)
    waiting = await cancel_payment(shop.app.ctx, shop.id, payment.id, actor="customer")
    assert (waiting.state, waiting.slot_key) == (State.OPEN, None)
    assert waiting.cancel_requested_at is not None
    await shop.sandbox.heal()
    other = await shop.payment(customer="ann", bundle_id="gold")
    clock.advance(MINUTE)
    await shop.look()
    assert (await shop.now(payment)).state is State.CANCELED
    assert (await shop.now(other)).state is State.OPEN


async def test_of_concurrent_checkouts_all_get_the_winners(shop) -> None:
    payment = await shop.payment()
    found = await asyncio.gather(*(shop.checkout(payment) for _ in range(8)))
    assert len({c.offer.url for c in found}) == 1
    assert len((await shop.sandbox.objects())["checkouts"]) == 1


async def test_a_lost_answer_to_the_start_leaves_one_checkout(shop, clock) -> None:
    """K3, T43: the stored bytes are sent again under the same key; the provider holds one object."""
    payment = await shop.payment()
    await shop.sandbox.fault("start", "act_then_drop", times=1)
    first = await shop.checkout(payment)
    assert (first.offer, first.attempt.state) == (None, AttemptState.CREATED)
    clock.advance(MINUTE)
    await shop.look()
    [attempt] = await shop.attempts(payment)
    assert attempt.state is AttemptState.LIVE
    assert len((await shop.sandbox.objects())["checkouts"]) == 1
    assert (await shop.checkout(payment)).offer is not None
