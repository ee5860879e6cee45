"""Customers who leave, come late, pay twice or the wrong sum, and a provider that is away just then: no money is lost."""

import pytest

from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, rfc3339

ENDS = {
    "ACCEPT": ("PAID", []),
    "REVIEW": ("REQUIRES_MANUAL_REVIEW", ["late"]),
    "REFUND": ("REQUIRES_MANUAL_REVIEW", ["late"]),
}


@pytest.mark.parametrize("policy", ENDS)
async def test_abandoned_at_the_provider_and_paid_late(town, policy: str) -> None:
    """X2: expired here after its provider was asked; the money that comes a day later follows the policy."""
    payment = await town.opened(expiresIn=3600, latePolicy=policy)
    await town.pass_time(HOUR + SECOND)
    await town.sweep()
    assert await town.state(payment) == "EXPIRED"
    town.clock.advance(12 * HOUR)
    await town.at_provider(payment, "pay", paidAt=rfc3339(town.clock.now()))
    await town.pass_time(DAY)
    after = await town.now(payment)
    state, cases = ENDS[policy]
    assert (after["state"], after["flags"]["late"]) == (state, True)
    assert await town.cases(payment) == cases
    refunds = await town.web.shop.rows("SELECT state FROM refunds")
    assert [r["state"] for r in refunds] == (["PREPARED"] if policy == "REFUND" else [])
    [receipt] = await town.web.shop.rows("SELECT disposition FROM receipts")
    assert receipt["disposition"] == ("PROOF" if policy == "ACCEPT" else "UNAPPLIED")
    await town.audit()


@pytest.mark.parametrize("paid", [True, False])
async def test_a_provider_that_is_down_for_three_hours_across_the_expiry(town, paid: bool) -> None:
    """X2: nothing expires while nobody knows; its first word decides."""
    payment = await town.opened(expiresIn=3600)
    await town.pass_time(30 * MINUTE)
    await town.sandbox.fault("any", "outage")
    if paid:
        await town.at_provider(payment, "pay", paidAt=rfc3339(town.clock.now()))
    for _ in range(9):
        await town.pass_time(20 * MINUTE)
        result = await town.sweep()
        assert result["expired"] == 0
        assert await town.state(payment) == "OPEN"
    assert (await town.status(payment))["isExpired"] is True
    await town.sandbox.heal()
    await town.pass_time(15 * MINUTE)
    assert await town.path(payment) == ["OPEN", "PAID" if paid else "EXPIRED"]
    await town.audit()


async def test_returned_but_never_paid(town) -> None:
    """B1: checked, open again within its time, and expired at its end, after its checkout was closed."""
    payment = await town.opened(expiresIn=3600)
    await town.come_back(payment)
    assert await town.state(payment) == "PENDING_VERIFICATION"
    for _ in range(4):
        await town.pass_time(40 * SECOND)
    assert await town.path(payment) == ["OPEN", "PENDING_VERIFICATION", "OPEN"]
    await town.pass_time(HOUR)
    await town.sweep()
    assert await town.path(payment) == ["OPEN", "PENDING_VERIFICATION", "OPEN", "EXPIRED"]
    [checkout] = (await town.sandbox.objects())["checkouts"]
    assert checkout["status"] == "closed"
    await town.audit()


async def test_paid_twice(town) -> None:
    """The same checkout charged a second time: PAID once, the second sum kept apart with its refund prepared."""
    payment = await town.opened()
    await town.at_provider(payment, "pay")
    await town.pass_time(5 * SECOND)
    await town.at_provider(payment, "pay", transaction="txn_second")
    await town.pass_time(DAY + MINUTE)
    after = await town.now(payment)
    assert (after["state"], after["flags"]["duplicate"]) == ("PAID", True)
    assert await town.path(payment) == ["OPEN", "PAID"]
    assert await town.cases(payment) == ["duplicate"]
    receipts = await town.web.shop.rows("SELECT disposition FROM receipts ORDER BY id")
    assert sorted(r["disposition"] for r in receipts) == ["PROOF", "UNAPPLIED"]
    assert [r["state"] for r in await town.web.shop.rows("SELECT state FROM refunds")] == ["PREPARED"]
    await town.audit()


@pytest.mark.parametrize(("amount", "flag"), [(999, "partial"), (1001, "over")])
async def test_the_wrong_amount(town, amount: int, flag: str) -> None:
    payment = await town.opened()
    await town.come_back(payment)
    await town.at_provider(payment, "pay", amount=amount)
    await town.pass_time(5 * SECOND)
    after = await town.now(payment)
    assert (after["state"], after["flags"][flag]) == ("REQUIRES_MANUAL_REVIEW", True)
    assert await town.cases(payment) == ["amount_mismatch"]
    assert await town.web.shop.rows("SELECT * FROM proofs") == []
    await town.audit()
