"""The worker: verification, jobs and housekeeping as tasks of one loop, each kept alive whatever befalls it."""

import asyncio
import importlib
import pkgutil
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import paystate.flows
from paystate.app import App
from paystate.domain.alerts import NEW_ALERTS
from paystate.domain.webhooks import NEW_EVENTS
from paystate.flows.deliver_alerts import deliver_alerts
from paystate.flows.job_schedules import schedules_of
from paystate.flows.number_rows import number_rows
from paystate.flows.report_job_problem import report_job_problem
from paystate.flows.take_hint import match_late_webhooks
from paystate.flows.verify_payments import Verifier
from paystate.kit.clock import monotonic
from paystate.machinery.db import Database
from paystate.machinery.jobs import JobEngine
from paystate.machinery.logs import get_logger

GRACE_SECONDS = 10.0
"""What is under way may take so long to end after the process was asked to stop (fault K19)."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SOUND_AFTER_SECONDS = 60.0
"""A loop that ran so long without failing starts again without a long pause."""

IDLE_SECONDS = 5.0
GAP_SECONDS = 1.0
UNMATCHED_SECONDS = 5.0

log = get_logger(__name__)
Body = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Duty:
    """Something the worker does for ever: a loop that ends only when told to."""

    name: str
    body: Body


def load_flows() -> None:
    """Import every flow, so that all jobs and all failpoints are known."""
    for info in pkgutil.iter_modules(paystate.flows.__path__):
        importlib.import_module(f"{paystate.flows.__name__}.{info.name}")


def job_engine(app: App) -> JobEngine:
    """The jobs of this installation as its settings want them; each engine is an owner of its own."""
    load_flows()
    settings = app.settings
    return JobEngine(
        app.db,
        app.ctx,
        owner=f"{socket.gethostname()}:{secrets.token_hex(6)}",
        time_zone=settings.time_zone,
        overrides=schedules_of(settings),
        kept_runs=settings.job_retention_runs,
        on_problem=partial(report_job_problem, app.ctx),
    )


async def run_worker(app: App, stop: asyncio.Event, *, jobs: JobEngine) -> None:
    """Work until `stop` is set, then end within the grace; what is unfinished by then is taken up again later."""
    keepers = [asyncio.create_task(keep(duty, stop), name=duty.name) for duty in duties(app, jobs)]
    log.info("worker_started", count=len(keepers))
    try:
        await stop.wait()
        _, late = await asyncio.wait(keepers, timeout=GRACE_SECONDS)
        if late:
            log.warning("worker_cut_short", ids=sorted(task.get_name() for task in late))
    finally:
        for task in keepers:
            task.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        log.info("worker_stopped")


def duties(app: App, jobs: JobEngine) -> Sequence[Duty]:
    """Everything a worker does."""
    settings, ctx = app.settings, app.ctx

    async def verify(stop: asyncio.Event) -> None:
        # A verifier that failed half-way is not used again: its questions are leased, and asked by the next one.
        await Verifier(ctx, in_flight=settings.verify_in_flight, batch=settings.verify_batch).run(stop)

    return [
        Duty("verification", verify),
        Duty("jobs", jobs.run_forever),
        Duty("numbering", _when_woken(app.db, NEW_EVENTS, lambda: number_rows(ctx))),
        Duty("alerts", _when_woken(app.db, NEW_ALERTS, lambda: deliver_alerts(ctx))),
        Duty("late webhooks", _every(UNMATCHED_SECONDS, lambda: match_late_webhooks(ctx))),
    ]


async def keep(duty: Duty, stop: asyncio.Event) -> None:
    """Run the duty until told to stop; a crash is logged, and the duty starts again after a growing pause."""
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        began = monotonic()
        try:
            await duty.body(stop)
        except Exception:
            log.exception("loop_crashed", component=duty.name)
        if stop.is_set():
            return
        sound = monotonic() - began > SOUND_AFTER_SECONDS
        pause = FIRST_PAUSE_SECONDS if sound else min(pause * 2, LONGEST_PAUSE_SECONDS)
        await rest(stop, pause)


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until the stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _every(seconds: float, work: Callable[[], Awaitable[Any]]) -> Body:
    async def body(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await work()
            await rest(stop, seconds)

    return body


def _when_woken(db: Database, channel: str, work: Callable[[], Awaitable[Any]]) -> Body:
    """At once when there is something new, at most once a second, and now and then for what woke nobody."""

    async def body(stop: asyncio.Event) -> None:
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                await work()
                await rest(stop, GAP_SECONDS)
                woken = asyncio.ensure_future(db.wakeups.wait(channel, IDLE_SECONDS))
                await asyncio.wait({woken, stopping}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
        finally:
            stopping.cancel()

    return body
