"""Figures `ask` and `settle`: questions to a provider 50 ms away, alone and with everything that follows an answer."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import uvloop

from benchmarks import seed
from benchmarks.bare_sockets import ask_all
from benchmarks.disk import fdatasync_line
from benchmarks.figure import RUNS, Figure, spread
from benchmarks.place import Place
from benchmarks.processes import child
from benchmarks.quiet import Quiet
from paystate.app import App, close_app
from paystate.domain.payments import Outcome, State
from paystate.flows.apply_answers import log_settled
from paystate.flows.ask_provider import Claim, ask_provider
from paystate.flows.claim_attempts import claim_due
from paystate.flows.settle_payment import Settled
from paystate.flows.verify_payments import Verifier

COUNT = 10_000
HISTORY = 2_000
"""Payments that were PAID before the clock starts."""

IN_FLIGHT = 100
ASK_GOAL, SETTLE_GOAL = 0.8, 0.5
AGAINST = "bare asyncio sockets asking the same, 100 in flight, provider 50 ms away"
T = TypeVar("T")


class Took(NamedTuple):
    """One run over `COUNT` attempts."""

    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return COUNT / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / COUNT * 1_000_000


async def timed(work: Coroutine[Any, Any, T]) -> tuple[T, Took]:
    """Run it; how long it took, and the processor time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = await work
    return result, Took(time.perf_counter() - wall, time.process_time() - cpu)


def ask(place: Place) -> Figure:
    """Asking only, through `ask_provider`, the sandbox adapter and the HTTP client."""
    quiet = Quiet()
    with child("benchmarks.stub", "open", log=place.log_path()) as stub:
        port = int(stub.hear()["port"])
        template = place.template(f"due:{port}", partial(_fill_due, place, port))
        with place.copy_of(template) as url:
            pairs = uvloop.run(_ask_runs(place, url, port, quiet))
    return _figure("ask", ASK_GOAL, place, pairs, quiet)


def settle(place: Place) -> Figure:
    """Claim, ask, apply: everything from a due attempt to a payment that is PAID, with its journal and events."""
    pairs, quiet = [], Quiet()
    with child("benchmarks.stub", "paid", log=place.log_path()) as stub:
        port = int(stub.hear()["port"])
        template = place.template(f"business:{port}", partial(_fill_business, place, port))
        for _ in range(RUNS):
            with place.copy_of(template) as url:
                quiet.wait()
                ours = uvloop.run(_settle_all(place, url, COUNT))
            pairs.append((ours, uvloop.run(_bare(port))))
    return _figure("settle", SETTLE_GOAL, place, pairs, quiet)


def _fill_due(place: Place, port: int, url: str) -> None:
    seed.fill(url, place.key, COUNT, base_url=f"http://127.0.0.1:{port}", due=True)


def _fill_business(place: Place, port: int, url: str) -> None:
    """What is due comes into a business with a history: PostgreSQL plans badly for tables that are still empty."""
    base_url = f"http://127.0.0.1:{port}"
    seed.fill(url, place.key, HISTORY, start=COUNT, base_url=base_url, due=True)
    uvloop.run(_settle_all(place, url, HISTORY))
    _fill_due(place, port, url)


def _figure(name: str, goal: float, place: Place, pairs: Sequence[tuple[Took, Took]], quiet: Quiet) -> Figure:
    ours, bare = [p[0] for p in pairs], [p[1] for p in pairs]
    return Figure(
        name=name,
        database=place.kind,
        values=[o.rate / b.rate for o, b in pairs],
        against=AGAINST,
        goal=goal,
        details=[
            "the ratio is wall-clock throughput; the stub runs on the same cores",
            spread("ours", [t.rate for t in ours], "payments/s"),
            spread("bare", [t.rate for t in bare], "questions/s"),
            spread("ours", [t.cpu_us for t in ours], "µs of processor time each"),
            spread("bare", [t.cpu_us for t in bare], "µs of processor time each"),
            quiet.line,
            fdatasync_line(place.folder),
        ],
    )


async def _bare(port: int) -> Took:
    checkouts = [seed.checkout_of(n) for n in range(COUNT)]
    answered, took = await timed(ask_all(port, checkouts, IN_FLIGHT))
    if answered != COUNT:
        raise RuntimeError(f"only {answered} of {COUNT} questions were answered")
    return took


async def _ask_runs(place: Place, url: str, port: int, quiet: Quiet) -> list[tuple[Took, Took]]:
    app = place.app(url)
    try:
        connection = await app.db.read(
            lambda tx: tx.conn.exec_driver_sql("SELECT id FROM connections").scalar_one()
        )
        claims = await app.db.write(partial(claim_due, {connection: COUNT}, app.ctx.patience.lease))
        pairs = []
        for _ in range(RUNS):
            await asyncio.to_thread(quiet.wait)
            _, took = await timed(_ask_claims(app, claims))
            pairs.append((took, await _bare(port)))
        return pairs
    finally:
        await close_app(app)


async def _ask_claims(app: App, claims: Sequence[Claim]) -> None:
    waiting = iter(claims)
    pending = await asyncio.gather(*(_ask_in_turn(app, waiting) for _ in range(IN_FLIGHT)))
    if sum(pending) != COUNT:
        raise RuntimeError(f"only {sum(pending)} of {COUNT} answers say that the payment is pending")


async def _ask_in_turn(app: App, claims: Iterator[Claim]) -> int:
    pending = 0
    for claim in claims:
        asked = await ask_provider(app.ctx, claim)
        pending += asked.verdict is not None and asked.verdict.outcome is Outcome.PENDING
    return pending


async def _settle_all(place: Place, url: str, count: int) -> Took:
    """The worker's own loop with the settings it ships with; each decision is logged, as in production."""
    app = place.app(url, verify_list_from=0)  # one by one: lists have a figure of their own
    await app.db.wakeups.start()
    paid = 0

    def add(batch: Sequence[Settled]) -> None:
        nonlocal paid
        paid += sum(item.state is State.PAID for item in batch)
        log_settled(batch)

    try:
        settings = app.settings
        verifier = Verifier(
            app.ctx, in_flight=settings.verify_in_flight, batch=settings.verify_batch, report=add
        )
        _, took = await timed(verifier.drain())
    finally:
        await app.db.wakeups.stop()
        await close_app(app)
    if paid != count:
        raise RuntimeError(f"only {paid} of {count} payments became PAID")
    return took
