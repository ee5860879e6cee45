"""Lists: every checkout of ours once, between those of others and while new ones come in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp

from paystate.adapters.providers import load_providers
from paystate.domain.payments.port import Account, CheckoutOrder, Lists, Offer, Verdict
from paystate.kit.clock import MINUTE, SECOND, FrozenClock, Instant, SystemClock
from paystate.kit.ids import new_provider_reference
from paystate.kit.money import Money
from paystate.machinery.http import Http
from paystate.simulators import start_simulator
from tests import a
from tests.contract.found import AMOUNT, currencies, dialect_of, each, having, port_account

OURS = 250
FOREIGN = 40
AT_ONCE = 10
A_SECOND = 25
"""So many starts share a second of the provider's clock."""

PAGES_LIMIT = 400
LINK = "https://shop.test/x"


class Book:
    """An account at a provider whose clock stands still until it is moved."""

    def __init__(self, adapter, control: a.Sandbox, http: aiohttp.ClientSession, clock: FrozenClock) -> None:
        self.adapter, self.control, self.http, self.clock = adapter, control, http, clock
        self.dialect = dialect_of(adapter.name)
        self.made = 0

    async def connected(self, account_id: str | None = None) -> Account:
        query = "" if account_id is None else f"?account={account_id}"
        fields = (await self.control.control(f"connection{query}", method="GET"))["fields"]
        known = await self.adapter.identify(port_account(self.adapter, fields))
        return port_account(self.adapter, fields, account=known.account, live=known.live)

    async def another(self) -> Account:
        """A second account at the same provider."""
        first = self.dialect.accounts[0]
        other = "0.0.800777" if first.id.startswith("0.0.") else "770077"
        key = first.keys[0].replace("paystate", "anotherone") if first.keys else "key_of_another"
        told = {"account": other, "secretKey": key, "live": first.live, "extra": first.extra}
        await self.control.control("accounts", told)
        return await self.connected(other)

    async def paid(self, account: Account, count: int) -> list[str]:
        """So many paid checkouts; their references. A list may tell of nothing before it is paid."""
        found: list[str] = []
        for start in range(0, count, AT_ONCE):
            batch = min(AT_ONCE, count - start)
            found += await asyncio.gather(*(self._one(account) for _ in range(batch)))
        return found

    async def _one(self, account: Account) -> str:
        self.made += 1
        if self.made % A_SECOND == 0:
            self.clock.advance(SECOND)
        reference = new_provider_reference()
        money = Money(AMOUNT, currencies(self.adapter.name)[0])
        order = CheckoutOrder(reference, money, "Tea", LINK, LINK, LINK, None)
        request = self.adapter.prepare(account, order)
        started = await self.adapter.start(account, request, idempotency_key=reference)
        await self._stand_at(started.offer)
        await self.control.control("outcomes", {"reference": reference, "outcome": "pay"})
        return reference

    async def _stand_at(self, offer: Offer) -> None:
        if offer.kind == "redirect":
            return
        url = offer.url or self.control.base_url + self.dialect.page_path
        async with self.http.post(url, data=offer.fields, allow_redirects=False) as answer:
            assert answer.status == 303

    async def listed(self, account: Account, since: Instant, until: Instant, between) -> list[Verdict]:
        """All rows of a window; `between` runs after each page."""
        rows: list[Verdict] = []
        cursor = None
        assert isinstance(self.adapter, Lists)
        for _ in range(PAGES_LIMIT):
            page = await self.adapter.list_checkouts(account, since=since, until=until, cursor=cursor)
            rows += page.verdicts
            if page.next_cursor is None:
                return rows
            assert page.next_cursor != cursor
            cursor = page.next_cursor
            await between()
        raise AssertionError("the list has no end")


@contextlib.asynccontextmanager
async def book(name: str) -> AsyncIterator[Book]:
    clock = FrozenClock(Instant((SystemClock().now() - 10 * MINUTE) // SECOND * SECOND))
    running, http = await start_simulator(name, clock=clock), Http(allow_private=["127.0.0.1/32"])
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(running.stop)
        closing.push_async_callback(http.close)
        control = a.Sandbox(running)
        closing.push_async_callback(control.close)
        await control.fault("webhook", "drop")
        session = await closing.enter_async_context(aiohttp.ClientSession())
        yield Book(load_providers(http)[name], control, session, clock)


@each(having(Lists))
async def test_each_of_ours_is_listed_once_while_others_come_in(provider: str) -> None:
    async with book(provider) as own:
        account, other = await own.connected(), await own.another()
        since = own.clock.now()
        foreign = await own.paid(other, FOREIGN)
        ours = await own.paid(account, OURS)
        own.clock.advance(2 * SECOND)
        until = own.clock.now()
        own.clock.advance(SECOND)
        arrivals: list[str] = []

        async def one_more_comes() -> None:
            if len(arrivals) < AT_ONCE:
                arrivals.extend(await own.paid(account, 1))

        rows = await own.listed(account, since, until, one_more_comes)
        seen = [row.reference for row in rows if row.reference in set(ours)]
        assert sorted(seen) == sorted(ours)
        assert arrivals, "nothing came in while the list was read: it has one page only"
        assert not {row.reference for row in rows} & set(foreign)
        told = {(row.outcome.value, row.amount, row.account, row.live) for row in rows}
        assert told == {("SUCCEEDED", AMOUNT, account.account, account.live)}


@each(having(Lists))
async def test_a_window_holds_what_was_made_inside_of_it(provider: str) -> None:
    """From its beginning on, up to but without its end."""
    async with book(provider) as own:
        account = await own.connected()
        before = await own.paid(account, 3)
        own.clock.advance(60 * SECOND)
        since = own.clock.now()
        inside = await own.paid(account, 3)
        own.clock.advance(60 * SECOND)
        until = own.clock.now()
        own.clock.advance(SECOND)
        after = await own.paid(account, 3)

        async def nothing() -> None: ...

        rows = await own.listed(account, since, until, nothing)
        assert sorted(row.reference for row in rows) == sorted(inside)
        assert not set(inside) & {*before, *after}
        assert (
            await own.listed(account, Instant(since - 10 * MINUTE), Instant(since - 9 * MINUTE), nothing)
            == []
        )
