"""Factories that read as sentences: `a.shop(...)`, `await shop.payment(...)`, `await shop.checkout(...)`."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from paystate.app import App, build_app, close_app, verifier_of
from paystate.domain import connections, merchants
from paystate.domain.connections import Connection, NewConnection, secrets_aad
from paystate.domain.payments import Attempt, Payment, attempt_store, store
from paystate.flows.create_payment import Created, NewPayment, Payer, create_payment
from paystate.flows.start_checkout import Checkout, start_checkout
from paystate.kit.clock import Clock
from paystate.kit.ids import MerchantId, System, new_id
from paystate.kit.money import Money
from paystate.machinery.secrets import generate_key_text
from paystate.machinery.settings import Settings, load_settings
from paystate.simulators import RunningSimulator, start_simulator

WHO = System("tests")


def settings(database_url: str, folder: Path, **values: Any) -> Settings:
    """Settings for a test: loopback may be reached, everything else as shipped."""
    environ = {
        "PAYSTATE_ENV": "test",
        "PAYSTATE_DATABASE_URL": database_url,
        "PAYSTATE_SECRET_KEY": generate_key_text(),
        "PAYSTATE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
        **{f"PAYSTATE_{name.upper()}": str(value) for name, value in values.items()},
    }
    return load_settings(environ, data_dir_override=folder)


class Sandbox:
    """The simulator's control API, as a test speaks to it."""

    def __init__(self, running: RunningSimulator) -> None:
        self.base_url = running.base_url
        self._http = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._http.close()

    async def control(self, path: str, body: Mapping[str, Any] | None = None, method: str = "POST") -> Any:
        async with self._http.request(method, f"{self.base_url}/_control/{path}", json=body) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    async def outcome(self, attempt: Attempt, outcome: str, **values: Any) -> Any:
        return await self.control(
            "outcomes", {"reference": attempt.provider_reference, "outcome": outcome, **values}
        )

    async def fault(self, operation: str, kind: str, **values: Any) -> Any:
        return await self.control("faults", {"operation": operation, "kind": kind, **values})

    async def heal(self) -> None:
        await self.control("faults", method="DELETE")

    async def objects(self) -> Any:
        return await self.control("objects", method="GET")

    async def foreign(self, reference: str) -> None:
        """A checkout at our account that somebody else made."""
        body = {"reference": reference, "amount": 5, "currency": "EUR", "description": "not ours"}
        urls = {"returnUrl": "http://other.test/", "cancelUrl": "http://other.test/"}
        headers = {"Authorization": "Bearer sk_sandbox_paystate", "Idempotency-Key": reference}
        url = f"{self.base_url}/v1/checkouts"
        async with self._http.post(url, json=body | urls, headers=headers) as answer:
            assert answer.status == 201, await answer.text()


@dataclass
class Shop:
    """A merchant with a sandbox connection, inside an assembled installation without a running worker."""

    app: App
    merchant: merchants.Merchant
    connection: Connection
    sandbox: Sandbox

    @property
    def id(self) -> MerchantId:
        return MerchantId(self.merchant.id)

    async def create(self, amount: int = 1000, currency: str = "EUR", **values: Any) -> Created:
        payer = values.pop("customer", None)
        new = NewPayment(
            money=Money(amount, currency),
            description=values.pop("description", "Tea"),
            customer=None if payer is None else Payer(external_id=payer),
            **values,
        )
        return await create_payment(
            self.app.ctx, self.id, new, actor="key:test", keep=lambda tx, work: work(tx)
        )

    async def payment(self, amount: int = 1000, currency: str = "EUR", **values: Any) -> Payment:
        return (await self.create(amount, currency, **values)).payment

    async def checkout(self, payment: Payment) -> Checkout:
        return await start_checkout(self.app.ctx, WHO, payment.short_code, "sandbox")

    async def opened(
        self, amount: int = 1000, currency: str = "EUR", **values: Any
    ) -> tuple[Payment, Attempt]:
        """A payment with a live checkout."""
        payment = await self.payment(amount, currency, **values)
        return payment, (await self.checkout(payment)).attempt

    async def look(self) -> None:
        """Ask about everything that is due, and write the answers."""
        await verifier_of(self.app).drain()

    async def now(self, payment: Payment) -> Payment:
        return await self.app.db.read(lambda tx: store.get(tx, WHO, payment.id))

    async def attempts(self, payment: Payment) -> list[Attempt]:
        return await self.app.db.read(lambda tx: attempt_store.of_payments(tx, WHO, [payment.id]))

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """Any rows, for a last look."""
        found = await self.app.db.read(lambda tx: tx.conn.exec_driver_sql(sql).mappings().all())
        return [dict(row) for row in found]


@contextlib.asynccontextmanager
async def shop(
    database_url: str, folder: Path, clock: Clock | None = None, **values: Any
) -> AsyncIterator[Shop]:
    """A shop with its own sandbox, ready to sell."""
    running = await start_simulator("sandbox")
    app = build_app(settings(database_url, folder, **values), clock=clock)
    await app.db.wakeups.start()
    sandbox = Sandbox(running)
    try:
        merchant = await app.db.write(lambda tx: merchants.create_merchant(tx, WHO, name="Tea House"))
        connection = await app.db.write(partial(connect, app, merchant.id, running.base_url))
        yield Shop(app, merchant, connection, sandbox)
    finally:
        await sandbox.close()
        await app.db.wakeups.stop()
        await close_app(app)
        await running.stop()


def connect(app: App, merchant_id: str, base_url: str, tx: Any, **values: Any) -> Connection:
    """A connection to the sandbox's default account."""
    connection_id = new_id("con", tx.now)
    secrets = {"secretKey": "sk_sandbox_paystate", "webhookSecret": "whsec_sandbox_paystate"}
    sealed = app.ctx.keys.seal(
        json.dumps(secrets).encode(), aad=secrets_aad(connection_id, MerchantId(merchant_id))
    )
    new = NewConnection(
        id=connection_id,
        merchant_id=MerchantId(merchant_id),
        provider="sandbox",
        name="Sandbox",
        account="acct_sandbox",
        live=False,
        settings={"baseUrl": base_url},
        secrets=sealed,
        rate_per_second=app.settings.sandbox_provider_rate,
        **values,
    )
    return connections.create_connection(tx, WHO, new)
