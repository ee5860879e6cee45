"""kill -9 at every failpoint: what was acknowledged stands, what was cut short is finished, and nothing happens twice."""

import asyncio
import contextlib
import importlib
import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.faults.customers import Customers
from tests.faults.processes import CRON_SECRET, Installation, Process, installation, until
from tests.house.source import ROOT

from paystate.entrypoints.worker import load_flows
from paystate.machinery import failpoints

WEB, WORKER = "web", "worker"


@dataclass(frozen=True)
class Life:
    """One life of a process, with its end: the failpoints it is armed with, of which the last one kills."""

    role: str
    points: tuple[str, ...]
    """Those before the last are passed just before it, with nothing in between to be cut apart."""

    @property
    def point(self) -> str:
        return self.points[-1]

    @property
    def failpoints(self) -> str:
        return ";".join([*(f"{point}=sleep:0@1" for point in self.points[:-1]), f"{self.point}=kill@1"])


LIVES = (
    Life(WEB, ("payment.created",)),
    Life(WEB, ("attempt.before_call",)),
    Life(WEB, ("attempt.after_call",)),
    Life(WEB, ("inbox.before_insert",)),
    Life(WEB, ("inbox.after_insert",)),
    Life(WEB, ("inbox.after_ack",)),
    Life(WORKER, ("verify.after_get",)),
    Life(WORKER, ("verify.before_commit",)),
    Life(WORKER, ("expire.before_commit",)),
    Life(WORKER, ("job.hang", "job.oom", "job.exit")),
    Life(WORKER, ("job.before_finish",)),
    Life(WORKER, ("schedule.after_enqueue",)),
)
"""Every failpoint, with the process that passes it; on SQLite one process is both."""

ELSEWHERE = {
    "migrate.statement": ("tests/machinery/test_migrations.py", "{STATEMENT}=kill@"),
    "alert.after_send": ("tests/journeys/test_alert_kill.py", "alert.after_send=kill@"),
}
DEATH_SECONDS = 25.0
LEASES_ARE_OVER = 65.0
"""Longer than a lease, than an Idempotency-Key is held, and than the first look at an unanswered start."""

TICKS_ARE_DUE = 301.0
CRON_SECONDS = 0.25


def test_every_failpoint_has_its_kill() -> None:
    load_flows()
    importlib.import_module("paystate.entrypoints.web")
    assert Counter(point for life in LIVES for point in life.points) == Counter(
        set(failpoints.declared()) - set(ELSEWHERE)
    )
    for path, kill in ELSEWHERE.values():
        assert kill in (ROOT / path).read_text()


@pytest.mark.timeout(300)
async def test_a_kill_at_every_failpoint_loses_and_doubles_nothing(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path) as shop, Customers(shop) as people:
        roles = ["serve"] if shop.is_sqlite else [WEB, WORKER]
        victims = {role: shop.add(role) for role in roles}
        async with _cron(people), asyncio.TaskGroup() as stories:
            for number, life in enumerate(LIVES):
                victim = victims.get(life.role) or victims["serve"]
                await _prepare(shop, life, victim)
                victim.begin(life.failpoints)
                for story in _stories(people, number):
                    stories.create_task(story)
                code = await victim.ended(DEATH_SECONDS)
                assert (code, victim.fired()) == (-signal.SIGKILL, list(life.points)), victim.tail()
                await _ruins_are_sound(people, life.point)
            await shop.advance(LEASES_ARE_OVER)
            await asyncio.gather(*(p.start() for p in shop.processes if not p.alive))
        await people.nothing_acknowledged_is_missing()
        await until(lambda: _at_rest(shop), 30, "nothing is open, leased or unhandled")
        await shop.stop_all()
        await _one_checkout_each(people)
        _runs_have_ended(shop)
        report = await shop.audit()
        assert (report.broken, report.sound) == ([], True), report.as_result()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_dies_under_serve_comes_back(database_url: str, tmp_path: Path) -> None:
    """K18: web and worker killed at once by their ids; `serve` starts both again, and the payment goes its way."""
    async with installation(database_url, tmp_path) as shop, Customers(shop) as people:
        serve = shop.add("serve")
        await serve.start()
        await until(lambda: "worker_started" in serve.words(), DEATH_SECONDS, "the worker is at work")
        payment = await people.create("outlives-them")
        checkout = await people.check_out(payment)
        killed = serve.children()
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await people.pay(checkout)
        await people.reaches(payment, "PAID")
        revived = serve.children()
        assert len(revived) == 2
        assert not set(revived) & set(killed)
        await people.nothing_acknowledged_is_missing()
        serve.ask_to_stop()
        assert await serve.ended() == 0
        assert serve.left_behind() == []
        report = await shop.audit()
        assert (report.broken, report.sound) == ([], True), report.as_result()


async def _prepare(shop: Installation, life: Life, victim: Process) -> None:
    """All but the victim are at work, unharmed; enough time has passed for what the last victim held."""
    others = [p for p in shop.processes if p is not victim]
    if victim.alive:
        await victim.stop()
    if life.point == "schedule.after_enqueue":
        await shop.advance(TICKS_ARE_DUE)
    elif life.point == "inbox.before_insert" or (life.role == WORKER and not shop.is_sqlite):
        await shop.advance(LEASES_ARE_OVER)
    await asyncio.gather(*(p.start() for p in others if not p.alive))


