"""A provider that is down: nobody's payment fails, few questions are asked, one alert is raised, and it ends by itself."""

from paystate.domain import access, alerts
from paystate.domain.access import BREAKER_FAILURES
from paystate.domain.payments import AttemptState, State
from paystate.flows.claim_attempts import WHO
from paystate.kit.clock import DAY
from paystate.kit.paging import PageRequest
from tests.contract.found import PROVIDERS, each

WAITS = (State.OPEN, State.PENDING_VERIFICATION)
OPENED = BREAKER_FAILURES + 2


async def open_alerts(world) -> list[tuple[str, str]]:
    page = await world.app.db.read(lambda tx: alerts.list_alerts(tx, WHO, PageRequest(limit=50, after=None)))
    return [(alert.rule, alert.state.value) for alert in page.rows]


async def breakers(world) -> list[str]:
    return list(await world.app.db.read(lambda tx: access.breakers(tx, WHO)))


@each(PROVIDERS)
async def test_an_outage_opens_the_breaker_once_and_it_closes_by_itself(world) -> None:
    opened = [await world.at_the_till(expires_in=DAY) for _ in range(OPENED)]
    for _, attempt in opened:
        await world.sandbox.outcome(attempt, "process")
    await world.deliver()
    await world.fault("any", "outage")
    await world.looked()
    assert await breakers(world) == [world.connection.id]
    assert await open_alerts(world) == [("provider_down", "OPEN")]
    before = await world.calls()
    await world.looked(2)
    assert await world.calls() == before
    for _ in range(3):
        await world.looked(120)
    tried = sum((await world.calls()).values()) - sum(before.values())
    assert 1 <= tried <= 3
    for payment, _ in opened:
        assert await world.state(payment) in WAITS
        assert (await world.attempt(payment)).state is AttemptState.LIVE
    await world.sandbox.heal()
    await world.sandbox.outcome(opened[0][1], "pay")
    await world.deliver()
    for _ in range(3):
        await world.looked(120)
    assert await breakers(world) == []
    assert await open_alerts(world) == [("provider_down", "RESOLVED")]
    await world.is_paid_once(opened[0][0])
