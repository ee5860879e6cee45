"""How providers are called: lists instead of questions, breakers, tokens fetched once, budgets that starts share."""

import asyncio
from collections import Counter

import pytest
from tests import a

from paystate.app import build_app, close_app
from paystate.domain import access, alerts
from paystate.domain.payments import State
from paystate.domain.payments.port import Identity
from paystate.flows.add_connection import add_connection
from paystate.flows.claim_attempts import WHO
from paystate.flows.keep_tokens import account_for, refresh_tokens, with_account
from paystate.flows.start_checkout import start_checkout
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND
from paystate.kit.errors import Unavailable
from paystate.kit.paging import PageRequest
from paystate.simulators import start_simulator

LIST_FROM = 40


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(
        database_url, tmp_path, clock, sandbox_provider_rate=10_000, verify_list_from=LIST_FROM
    ) as opened:
        yield opened


async def open_alerts(shop) -> list[tuple[str, int, str]]:
    page = await shop.app.db.read(lambda tx: alerts.list_alerts(tx, WHO, PageRequest(limit=50, after=None)))
    return [(alert.rule, alert.count, alert.state.value) for alert in page.rows]


async def test_many_due_attempts_cost_a_few_pages(shop, clock) -> None:
    """Among foreign objects; a paid one is settled from its row, with its proof."""
    opened = await asyncio.gather(*(shop.opened() for _ in range(LIST_FROM + 30)))
    for number in range(250):
        await shop.sandbox.foreign(f"foreign{number:013d}")
    await shop.sandbox.outcome(opened[7][1], "pay")
    clock.advance(20 * MINUTE)
    before = Counter((await shop.sandbox.objects())["calls"])
    await shop.look()
    asked = Counter((await shop.sandbox.objects())["calls"]) - before
    assert asked["list"] == 4
    assert asked["ask"] <= 5
    assert (await shop.now(opened[7][0])).state is State.PAID
    rows = await shop.rows("SELECT count(*) AS n FROM attempts WHERE last_outcome = 'PENDING'")
    assert rows[0]["n"] == LIST_FROM + 29


async def test_a_list_that_fails_leaves_the_questions(shop, clock) -> None:
    opened = await asyncio.gather(*(shop.opened() for _ in range(LIST_FROM + 1)))
    await shop.sandbox.fault("list", "error500")
    clock.advance(20 * MINUTE)
    await shop.look()
    assert {a.last_outcome for p, _ in opened[:20] for a in await shop.attempts(p)} == {"PENDING"}
    assert (await shop.sandbox.objects())["calls"]["ask"] >= LIST_FROM


async def test_an_outage_opens_the_breaker_once_and_it_closes_by_itself(shop, clock) -> None:
    """No patience is used up, one alert, few questions while it lasts."""
    opened = [await shop.opened(expires_in=DAY) for _ in range(12)]
    await shop.sandbox.fault("any", "outage")
    clock.advance(5 * SECOND)
    await shop.look()
    assert await open_alerts(shop) == [("provider_down", 1, "OPEN")]
    before = Counter((await shop.sandbox.objects())["calls"])
    clock.advance(2 * SECOND)
    await shop.look()
    assert Counter((await shop.sandbox.objects())["calls"]) == before
    payment = await shop.payment()
    with pytest.raises(Unavailable) as refused:
        await start_checkout(shop.app.ctx, a.WHO, payment.short_code, None)
    assert refused.value.code == "provider_unavailable"
    assert await shop.rows(f"SELECT id FROM attempts WHERE payment_id = '{payment.id}'") == []
    for _ in range(3):
        clock.advance(2 * MINUTE)
        await shop.look()
    tried = Counter((await shop.sandbox.objects())["calls"]) - before
    assert 1 <= tried.total() <= 3
    assert await open_alerts(shop) == [("provider_down", 1, "OPEN")]
    await shop.sandbox.heal()
    await shop.sandbox.outcome(opened[3][1], "pay")
    clock.advance(2 * MINUTE)
    await shop.look()
    clock.advance(2 * MINUTE)
    await shop.look()
    assert await open_alerts(shop) == [("provider_down", 1, "RESOLVED")]
    assert await shop.app.db.read(lambda tx: access.breakers(tx, WHO)) == {}
    assert (await shop.now(opened[3][0])).state is State.PAID
    await start_checkout(shop.app.ctx, a.WHO, payment.short_code, None)


