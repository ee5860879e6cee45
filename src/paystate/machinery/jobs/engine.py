"""The engine of jobs: any number of processes run it, and each tick of each schedule happens once among them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from paystate.kit.clock import SECOND, Instant, monotonic, rfc3339
from paystate.machinery.db import Database, Tx
from paystate.machinery.jobs.attempt import Attempt, stop
from paystate.machinery.jobs.catalogue import WAKE_CHANNEL, Catalogue, Change, Current
from paystate.machinery.jobs.declare import Job, Trigger, registry
from paystate.machinery.jobs.history import RunView, one_run
from paystate.machinery.jobs.queue import (
    FINISHED_CHANNEL,
    KEPT_RUNS,
    LEASE_LOST,
    Claim,
    Outcome,
    claim,
    enqueue_now,
    enqueue_tick,
    hand_back,
    replayable,
    void_leases,
    waiting,
)
from paystate.machinery.logs import bound, get_logger

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 20.0
POLL_SECONDS = 2.0
"""The longest rest between two looks: what a lost wake-up or a clock that was moved can cost."""

STOP_SECONDS = 10.0
"""How long running jobs may go on after the process was asked to stop; then they return to the queue."""

MAX_WAIT_SECONDS = 30.0
WAIT_POLL_SECONDS = 0.25

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobProblem:
    """Something an operator should hear of: a failed run, or a tick that came late because nobody was there."""

    kind: Literal["failed", "missed"]
    job: str
    run_id: str | None
    detail: str


OnProblem = Callable[[JobProblem], Awaitable[None]]


async def log_problem(problem: JobProblem) -> None:
    """What happens to a problem when nobody else listens."""
    log.warning(
        "job problem", kind=problem.kind, job=problem.job, run_id=problem.run_id, reason=problem.detail
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What a glance at the tables found."""

    ticks: Sequence[tuple[Current, Instant]]
    claimable: bool
    rest_seconds: float


