"""One attempt at a run: the work, the heartbeat that keeps its lease, and what ends it."""

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from paystate.kit.clock import monotonic
from paystate.kit.errors import OutcomeUnknown, PaystateError, Unavailable
from paystate.machinery.db import Database
from paystate.machinery.failpoints import afailpoint, declare
from paystate.machinery.jobs.declare import Job, Trigger
from paystate.machinery.jobs.queue import Claim, Outcome, extend, finish, note_progress
from paystate.machinery.logs import get_logger
from paystate.machinery.redaction import redact_text

PROGRESS_SECONDS = 1.0
CANCEL_SECONDS = 5.0
"""How long work that was told to stop may take to do so."""

FINISH_TRIES = 5
FINISH_PAUSE_SECONDS = 0.5
MAX_RESULT_BYTES = 256 * 1024
MAX_ERROR_LENGTH = 300

HANG = declare("job.hang", "a job's work is about to start")
OUT_OF_MEMORY = declare("job.oom", "a job's work is about to start, for taking memory")
EXIT = declare("job.exit", "a job's work is about to start, for ending the process")
BEFORE_FINISH = declare("job.before_finish", "a job's work is done, its end not yet written")

log = get_logger(__name__)


class Attempt:
    """The run as its job sees it (`declare.Run`), and the lease behind it."""

    def __init__(self, database: Database, held: Claim, *, lease_seconds: float, kept_runs: int) -> None:
        self._database = database
        self._held = held
        self._lease_seconds = lease_seconds
        self._kept_runs = kept_runs
        self._lease_ends = monotonic() + lease_seconds
        self._lost = False
        self._progress: tuple[int, int] | None = None
        self._noted_at = -PROGRESS_SECONDS

    @property
    def id(self) -> str:
        return self._held.run_id

    @property
    def job(self) -> str:
        return self._held.job

    @property
    def trigger(self) -> Trigger:
        return self._held.trigger

    @property
    def batch_size(self) -> int:
        return self._held.batch_size

    def still_mine(self) -> bool:
        return not self._lost and monotonic() < self._lease_ends

    async def progress(self, done: int, total: int) -> None:
        self._progress = (done, total)
        now = monotonic()
        if now - self._noted_at >= PROGRESS_SECONDS:
            self._noted_at = now
            if not await self._database.write(
                partial(note_progress, held=self._held, done=done, total=total)
            ):
                self._lost = True

    async def keep_lease(self, every_seconds: float) -> None:
        """Extend the lease until it is lost: taken by another, or over without the database having answered."""
        while self.still_mine():
            await asyncio.sleep(every_seconds)
            asked_at = monotonic()
            try:
                kept = await self._database.write(
                    partial(extend, held=self._held, lease_seconds=self._lease_seconds)
                )
            except Exception:
                log.exception("job lease not extended", job=self.job, run_id=self.id)
                continue
            self._lost = self._lost or not kept
            self._lease_ends = asked_at + self._lease_seconds

    async def work(self, job: Job, context: Any) -> Outcome:
        """Do the job's work; whatever it raises becomes the run's error."""
        try:
            await afailpoint(HANG)
            await afailpoint(OUT_OF_MEMORY)
            await afailpoint(EXIT)
            result = _as_json(await job.work(context, self))
            await afailpoint(BEFORE_FINISH)
        except Exception as error:
            log.exception("job failed", job=self.job, run_id=self.id)
            return Outcome(None, one_line(error), self._progress)
        return Outcome(result, None, self._progress)

    def timed_out(self) -> Outcome:
        return Outcome(None, f"timed_out: more than {self._held.timeout_seconds} s", self._progress)

    async def finish(self, outcome: Outcome) -> bool:
        """Write the end; False for a stale owner. Raises Unavailable when the database stays away."""
        for left in reversed(range(FINISH_TRIES)):
            try:
                return await self._database.write(
                    partial(finish, held=self._held, outcome=outcome, kept_runs=self._kept_runs)
                )
            except (Unavailable, OutcomeUnknown):
                if not left:
                    raise
            await asyncio.sleep(FINISH_PAUSE_SECONDS)
        raise AssertionError("unreachable")


def one_line(error: Exception) -> str:
    """What operators read: our code and sentence, or a class and the first line of its message, redacted."""
    name = error.code if isinstance(error, PaystateError) else type(error).__name__
    lines = str(error).splitlines()
    return redact_text(f"{name}: {lines[0]}" if lines else name)[:MAX_ERROR_LENGTH]


def _as_json(result: Mapping[str, Any]) -> str:
    text = json.dumps(dict(result), allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_RESULT_BYTES:
        raise ValueError(f"the result of a job has more than {MAX_RESULT_BYTES} bytes")
    return text


async def stop(task: "asyncio.Task[Any]", name: str) -> None:
    """Cancel a task and give it time to end; one that does not is left behind, and said so."""
    task.cancel()
    _, alive = await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if alive:
        log.error("a job does not stop when told to", job=name)
