"""Several providers at one merchant: the customer is offered those that take the money, and no other is called."""

import pytest
from tests.entrypoints.pay_site import site
from tests.entrypoints.real_providers import connected

from paystate.domain.payments import AttemptState, State
from paystate.flows.start_checkout import start_checkout
from paystate.kit.errors import Refused


def buttons(page: str) -> set[str]:
    return {name for name in ("sandbox", "stripe", "netcash", "hedera") if f'value="{name}"' in page}


@pytest.mark.parametrize(
    ("amount", "currency", "offered"),
    [
        (2_500, "EUR", {"sandbox", "stripe"}),
        (15_000, "ZAR", {"sandbox", "stripe", "netcash"}),
        (5_000_000, "USDC", {"sandbox", "hedera"}),
        (49, "EUR", {"sandbox"}),
        (1_005, "KWD", {"sandbox"}),
        (1_010, "KWD", {"sandbox", "stripe"}),
    ],
)
async def test_a_page_offers_who_takes_the_money(
    database_url, tmp_path, clock, amount, currency, offered
) -> None:
    async with (
        site(database_url, tmp_path, clock) as pages,
        connected(pages.shop, "stripe"),
        connected(pages.shop, "netcash"),
        connected(pages.shop, "hedera"),
    ):
        payment = await pages.shop.payment(amount, currency)
        assert buttons((await pages.page(payment)).text) == offered


async def test_only_what_the_payment_allows_is_offered(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "stripe") as at:
        payment = await pages.shop.payment(2_500, "EUR", providers=("stripe",))
        assert buttons((await pages.page(payment)).text) == {"stripe"}
        answer = await pages.post(f"/pay/{payment.short_code}/checkout", data={"provider": "stripe"})
        assert answer.location.startswith(f"{at.simulator.base_url}/c/pay/cs_test_")


async def test_a_customer_may_change_their_mind(database_url, tmp_path, clock) -> None:
    """The checkout that was left is ended at its provider before the other one starts."""
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "stripe") as at:
        payment, first = await pages.shop.opened(2_500, "EUR")
        answer = await pages.post(f"/pay/{payment.short_code}/checkout", data={"provider": "stripe"})
        assert answer.location.startswith(at.simulator.base_url)
        states = {a.provider: a.state for a in await pages.shop.attempts(payment)}
        assert states == {"sandbox": AttemptState.CANCELED, "stripe": AttemptState.LIVE}
        assert first.state is AttemptState.LIVE
        (checkout,) = (await pages.shop.sandbox.objects())["checkouts"]
        assert checkout["status"] == "closed"


async def test_money_that_a_provider_does_not_take_is_refused_before_anything_happens(web, shop) -> None:
    async with connected(shop, "stripe") as stripe, connected(shop, "netcash") as netcash:
        payment, attempt = await shop.opened(2_500, "EUR")
        path = f"/api/payment-links/{payment.short_code}/checkout"
        reply = await web.post(path, {"provider": "netcash"}, key=None)
        assert (reply.status, reply.code) == (422, "currency_not_supported_by_provider")
        small = await shop.payment(49, "EUR")
        reply = await web.post(
            f"/api/payment-links/{small.short_code}/checkout", {"provider": "stripe"}, key=None
        )
        assert (reply.status, reply.code) == (422, "amount_below_minimum")
        for name in ("hedera", "paystack", "nobody"):
            reply = await web.post(path, {"provider": name}, key=None)
            assert (reply.status, reply.code) == (422, "provider_not_configured")
            assert reply.json["available"] == ["netcash", "sandbox", "stripe"]
        assert await shop.attempts(payment) == [attempt]
        assert await shop.attempts(small) == []
        assert (await shop.now(payment)).state is State.OPEN
        assert set(await stripe.called()) == {"account"}
        assert set(await netcash.called()) == {"account"}
        assert (await shop.sandbox.objects())["calls"] == {"start": 1}


async def test_without_a_choice_the_first_that_takes_the_money_is_taken(
    database_url, tmp_path, clock
) -> None:
    async with (
        site(database_url, tmp_path, clock) as pages,
        connected(pages.shop, "stripe"),
        connected(pages.shop, "hedera") as hedera,
    ):
        shop = pages.shop
        disable = f"UPDATE connections SET state = 'DISABLED' WHERE id = '{shop.connection.id}'"
        await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(disable) and None)
        payment = await shop.payment(5_000_000, "USDC")
        started = await start_checkout(shop.app.ctx, shop.id, payment.short_code, None)
        assert started.attempt.connection_id == hedera.connection.id
        neither = await shop.payment(1_000, "SEK", description="no such coin here")
        assert buttons((await pages.page(neither)).text) == {"stripe"}
        nobody = await shop.payment(1, "EUR")
        with pytest.raises(Refused) as refusal:
            await start_checkout(shop.app.ctx, shop.id, nobody.short_code, None)
        assert refusal.value.code == "amount_below_minimum"
        assert "no way to pay this online" in (await pages.page(nobody)).text


async def test_a_form_is_begun_anew_once(web, shop) -> None:
    """The attempt that was left is watched; pressing twice does not make a third one."""
    async with connected(shop, "netcash") as at:
        payment = await shop.payment(15_000, "ZAR")
        first = (await at.start(payment)).attempt
        again = {"provider": "netcash", "insteadOf": first.id}
        page = f"{web.base}/pay/{payment.short_code}/checkout"
        for _ in range(2):
            async with web.http.post(page, data=again, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (
                    303,
                    f"/pay/{payment.short_code}/continue",
                )
        states = {a.id: a.state for a in await shop.attempts(payment)}
        assert states.pop(first.id) is AttemptState.WATCHED
        assert list(states.values()) == [AttemptState.LIVE]
        assert (await shop.now(payment)).state is State.OPEN
