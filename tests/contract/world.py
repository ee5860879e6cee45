"""A shop connected to one simulated provider, its customers, and the post between provider and shop."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import uvicorn
from starlette.applications import Starlette

from paystate.app import build_app, close_app
from paystate.domain import merchants
from paystate.domain.connections import Connection, ConnectionChanges, update_connection
from paystate.domain.payments import Attempt, Payment, State, Trigger, attempt_store, store
from paystate.domain.payments.port import Account, Offer, Provider, SendsWebhooks, Subject, Verdict
from paystate.entrypoints import hooks, pay
from paystate.flows.add_connection import add_connection
from paystate.flows.start_checkout import Checkout, start_checkout
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import SECOND, FrozenClock, monotonic
from paystate.kit.ids import MerchantId
from paystate.simulators import start_simulator
from paystate.simulators.till import Dialect
from tests import a
from tests.contract.found import AMOUNT, currencies, dialect_of
from tests.contract.post_office import Letter, PostOffice

DEADLINE_SECONDS = 15
ASK_WAIT_SECONDS = 20
CALLS_PER_SECOND = 1_000
_PAY = re.compile(r'<form class="pay" method="post" action="([^"]+)">')


@dataclass
class World(a.Shop):
    """`sandbox` is the control API of whichever simulator this is."""

    clock: FrozenClock
    adapter: Provider
    dialect: Dialect
    post: PostOffice
    http: aiohttp.ClientSession
    closing: contextlib.AsyncExitStack
    _site: str = ""

    # --- paying

    @property
    def name(self) -> str:
        return self.adapter.name

    @property
    def currency(self) -> str:
        return currencies(self.name)[0]

    @property
    def account(self) -> Account:
        return self.app.ctx.account(self.connection)

    async def payment(self, amount: int = AMOUNT, currency: str = "", **values: Any) -> Payment:
        return await super().payment(amount, currency or self.currency, **values)

    async def checkout(self, payment: Payment) -> Checkout:
        return await start_checkout(self.app.ctx, a.WHO, payment.short_code, self.name)

    async def at_the_till(self, **values: Any) -> tuple[Payment, Attempt]:
        """A payment whose customer stands where it can be paid."""
        payment = await self.payment(**values)
        checkout = await self.checkout(payment)
        await self.goes_to(checkout.offer)
        return payment, checkout.attempt

    async def goes_to(self, offer: Offer | None) -> str:
        """What a customer does with an offer; the address of the page it ends on."""
        assert offer is not None
        match offer.kind:
            case "redirect":
                async with self.http.get(offer.url) as answer:
                    assert answer.status == 200
                    return offer.url
            case "form":
                return await self._posted(offer.url, offer.fields)
            case "instructions":
                return await self._posted(self.sandbox.base_url + self.dialect.page_path, offer.fields)

    async def pays_on(self, page: str) -> str:
        """Presses the button that pays; the page that comes after it, if it is one."""
        async with self.http.get(page) as answer:
            found = _PAY.search(await answer.text())
        assert found is not None, "there is nothing to press"
        data = {"act": "pay"}
        async with self.http.post(urljoin(page, found[1]), data=data, allow_redirects=False) as answer:
            assert answer.status < 400
            return await answer.text()

    async def _posted(self, url: str, fields: Mapping[str, str]) -> str:
        async with self.http.post(url, data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            return answer.headers["Location"]

    # --- the post

    async def deliver(self) -> list[int]:
        """Every webhook that has not been delivered yet, in order; what each was answered."""
        letters = await self.collected()
        fresh, self.post.delivered = letters[self.post.delivered :], len(letters)
        return [(await self.send(letter))[0] for letter in fresh]

    async def collected(self) -> list[Letter]:
        """Every letter of the provider, once all that it has to send have come."""
        await until(self._all_sent)
        return list(self.post.letters)

    async def _all_sent(self) -> bool:
        known = await self.sandbox.objects()
        written = {event["id"] for event in known["events"] if event["url"]}
        return written <= {attempt["event"] for attempt in known["webhookAttempts"]}

    async def send(
        self, letter: Letter, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Post a letter to the installation, perhaps changed; the status and the problem's code."""
        sent = letter.body if body is None else body
        given = letter.headers if headers is None else headers
        url = f"{await self.site()}/api/webhooks/{self.name}/{self.connection.id}"
        async with self.http.post(
            url, data=sent, headers=given, skip_auto_headers=["Content-Type"]
        ) as answer:
            return answer.status, str((await answer.json(content_type=None)).get("code", ""))

    async def site(self) -> str:
        """Where the installation is served, from the first time that somebody asks."""
        if not self._site:
            self._site = await self.closing.enter_async_context(serving(self.app))
        return self._site

    @property
    def traces(self) -> tuple[str, ...]:
        """The handles that letters brought, newest first."""
        if not isinstance(self.adapter, SendsWebhooks):
            return ()
        messages = [
            self.adapter.read_webhook(self.account, lower(letter.headers), letter.body, now=self.clock.now())
            for letter in reversed(self.post.letters)
        ]
        return tuple(named.trace for message in messages for named in message.named if named.trace)

    # --- asking

    async def ask(self, attempt: Attempt) -> Verdict:
        """The proof call by itself, with everything that is known by now."""
        return await self.adapter.ask(self.account, await self.subject(attempt))

    async def subject(self, attempt: Attempt) -> Subject:
        """The attempt as it stands, with the traces of every letter."""
        await self.collected()
        now = await self.app.db.read(lambda tx: attempt_store.get(tx, a.WHO, attempt.id))
        payment = await self.app.db.read(lambda tx: store.get(tx, a.WHO, attempt.payment_id))
        return Subject(now.provider_reference, now.checkout_id, now.created_at, payment.money, self.traces)

    async def heard_and_looked(self, seconds: int = 5) -> list[int]:
        """The post is delivered, a moment passes, and everything due is asked about."""
        statuses = await self.deliver()
        await self.looked(seconds)
        return statuses

    async def looked(self, seconds: int = 5) -> None:
        self.clock.advance(seconds * SECOND)
        await self.look()

    async def asked_now(self, payment: Payment) -> None:
        """A person wants to know, also of what has long ended."""
        self.clock.advance(2 * SECOND)
        attempts = await self.attempts(payment)
        await verify_now(self.app.ctx, self.id, attempts, Trigger.MANUAL, ASK_WAIT_SECONDS)

    async def state(self, payment: Payment) -> State:
        return (await self.now(payment)).state

    async def attempt(self, payment: Payment) -> Attempt:
        """The newest one."""
        return (await self.attempts(payment))[-1]

    # --- the provider's side

    async def told(self, **values: Any) -> None:
        """Changes the connected account at the provider."""
        await self.sandbox.control("accounts", {"account": self.dialect.accounts[0].id, **values})

    async def fault(self, operation: str, kind: str, **values: Any) -> str:
        return str((await self.sandbox.fault(operation, kind, **values))["id"])

    async def hits(self, fault_id: str) -> int:
        (fault,) = [f for f in (await self.sandbox.objects())["faults"] if f["id"] == fault_id]
        return int(fault["hits"])

    async def calls(self) -> dict[str, int]:
        return dict((await self.sandbox.objects())["calls"])

    async def at_provider(self, reference: str) -> list[dict[str, Any]]:
        """Checkouts there under a reference."""
        rows = (await self.sandbox.objects())["checkouts"]
        return [row for row in rows if row["reference"] == reference]

    # --- what must hold

    async def is_paid_once(self, payment: Payment) -> None:
        """PAID, by one proof that says what the provider knows, with one journal and one event per move."""
        after = await self.now(payment)
        assert after.state is State.PAID
        known = (await self.sandbox.objects())["transactions"]
        (proof,) = await self.rows(f"SELECT * FROM proofs WHERE payment_id = '{payment.id}'")
        (money,) = [row for row in known if row["id"] == proof["transaction_id"]]
        said = (proof["amount"], proof["currency"], proof["account"], bool(proof["live"]), proof["reference"])
        expected = (payment.amount, payment.currency, self.connection.account, self.connection.live)
        assert said == (*expected, money["reference"])
        assert (money["amount"], money["currency"]) == (payment.amount, payment.currency)
        assert after.transaction_id == money["id"]
        assert (after.transaction_amount, after.transaction_currency) == (payment.amount, payment.currency)
        await self.each_move_is_told_once(payment)
        journals = await self.rows(f"SELECT key FROM journals WHERE key = 'payment:{payment.id}:captured'")
        assert len(journals) == 1

    async def each_move_is_told_once(self, payment: Payment) -> None:
        moves = await self.rows(
            f"SELECT seq FROM payment_moves WHERE payment_id = '{payment.id}' ORDER BY seq"
        )
        events = await self.rows(
            f"SELECT version FROM events WHERE resource_id = '{payment.id}' ORDER BY version"
        )
        assert [m["seq"] for m in moves] == [e["version"] for e in events]
        assert len({m["seq"] for m in moves}) == len(moves)

    async def nothing_is_proved(self) -> None:
        assert await self.rows("SELECT payment_id FROM proofs") == []


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def until(condition: Any) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(
    name: str, database_url: str, folder: Path, clock: FrozenClock, extra: Mapping[str, str] | None = None
) -> AsyncIterator[World]:
    """A shop with this provider's default account connected; `extra` is set on that account at the provider."""
    running = await start_simulator(name)
    control, dialect = a.Sandbox(running), dialect_of(name, clock)
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(running.stop)
        closing.push_async_callback(control.close)
        post = await closing.enter_async_context(PostOffice().open())
        http = await closing.enter_async_context(aiohttp.ClientSession())
        app = build_app(a.settings(database_url, folder, public_url=post.url), clock=clock)
        closing.push_async_callback(close_app, app)
        await app.db.wakeups.start()
        closing.push_async_callback(app.db.wakeups.stop)
        merchant = await app.db.write(lambda tx: merchants.create_merchant(tx, a.WHO, name="Tea House"))
        connection = await connected(control, app, MerchantId(merchant.id), name)
        address = f"{post.url}/api/webhooks/{name}/{connection.id}"
        told = {"account": dialect.accounts[0].id, "webhookUrl": address, "extra": dict(extra or {})}
        await control.control("accounts", told)
        adapter = app.ctx.providers[name]
        yield World(app, merchant, connection, control, clock, adapter, dialect, post, http, closing)


async def connected(control: a.Sandbox, app: Any, merchant_id: MerchantId, name: str) -> Connection:
    """Connected as a merchant would, and with a budget that keeps no test waiting."""
    fields = (await control.control("connection", method="GET"))["fields"]
    made = await add_connection(app.ctx, merchant_id, name, fields, name="", actor="key:test")
    quick = ConnectionChanges(rate_per_second=CALLS_PER_SECOND)
    return await app.db.write(lambda tx: update_connection(tx, merchant_id, made.id, quick))


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """What providers and browsers reach of the web, on a free port: putting the whole API together takes longer
    than most of these tests.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    web = Starlette(routes=[*pay.routes(app), *hooks.routes(app)])
    config = uvicorn.Config(
        web, lifespan="on", log_config=None, access_log=False, ws="none", proxy_headers=False
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    end = monotonic() + DEADLINE_SECONDS
    while not server.started:
        assert not running.done()
        assert monotonic() < end
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    """Leaves the signals to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield
