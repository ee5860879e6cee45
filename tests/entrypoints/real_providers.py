"""Connects a shop of the tests to the simulator of a real provider, and steers that simulator."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests import a
from tests.entrypoints.pay_site import Site

from paystate.domain.connections import Connection
from paystate.domain.payments import Attempt, Payment
from paystate.flows.add_connection import add_connection
from paystate.flows.start_checkout import Checkout, start_checkout
from paystate.simulators import start_simulator


@dataclass
class AtProvider:
    """The shop's connection to a simulator, and the simulator's control API."""

    shop: a.Shop
    connection: Connection
    simulator: a.Sandbox

    async def start(self, payment: Payment) -> Checkout:
        return await start_checkout(self.shop.app.ctx, a.WHO, payment.short_code, self.connection.provider)

    async def post_form(self, checkout: Checkout) -> str:
        """A browser posts the offered form; answers the page it is led to."""
        assert checkout.offer is not None
        assert checkout.offer.kind == "form"
        async with aiohttp.ClientSession() as http:
            url, fields = checkout.offer.url, dict(checkout.offer.fields)
            async with http.post(url, data=fields, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.text()
                return answer.headers["Location"]

    async def outcome(self, attempt: Attempt, outcome: str, **values: Any) -> Any:
        return await self.simulator.outcome(attempt, outcome, **values)

    async def called(self) -> dict[str, int]:
        """How often each operation of the simulator was called."""
        return dict((await self.simulator.objects())["calls"])


@contextlib.asynccontextmanager
async def connected(shop: a.Shop, provider: str) -> AsyncIterator[AtProvider]:
    """A further connection of the shop, to the default account of this provider's simulator."""
    running = await start_simulator(provider)
    simulator = a.Sandbox(running)
    try:
        fields = (await simulator.control("connection", method="GET"))["fields"]
        connection = await add_connection(shop.app.ctx, shop.id, provider, fields, name="", actor="test")
        yield AtProvider(shop, connection, simulator)
    finally:
        await simulator.close()
        await running.stop()


async def tell(at: AtProvider, pages: Site) -> None:
    """What the merchant types in at the provider: where webhooks go, and where browsers come back to."""
    landing = f"{pages.url}/pay/return/{at.connection.id}"
    await at.simulator.control(
        "accounts",
        {
            "account": (await at.simulator.objects())["accounts"][0]["account"],
            "webhookUrl": pages.url + pages.hook(at.connection.provider, at.connection.id),
            "extra": {"acceptUrl": landing, "declineUrl": landing},
        },
    )