class JobEngine:
    """Schedules, claims and runs the jobs of a registry; also starts and replays them by hand.

    `owner` names this process and is never used by two at a time. `context` is handed to every job.
    """

    def __init__(
        self,
        database: Database,
        context: Any,
        *,
        owner: str,
        lease_seconds: float = LEASE_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        time_zone: str = "UTC",
        overrides: Mapping[str, Change] | None = None,
        jobs: Mapping[str, Job] = registry,
        kept_runs: int = KEPT_RUNS,
        on_problem: OnProblem = log_problem,
    ) -> None:
        assert 0 < heartbeat_seconds < lease_seconds
        self.catalogue = Catalogue(jobs, time_zone=time_zone, overrides=overrides or {})
        self.stale_finishes = 0
        """Ends that came after the lease was another's, and changed nothing."""
        self._database = database
        self._context = context
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._kept_runs = kept_runs
        self._on_problem = on_problem
        self._registered = False
        self._running: set[asyncio.Task[None]] = set()

    async def run_forever(self, stop_asked: asyncio.Event) -> None:
        """Tick until asked to stop; then let running jobs end, or put them back into the queue."""
        if self._database.dialect == "sqlite":
            await self._database.write(partial(void_leases, owner=self._owner))
        try:
            while not stop_asked.is_set():
                rest = await self._tick_or_log()
                await self._rest(stop_asked, rest)
        finally:
            await self._shut_down()

    async def tick(self) -> list[str]:
        """Enqueue the ticks that are due, claim what waits and start it; answers the ids of the runs started."""
        claims, _ = await self._pass()
        return [held.run_id for held in claims]

    async def settle(self) -> None:
        """Wait until every run this process holds has ended."""
        while self._running:
            await asyncio.wait(self._running)

    async def run_now(self, name: str, trigger: Trigger, wait_seconds: float = 0) -> RunView:
        """Queue a run for whichever process comes first, and wait for its end, at most so long (30 s).

        Raises NotFound, Conflict `job_disabled` or `job_already_running`.
        """
        await self._register()
        run_id = await self._database.write(lambda tx: enqueue_now(tx, self.catalogue.one(tx, name), trigger))
        return await self._wait_for(run_id, wait_seconds)

    async def replay(self, run_id: str, wait_seconds: float = 0) -> RunView:
        """Queue a failed run's job again. Raises what `run_now` raises, and Conflict for a run that did not fail."""
        await self._register()
        fresh = await self._database.write(partial(self._enqueue_replay, run_id=run_id))
        return await self._wait_for(fresh, wait_seconds)

    def _enqueue_replay(self, tx: Tx, run_id: str) -> str:
        return enqueue_now(tx, self.catalogue.one(tx, replayable(tx, run_id)), "replay", replay_of=run_id)

    async def _register(self) -> None:
        if not self._registered:
            await self._database.write(self.catalogue.register)
            self._registered = True

    async def _tick_or_log(self) -> float:
        """The engine outlives any pass that fails: the rows still say what is due."""
        try:
            return (await self._pass())[1]
        except Exception:
            log.exception("job scheduling failed; the next look follows")
            return POLL_SECONDS

    async def _pass(self) -> tuple[list[Claim], float]:
        await self._register()
        look = await self._database.read(self._look)
        if look.ticks:
            await self._enqueue(look.ticks)
        if not look.ticks and not look.claimable:
            return [], look.rest_seconds
        claims, given_up = await self._database.write(self._claim)
        for run_id in given_up:
            await self._report_given_up(run_id)
        for held in claims:
            self._start(held)
        return claims, look.rest_seconds

    def _look(self, tx: Tx) -> _Look:
        currents = self.catalogue.all(tx)
        ticks = [(current, tick) for current in currents if (tick := current.due_tick(tx.now)) is not None]
        nexts = [current.schedule.next(tx.now) for current in currents if current.enabled]
        rest = min([(at - tx.now) / SECOND for at in nexts], default=POLL_SECONDS)
        return _Look(ticks, bool(waiting(tx, sorted(self.catalogue.jobs))), min(rest, POLL_SECONDS))

    async def _enqueue(self, ticks: Sequence[tuple[Current, Instant]]) -> None:
        def enqueue(tx: Tx) -> list[JobProblem]:
            fresh = [current for current, tick in ticks if enqueue_tick(tx, current, tick)]
            missed = [(current, current.late_tick(tx.now)) for current in fresh]
            return [
                JobProblem("missed", current.name, None, f"nobody was there for the tick of {rfc3339(tick)}")
                for current, tick in missed
                if tick is not None
            ]

        for problem in await self._database.write(enqueue):
            await self._tell(problem)

    def _claim(self, tx: Tx) -> tuple[list[Claim], list[str]]:
        return claim(tx, self.catalogue.all(tx), self._owner, self._lease_seconds)

    def _start(self, held: Claim) -> None:
        task = asyncio.create_task(self._run(held), name=f"job {held.job} {held.run_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, held: Claim) -> None:
        attempt = Attempt(self._database, held, lease_seconds=self._lease_seconds, kept_runs=self._kept_runs)
        began = monotonic()
        with bound(job=held.job, run_id=held.run_id):
            log.info("job started", trigger=held.trigger, attempt=held.claim_no)
            work = asyncio.create_task(attempt.work(self.catalogue.jobs[held.job], self._context))
            heart = asyncio.create_task(attempt.keep_lease(self._heartbeat_seconds))
            try:
                outcome = await self._first_of(work, heart, attempt, held)
                await self._end(attempt, outcome, began)
            except asyncio.CancelledError:
                await stop(work, held.job)
                await self._database.write(partial(hand_back, held=held))
                log.info("job handed back")
                raise
            except Exception:
                log.exception("job could not be ended; it runs again when its lease is over")
            finally:
                await stop(heart, held.job)

    async def _first_of(
        self, work: "asyncio.Task[Outcome]", heart: "asyncio.Task[None]", attempt: Attempt, held: Claim
    ) -> Outcome | None:
        """The work's outcome, a time-out's, or None when the lease was lost first."""
        ended, _ = await asyncio.wait(
            {work, heart}, timeout=held.timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if work in ended:
            return work.result()
        await stop(work, held.job)
        return None if heart in ended else attempt.timed_out()

    async def _end(self, attempt: Attempt, outcome: Outcome | None, began: float) -> None:
        stood = outcome is not None and await attempt.finish(outcome)
        if outcome is None or not stood:
            self.stale_finishes += 1
            log.warning("job lease lost; the end of this attempt changes nothing")
            return
        log.info("job finished", state=outcome.state, duration_ms=round((monotonic() - began) * 1000))
        if outcome.error is not None:
            await self._tell(JobProblem("failed", attempt.job, attempt.id, outcome.error))

    async def _report_given_up(self, run_id: str) -> None:
        run = await self._database.read(partial(one_run, run_id=run_id))
        await self._tell(JobProblem("failed", run.job, run_id, LEASE_LOST))

    async def _tell(self, problem: JobProblem) -> None:
        try:
            await self._on_problem(problem)
        except Exception:
            log.exception("a job problem could not be reported", job=problem.job, run_id=problem.run_id)

    async def _wait_for(self, run_id: str, wait_seconds: float) -> RunView:
        deadline = monotonic() + min(wait_seconds, MAX_WAIT_SECONDS)
        while True:
            run = await self._database.read(partial(one_run, run_id=run_id))
            left = deadline - monotonic()
            if run.finished_at is not None or left <= 0:
                return run
            await self._database.wakeups.wait(FINISHED_CHANNEL, min(left, WAIT_POLL_SECONDS))

    async def _rest(self, stop_asked: asyncio.Event, seconds: float) -> None:
        asked = asyncio.create_task(stop_asked.wait())
        woken = asyncio.create_task(self._database.wakeups.wait(WAKE_CHANNEL, max(seconds, 0.01)))
        await asyncio.wait({asked, woken}, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked, woken):
            task.cancel()
        await asyncio.gather(asked, woken, return_exceptions=True)

    async def _shut_down(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_SECONDS)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