async def test_a_status_nobody_knows_is_told_once(shop, clock) -> None:
    await shop.opened()
    await shop.sandbox.fault("ask", "unknown_status")
    for _ in range(3):
        clock.advance(HOUR)
        await shop.look()
    [(rule, count, state)] = await open_alerts(shop)
    assert (rule, state) == ("unknown_status", "OPEN")
    assert count >= 3


@pytest.fixture
async def token_address(shop):
    """Flutterwave's simulator, and a connection to it by a client whose tokens expire."""
    running = await start_simulator("flutterwave")
    peer = a.Sandbox(running)
    fields = {
        "clientId": "flw-client-paystate",
        "clientSecret": "flw-client-secret-paystate",
        "mode": "test",
        "baseUrl": running.base_url,
        "tokenUrl": f"{running.base_url}/realms/flutterwave/protocol/openid-connect/token",
    }
    connection = await add_connection(shop.app.ctx, shop.id, "flutterwave", fields, name="F", actor="test")
    yield peer, connection
    await peer.close()
    await running.stop()


async def fetched(peer) -> int:
    return (await peer.objects())["calls"].get("token", 0)


async def test_a_token_is_fetched_once_for_all_who_call(
    shop, token_address, database_url, tmp_path, clock
) -> None:
    """B8: single flight through the database, also between processes; sealed at rest."""
    peer, connection = token_address
    before = await fetched(peer)
    others = build_app(shop.app.settings, clock=clock)
    ctxs = [shop.app.ctx, others.ctx] if database_url.startswith("postgresql") else [shop.app.ctx]
    got = await asyncio.gather(*(account_for(ctxs[n % len(ctxs)], connection) for n in range(20)))
    await close_app(others)
    assert len({account.token for account in got}) == 1
    assert await fetched(peer) == before + 1
    [row] = await shop.rows("SELECT token, lease_until FROM connection_tokens")
    assert got[0].token not in row["token"]
    assert row["lease_until"] is None


async def test_a_refused_token_is_renewed_once_and_the_call_repeated(shop, token_address) -> None:
    peer, connection = token_address
    flutterwave = shop.app.ctx.provider("flutterwave")
    before = await fetched(peer)

    async def ask(account) -> Identity:
        return await flutterwave.identify(account)

    await with_account(shop.app.ctx, connection, ask)
    await peer.control("tokens/expire")
    named = await asyncio.gather(*(with_account(shop.app.ctx, connection, ask) for _ in range(10)))
    assert {one.account for one in named} == {connection.account}
    assert await fetched(peer) == before + 2


async def test_the_job_renews_what_would_end_soon(shop, token_address, clock) -> None:
    """E6: every minute; ten minutes are a token's whole life."""
    peer, connection = token_address
    first = (await account_for(shop.app.ctx, connection)).token
    quiet = await refresh_tokens(shop.app.ctx, None)
    assert (quiet["checked"], quiet["renewed"]) == (1, 0)
    clock.advance(8 * MINUTE)
    renewed = await refresh_tokens(shop.app.ctx, None)
    assert (renewed["checked"], renewed["renewed"], renewed["failed"]) == (1, 1, 0)
    assert (await account_for(shop.app.ctx, connection)).token != first
    await peer.fault("token", "error500")
    clock.advance(8 * MINUTE)
    failed = await refresh_tokens(shop.app.ctx, None)
    assert (failed["failed"], failed["errors"][0]["id"]) == (1, connection.id)
    [row] = await shop.rows("SELECT lease_until FROM connection_tokens")
    assert row["lease_until"] is None


async def test_a_call_never_goes_out_with_a_token_that_has_ended(shop, token_address, clock) -> None:
    peer, connection = token_address
    first = await account_for(shop.app.ctx, connection)
    before = await fetched(peer)
    clock.advance(11 * MINUTE)
    second = await account_for(shop.app.ctx, connection)
    assert second.token != first.token
    assert await fetched(peer) == before + 1
