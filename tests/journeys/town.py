"""A merchant, its customers and a provider, met only through what the installation serves; time stands still until told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import a
from tests.entrypoints.running_web import Reply, Web, serving

from paystate.entrypoints.worker import job_engine
from paystate.flows.audit import run_audit
from paystate.kit.clock import SECOND, FrozenClock, monotonic
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Change, JobEngine

CRON_SECRET = "an-external-schedulers-secret-of-enough-bytes"
CRON = {"x-cron-secret": CRON_SECRET}
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
NEVER = "0 0 29 2 *"
"""Jobs run when a test's scheduler asks for them, not when its clock passes their minute."""

PATIENCE_SECONDS = 10.0


@dataclass
class Town:
    """The served shop and its clock."""

    web: Web
    clock: FrozenClock

    @property
    def sandbox(self) -> a.Sandbox:
        return self.web.shop.sandbox

    async def ask_for(self, **values: Any) -> Reply:
        """The merchant asks for a payment, and hears whatever it hears."""
        return await self.web.post("/api/payments", {"amount": 1000, "currency": "EUR", **values})

    async def payment(self, **values: Any) -> Any:
        return await self.web.payment(**values)

    async def check_out(self, payment: Any) -> None:
        """The customer starts paying."""
        path = f"/api/payment-links/{payment['shortCode']}/checkout"
        reply = await self.web.post(path, {"provider": "sandbox"}, key=None)
        assert reply.status == 200, reply.text
        assert reply.json["redirectUrl"] is not None

    async def opened(self, **values: Any) -> Any:
        """A payment whose customer is at the provider."""
        payment = await self.payment(**values)
        await self.check_out(payment)
        return payment

    async def at_provider(self, payment: Any, outcome: str, **values: Any) -> None:
        """What happens at the provider's page of its last checkout; no webhook reaches us."""
        attempts = (await self.web.get(f"/api/payments/{payment['id']}/attempts")).json["data"]
        body = {"reference": attempts[-1]["providerReference"], "outcome": outcome, **values}
        await self.sandbox.control("outcomes", body)

    async def come_back(self, payment: Any) -> Reply:
        """The customer's browser returns from the provider."""
        reply = await self.web.get(f"/pay/{payment['shortCode']}/return", key=None, headers=BROWSER)
        assert reply.status == 303, reply.text
        return reply

    async def page(self, payment: Any, rest: str = "") -> Reply:
        return await self.web.get(f"/pay/{payment['shortCode']}{rest}", key=None, headers=BROWSER)

    async def press(self, path: str) -> Reply:
        """The button of a page of ours."""
        form = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
        return await self.web.post(path, raw=b"", key=None, headers=form)

    async def status(self, payment: Any) -> Any:
        """What a polling page sees; the lane reads the database's clock a few times a second, so one look is warming up."""
        path = f"/api/payment-links/{payment['shortCode']}/status"
        reply = await self.web.get(path, key=None)
        assert reply.status == 200, reply.text
        return reply.json

    async def status_becomes(self, payment: Any, **wanted: Any) -> Any:
        """Poll until the status answer says so."""
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            shown = await self.status(payment)
            if {name: shown[name] for name in wanted} == wanted:
                return shown
            assert monotonic() < deadline, shown
            await asyncio.sleep(0.02)

    async def look(self) -> None:
        """The worker asks about everything that is due."""
        await self.web.shop.look()

    async def pass_time(self, microseconds: int) -> None:
        """So much later, with a worker at work."""
        self.clock.advance(microseconds)
        await self.look()

    async def run(self, job: str) -> Any:
        """An external scheduler rings; answers the published result."""
        reply = await self.web.post(f"/api/jobs/{job}", key=None, headers=CRON)
        assert (reply.status, reply.json["status"]) == (200, "SUCCEEDED"), reply.text
        return reply.json["result"]

    async def sweep(self) -> Any:
        """The expiry job in both phases: run, let the worker ask, and give it what the answers allow."""
        result = await self.run("expired-links")
        await self.pass_time(2 * SECOND)
        return result

    async def now(self, payment: Any) -> Any:
        reply = await self.web.get(f"/api/payments/{payment['id']}")
        assert reply.status == 200, reply.text
        return reply.json

    async def state(self, payment: Any) -> str:
        return str((await self.now(payment))["state"])

    async def path(self, payment: Any) -> list[str]:
        """The states it went through."""
        moves = (await self.web.get(f"/api/payments/{payment['id']}/timeline")).json["data"]
        return [move["toState"] for move in moves]

    async def cases(self, payment: Any) -> list[str]:
        """The reasons why a person is asked about it."""
        found = (await self.web.get("/api/cases")).json["data"]
        return [case["reason"] for case in found if case["paymentId"] == payment["id"]]

    async def audit(self) -> None:
        """No invariant is broken by whatever happened; only the test's own key was made past the audit log."""
        report = await run_audit(self.web.shop.app.ctx)
        wrong = {row.subject for rule in report.invariants for row in rule.rows}
        keys = {row["id"] for row in await self.web.shop.rows("SELECT id FROM api_keys")}
        assert wrong <= keys, report.as_result()
        assert not report.chain.problems
        assert not report.storage


@contextlib.asynccontextmanager
async def town(database_url: str, folder: Path, clock: FrozenClock, **values: Any) -> AsyncIterator[Town]:
    """A town with its jobs at hand; nothing happens in it by itself."""
    async with a.shop(database_url, folder, clock, cron_secret=CRON_SECRET, **values) as shop:
        engine = job_engine(shop.app)
        await shop.app.db.write(lambda tx: _never(engine, tx))
        stop = asyncio.Event()
        running = asyncio.create_task(engine.run_forever(stop))
        try:
            async with serving(shop, jobs=engine) as web:
                yield Town(web, clock)
        finally:
            stop.set()
            await running


def _never(engine: JobEngine, tx: Tx) -> None:
    engine.catalogue.register(tx)
    for current in engine.catalogue.all(tx):
        engine.catalogue.reschedule(tx, current.name, Change(schedule=NEVER))
