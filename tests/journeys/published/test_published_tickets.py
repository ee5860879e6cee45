"""The published scenarios of ticket orders: happy path, failed, cancelled, amount mismatch, expired after two hours."""

from paystate.kit.clock import HOUR, MINUTE, SECOND


async def _returned(town, **values):
    """The customer was at the provider and came back; what was done there is the provider's to say."""
    order = await town.opened(description="Summer Gala, 2 tickets", **values)
    await town.come_back(order)
    assert await town.state(order) == "PENDING_VERIFICATION"
    return order


async def test_the_happy_path(town) -> None:
    """B1, B2: coming back proves nothing; the provider's word does, once."""
    order = await _returned(town)
    page = await town.page(order)
    assert "Processing your payment" in page.text
    await town.at_provider(order, "pay")
    await town.pass_time(5 * SECOND)
    paid = await town.now(order)
    assert (paid["state"], paid["transactionInfo"]["amount"]) == ("PAID", 1000)
    assert await town.path(order) == ["OPEN", "PENDING_VERIFICATION", "PAID"]
    assert "Payment successful" in (await town.page(order, "/success")).text
    version = paid["version"]
    await town.come_back(order)
    await town.pass_time(5 * SECOND)
    assert (await town.now(order))["version"] == version
    await town.audit()


async def test_a_failed_payment_can_be_tried_again(town) -> None:
    """B2: FAILED, and a retry on the same link."""
    order = await _returned(town)
    await town.at_provider(order, "fail")
    await town.pass_time(5 * SECOND)
    assert await town.state(order) == "FAILED"
    assert "Payment did not go through" in (await town.page(order)).text
    retried = await town.web.post(f"/api/payments/{order['id']}/retry")
    assert retried.json["state"] == "OPEN"
    await town.check_out(order)
    await town.at_provider(order, "pay")
    await town.pass_time(5 * SECOND)
    assert await town.path(order) == ["OPEN", "PENDING_VERIFICATION", "FAILED", "OPEN", "PAID"]
    await town.audit()


async def test_a_cancelled_payment(town) -> None:
    """Asked first, ended at the provider, and the customer is told."""
    order = await town.opened()
    asked = await town.page(order, "/cancel")
    assert "Yes, cancel this payment" in asked.text
    assert await town.state(order) == "OPEN"
    town.clock.advance(2 * SECOND)
    done = await town.press(f"/pay/{order['shortCode']}/cancel")
    assert done.status == 303
    assert await town.state(order) == "CANCELED"
    assert "Payment canceled" in (await town.page(order, "/canceled")).text
    [checkout] = (await town.sandbox.objects())["checkouts"]
    assert checkout["status"] == "closed"
    await town.audit()


async def test_an_amount_mismatch_goes_to_a_person(town) -> None:
    """B2: nothing is issued; a case says why."""
    order = await _returned(town)
    await town.at_provider(order, "pay", amount=1)
    await town.pass_time(5 * SECOND)
    assert await town.state(order) == "REQUIRES_MANUAL_REVIEW"
    assert await town.cases(order) == ["amount_mismatch"]
    assert (await town.now(order))["transactionInfo"] is None
    assert "A person is looking at your payment" in (await town.page(order)).text
    await town.audit()


async def test_expired_after_two_hours(town) -> None:
    """B2: the provider was not to be reached for two hours, then says that nobody paid."""
    order = await _returned(town)
    await town.sandbox.fault("any", "outage")
    await town.pass_time(HOUR)
    assert await town.state(order) == "PENDING_VERIFICATION"
    await town.pass_time(HOUR + MINUTE)
    await town.sweep()
    assert await town.state(order) == "PENDING_VERIFICATION"
    await town.sandbox.heal()
    await town.pass_time(15 * MINUTE)
    await town.sweep()
    assert await town.state(order) == "EXPIRED"
    assert "Payment link expired" in (await town.page(order, "/expired")).text
    await town.audit()


async def test_a_payment_already_final_is_left_alone(town) -> None:
    """B4: whoever asks again changes nothing."""
    order = await _returned(town)
    await town.at_provider(order, "pay")
    await town.pass_time(5 * SECOND)
    before = await town.now(order)
    for _ in range(3):
        town.clock.advance(MINUTE)
        assert (await town.web.post(f"/api/payments/{order['id']}/verify")).status == 200
        await town.look()
    after = await town.now(order)
    assert (after["state"], after["version"]) == (before["state"], before["version"])