def _stories(people: Customers, number: int) -> list[Any]:
    return [
        _pays(people, f"pays-{number}"),
        _pays(people, f"pays-too-{number}"),
        _leaves(people, f"leaves-{number}"),
        _never_comes(people, f"stays-away-{number}"),
    ]


async def _pays(people: Customers, name: str) -> None:
    payment = await people.create(name)
    checkout = await people.check_out(payment)
    await people.pay(checkout)
    await people.come_back(payment)
    await people.reaches(payment, "PAID")


async def _leaves(people: Customers, name: str) -> None:
    """Starts a checkout, or is too late for it, and does not pay."""
    payment = await people.create(name, expiresIn=1)
    await people.ask(
        "POST", f"/api/payment-links/{payment['shortCode']}/checkout", json={"provider": "sandbox"}
    )
    await people.reaches(payment, "EXPIRED")


async def _never_comes(people: Customers, name: str) -> None:
    payment = await people.create(name, expiresIn=1)
    await people.reaches(payment, "EXPIRED")


@contextlib.asynccontextmanager
async def _cron(people: Customers):
    """Somebody outside who has the expiry job run again and again, whether the server is there or not."""

    async def ring() -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with asyncio.timeout(2):
                    path = "/api/jobs/expired-links"
                    await people.once("POST", path, headers={"x-cron-secret": CRON_SECRET})
            await asyncio.sleep(CRON_SECONDS)

    ringing = asyncio.create_task(ring())
    try:
        yield
    finally:
        ringing.cancel()
        await asyncio.gather(ringing, return_exceptions=True)


async def _ruins_are_sound(people: Customers, point: str) -> None:
    """What is on the disk just after the kill: no invariant broken, everything acknowledged there, and the cut where it should be."""
    shop = people.shop
    told = dict(people.created)
    report = await shop.audit()
    assert (point, report.broken, report.sound) == (point, [], True), report.as_result()
    there = {row["id"] for row in shop.rows("SELECT id FROM payments")}
    assert set(told) <= there, point
    if point == "payment.created":
        assert there - set(told)
    if point.startswith("attempt."):
        unanswered = {
            row["provider_reference"]
            for row in shop.rows("SELECT provider_reference FROM attempts WHERE checkout_id IS NULL")
        }
        made = {checkout["reference"] for checkout in (await shop.sandbox.objects())["checkouts"]}
        assert unanswered & made if point == "attempt.after_call" else unanswered - made


def _at_rest(shop: Installation) -> bool:
    attempts = (
        "SELECT 1 FROM attempts WHERE state IN ('CREATED', 'LIVE', 'PROCESSING') OR lease_until IS NOT NULL"
    )
    runs = "SELECT 1 FROM job_runs WHERE state IN ('QUEUED', 'RUNNING')"
    return not shop.rows(attempts) and not shop.rows(runs)


async def _one_checkout_each(people: Customers) -> None:
    """O1: the provider made exactly one checkout for each attempt, took money once for each payment, and holds none open."""
    shop = people.shop
    objects = await shop.sandbox.objects()
    attempts = shop.rows("SELECT provider_reference, payment_id, state, checkout_id FROM attempts")
    # A start that was cut short is sent again; when its time is over by then, it is not, and nothing was made.
    unsent = {row["provider_reference"] for row in attempts if row["checkout_id"] is None}
    assert {row["state"] for row in attempts if row["checkout_id"] is None} <= {"EXPIRED", "FAILED"}
    made = Counter(checkout["reference"] for checkout in objects["checkouts"])
    assert made == Counter({row["provider_reference"] for row in attempts} - unsent)
    assert [c for c in objects["checkouts"] if c["status"] in ("open", "processing")] == []
    states: Mapping[str, int] = Counter(row["state"] for row in shop.rows("SELECT state FROM payments"))
    assert states == {"PAID": 2 * len(LIVES), "EXPIRED": 2 * len(LIVES)}
    assert len(objects["transactions"]) == states["PAID"]
    assert len(shop.rows("SELECT 1 FROM proofs")) == states["PAID"]
    paid = {row["payment_id"] for row in shop.rows("SELECT payment_id FROM proofs")}
    assert Counter(row["payment_id"] for row in attempts if row["payment_id"] in paid) == Counter(paid)


def _runs_have_ended(shop: Installation) -> None:
    """Each run ended once; the only failures are those whose owners were killed three times."""
    runs = shop.rows("SELECT job, tick_at, state, claim_no, error FROM job_runs")
    assert {(r["state"], r["error"]) for r in runs} <= {
        ("SUCCEEDED", None),
        ("SKIPPED", None),
        ("FAILED", "lease_lost"),
    }
    assert all(r["claim_no"] == 3 for r in runs if r["state"] == "FAILED")
    ticks = [(r["job"], r["tick_at"]) for r in runs if r["tick_at"] is not None]
    assert ticks
    assert len(ticks) == len(set(ticks))
