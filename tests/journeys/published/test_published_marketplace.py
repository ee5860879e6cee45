"""The published scenarios of a marketplace that need no order: what webhooks missed, and a provider that does not answer."""

from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND


async def test_a_webhook_that_never_came_is_made_up_for_by_asking(town) -> None:
    """E2: the customer paid and closed the browser; no webhook, no return."""
    payment = await town.opened()
    await town.at_provider(payment, "pay")
    await town.pass_time(5 * SECOND)
    assert await town.path(payment) == ["OPEN", "PAID"]
    await town.audit()


async def test_no_answer_is_not_failure(town) -> None:
    """E2: retried for a day past its time, then a person decides; and the money that was there all along is found."""
    payment = await town.opened(expiresIn=3600)
    await town.at_provider(payment, "pay")
    await town.sandbox.fault("any", "outage")
    for _ in range(12):
        await town.pass_time(2 * HOUR)
        await town.sweep()
    assert await town.state(payment) == "OPEN"
    for _ in range(3):
        await town.pass_time(2 * HOUR)
        await town.sweep()
    assert await town.state(payment) == "REQUIRES_MANUAL_REVIEW"
    assert await town.cases(payment) == ["no_answer"]
    await town.sandbox.heal()
    await town.pass_time(DAY)
    await town.pass_time(MINUTE)
    assert await town.state(payment) == "PAID"
    await town.audit()
