"""The composition root: the one place that knows every part and puts them together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from paystate.adapters.channels import load_channels
from paystate.adapters.providers import load_providers
from paystate.domain.payments import attempt_store
from paystate.flows.context import Context, patience_of
from paystate.flows.verify_payments import Verifier
from paystate.kit.clock import Clock, SystemClock
from paystate.kit.ids import System
from paystate.machinery import failpoints, http, idempotency
from paystate.machinery.db import Database, Tx, open_database
from paystate.machinery.db.open_transaction import assert_outside
from paystate.machinery.http import Http
from paystate.machinery.pacing import MemoryPacer, SharedPacer
from paystate.machinery.settings import Settings


@dataclass(frozen=True, slots=True)
class App:
    """An assembled installation: what the web, the worker and the command line share."""

    settings: Settings
    db: Database
    http: Http
    ctx: Context


def build_app(settings: Settings, *, clock: Clock | None = None) -> App:
    """Put the parts together; opens the database, starts nothing. With a `clock`, that one replaces the database's."""
    if settings.failpoints:
        failpoints.arm(settings.failpoints, log=settings.failpoints_log)
    http.guard = assert_outside
    db = open_database(
        settings.database_url.reveal(),
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
        clock=clock,
    )
    client = Http(allow_private=settings.allow_private_addresses)
    ctx = Context(
        db=db,
        settings=settings,
        keys=settings.key_ring,
        providers=load_providers(client),
        pacer=MemoryPacer() if settings.is_sqlite else SharedPacer(db),
        patience=patience_of(settings),
        clock=clock or SystemClock(),
        channels=load_channels(settings),
    )
    return App(settings, db, client, ctx)


async def close_app(app: App) -> None:
    """Close the client and the database; what is queued is still written."""
    await app.http.close()
    await asyncio.get_running_loop().run_in_executor(None, app.db.close)


@contextlib.asynccontextmanager
async def running_app(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """An app that listens for wake-ups, closed at the end."""
    app = build_app(settings, clock=clock)
    try:
        if settings.is_sqlite:
            await app.db.write(_void_what_the_last_process_held)
        await app.db.wakeups.start()
        yield app
    finally:
        await app.db.wakeups.stop()
        await close_app(app)


def _void_what_the_last_process_held(tx: Tx) -> None:
    """The one process that could hold a lease, a key, or a start under way is gone."""
    attempt_store.void_leases(tx, System("start of the only process"))
    idempotency.void_locks(tx)


def verifier_of(app: App) -> Verifier:
    """The worker's verification loop with the installation's limits."""
    return Verifier(app.ctx, in_flight=app.settings.verify_in_flight, batch=app.settings.verify_batch)
