"""Figures `latency-polling` and `latency-webhook`: from paid at the provider to PAID here, in a running installation."""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks import seed
from benchmarks.disk import fdatasync_line
from benchmarks.figure import Figure, percentile
from benchmarks.place import Place
from benchmarks.processes import child, free_port
from paystate.app import App, close_app
from paystate.flows.create_payment import NewPayment, create_payment
from paystate.flows.start_checkout import start_checkout
from paystate.kit.ids import MerchantId, System
from paystate.kit.money import Money
from paystate.machinery.db import Database, Tx, open_database
from paystate.migrations.run import migrate

POLLING_GOAL, WEBHOOK_GOAL = 3.0, 0.5
OPEN, PAID = 220, 40
"""Payments with a live checkout, and how many of them are paid: about 200 are open all the time."""

SPREAD_SECONDS = 40.0
SETTLE_SECONDS = 4.0
LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.02
STARTS_AT_ONCE = 8
WHO = System("customers of a benchmark")


@dataclass(frozen=True, slots=True)
class Sale:
    """A payment and its reference at the provider."""

    payment_id: str
    reference: str


def polling(place: Place) -> Figure:
    """Every webhook is dropped: only the installation's own questions find out."""
    delays = _measure(place, {"operation": "webhook", "kind": "drop"})
    return _figure("latency-polling", POLLING_GOAL, place, delays)


def webhook(place: Place) -> Figure:
    """Webhooks arrive: a hint, then the question, then PAID."""
    return _figure("latency-webhook", WEBHOOK_GOAL, place, _measure(place, None))


def _figure(name: str, goal: float, place: Place, delays: Sequence[float]) -> Figure:
    late = ", ".join(f"p{int(share * 100)} {percentile(delays, share):.2f} s" for share in (0.05, 0.5, 0.95))
    return Figure(
        name=name,
        database=place.kind,
        values=delays,
        against="the limit of this many seconds (the ratio is the median in seconds)",
        goal=goal,
        better="lower",
        unit=" s",
        details=[
            f"{len(delays)} payments paid at random moments among about 200 open ones; {late}",
            "seen by another process that reads the database every 20 ms; shipped settings and budget",
            fdatasync_line(place.folder),
        ],
    )


def _measure(place: Place, fault: Mapping[str, str] | None) -> list[float]:
    port = free_port()
    public = {"port": port, "public_url": f"http://127.0.0.1:{port}"}
    with (
        place.copy_of(place.template("empty", migrate)) as url,
        child("paystate", "simulate", "sandbox", "--json", log=place.log_path()) as sandbox,
    ):
        base_url = str(sandbox.hear()["sandbox"])
        sales = asyncio.run(_open_sales(place.app(url, **public), place.key, base_url))
        with _installation(place, place.environ(url, place.folder, **public)):
            time.sleep(SETTLE_SECONDS)
            return asyncio.run(_pay_and_watch(url, base_url, sales, fault))


@contextlib.contextmanager
def _installation(place: Place, environ: Mapping[str, str]) -> Iterator[None]:
    """`paystate serve` on SQLite; `paystate web` and `paystate worker` on PostgreSQL."""
    roles = ("serve",) if place.kind == "sqlite" else ("web", "worker")
    with contextlib.ExitStack() as stack:
        for role in roles:
            stack.enter_context(
                child("paystate", role, "--json", log=place.log_path(), environ=environ)
            ).hear()
        yield


async def _open_sales(app: App, key: str, base_url: str) -> list[Sale]:
    """As the API and the pay page do it: a payment, and its checkout at the sandbox."""
    await app.db.wakeups.start()
    places = asyncio.Semaphore(STARTS_AT_ONCE)

    async def one(merchant: MerchantId) -> Sale:
        async with places:
            new = NewPayment(money=Money(seed.AMOUNT, seed.CURRENCY), description="Two tickets")
            made = await create_payment(
                app.ctx, merchant, new, actor="key:benchmark", keep=lambda tx, work: work(tx)
            )
            started = await start_checkout(app.ctx, WHO, made.payment.short_code, "sandbox")
            return Sale(made.payment.id, started.attempt.provider_reference)

    def own(tx: Tx) -> seed.Owner:
        return seed.add_owner(tx, key, base_url, app.settings.sandbox_provider_rate)

    try:
        owner = await app.db.write(own)
        return list(await asyncio.gather(*(one(MerchantId(owner.merchant_id)) for _ in range(OPEN))))
    finally:
        await app.db.wakeups.stop()
        await close_app(app)


async def _pay_and_watch(
    url: str, base_url: str, sales: Sequence[Sale], fault: Mapping[str, str] | None
) -> list[float]:
    database = open_database(url)
    try:
        async with aiohttp.ClientSession(base_url) as sandbox:
            if fault is not None:
                await _control(sandbox, "faults", fault)
            chosen = random.sample(sales, PAID)
            paid_at: dict[str, float] = {}
            watching = asyncio.create_task(_watch(database, {sale.payment_id for sale in chosen}))
            await asyncio.gather(*(_pay(sandbox, sale, paid_at) for sale in chosen))
            seen = await watching
        return [seen[sale.payment_id] - paid_at[sale.payment_id] for sale in chosen]
    finally:
        await asyncio.to_thread(database.close)


async def _pay(sandbox: aiohttp.ClientSession, sale: Sale, paid_at: dict[str, float]) -> None:
    """The clock starts before the sandbox hears of it, so that nothing is left out."""
    await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))
    paid_at[sale.payment_id] = time.monotonic()
    await _control(sandbox, "outcomes", {"reference": sale.reference, "outcome": "pay"})


async def _control(sandbox: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> None:
    async with sandbox.post(f"/_control/{path}", json=body) as answer:
        answer.raise_for_status()


async def _watch(database: Database, wanted: set[str]) -> dict[str, float]:
    """When each of them was first seen to be PAID."""
    seen: dict[str, float] = {}
    deadline = time.monotonic() + SPREAD_SECONDS + LIMIT_SECONDS
    while wanted - seen.keys():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(wanted - seen.keys())} payments were never PAID")
        paid = await database.read(_paid)
        now = time.monotonic()
        seen |= dict.fromkeys((paid & wanted) - seen.keys(), now)
        await asyncio.sleep(LOOK_SECONDS)
    return seen


def _paid(tx: Tx) -> set[str]:
    return {
        row[0]
        for row in tx.conn.exec_driver_sql("SELECT payment_id FROM payment_moves WHERE to_state = 'PAID'")
    }
