"""Verifies payments: claims attempts that are due, asks their providers many at once, applies the answers by sets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from paystate.domain import connections
from paystate.domain.payments import Attempt, AttemptState, Trigger, attempt_store, store
from paystate.flows.ask_provider import Claim, ask_provider
from paystate.flows.context import Context
from paystate.flows.settle_payment import Settled, settle_answers
from paystate.flows.settlement_rows import Asked
from paystate.kit.clock import SECOND, Instant, monotonic
from paystate.kit.errors import Unavailable
from paystate.kit.ids import System, Who
from paystate.machinery.db import ConstraintRefused, Tx
from paystate.machinery.logs import get_logger

VERIFY = "verify"
"""The channel that says: an attempt became due."""

WHO = System("verification of due attempts")
GRANT_AHEAD_SECONDS = 2.0
"""Claims wait at most so long for their budget, so that a fresh hint is never behind a long queue."""

IDLE_SECONDS = 0.3
CLAIM_SHARE = 3
"""Claim when a third of the places is free: a claim costs about the same for any number."""

CLAIM_LINGER_SECONDS = 0.05
"""After so long fewer places are enough."""

APPLY_LINGER_SECONDS = 0.02
APPLY_LINGER_EACH_SECONDS = 0.0002
"""Answers wait for company, the longer the more questions are out: a commit costs about the same for any number."""

DATABASE_PAUSE_SECONDS = 1.0
POISON_PAUSE = 60 * SECOND
RACES = 3
BUDGET_PAUSE_SECONDS = 0.2

log = get_logger(__name__)


def claim_due(wanted: "dict[str, int]", lease_us: int, tx: Tx) -> list[Claim]:
    """Lease due attempts, so many of each connection; with their payments, connections and unsent starts."""
    claimed: list[Attempt] = []
    for connection_id, limit in wanted.items():
        claimed += attempt_store.claim(tx, WHO, connection_id, limit=limit, lease_us=lease_us)
    return _with_context(tx, claimed)


def claim_these(ids: Sequence[str], lease_us: int, tx: Tx) -> list[Claim]:
    """Lease those of these attempts that nobody else is asking about."""
    return _with_context(tx, attempt_store.claim_these(tx, WHO, ids, lease_us=lease_us))


def _with_context(tx: Tx, claimed: Sequence[Attempt]) -> list[Claim]:
    if not claimed:
        return []
    payments = store.get_many(tx, WHO, [a.payment_id for a in claimed])
    known = connections.get_many(tx, WHO, [a.connection_id for a in claimed])
    unsent = [a.id for a in claimed if a.state is AttemptState.CREATED]
    requests = attempt_store.request_of(tx, WHO, unsent) if unsent else {}
    return [
        Claim(a, payments[a.payment_id], known[a.connection_id], requests.get(a.id), tx.now) for a in claimed
    ]


class Due(NamedTuple):
    """An active connection with attempts that are due, counted up to a limit, and its calls per second."""

    connection_id: str
    rate_per_second: int
    attempts: int


def due_by_connection(at_most: int, tx: Tx) -> list[Due]:
    """Who has something due, and how much of it: a budget is granted only for what will be asked."""
    counts = dict(
        attempt_store.connections_with_due(tx, WHO, active=connections.active_ids(), at_most=at_most)
    )
    known = connections.get_many(tx, WHO, list(counts))
    return [Due(c.id, c.rate_per_second, counts[c.id]) for c in known.values()]


async def apply_answers(ctx: Context, batch: Sequence[Asked]) -> list[Settled]:
    """Apply a batch in one commit; one that fails is halved until the bad item stands alone."""
    if not batch:
        return []
    try:
        settled = await _settle(ctx, batch)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
        if len(batch) == 1:
            return await _set_aside(ctx, batch[0], error)
        middle = len(batch) // 2
        return await apply_answers(ctx, batch[:middle]) + await apply_answers(ctx, batch[middle:])
    await _park_refused(ctx, batch)
    return settled


async def _settle(ctx: Context, batch: Sequence[Asked]) -> list[Settled]:
    """One commit. A single answer that meets a taken key was overtaken: it is decided again on what stands now."""
    for tries_left in range(RACES if len(batch) == 1 else 0, -1, -1):
        try:
            return await ctx.db.write(partial(settle_answers, batch, ctx.patience))
        except ConstraintRefused:
            if tries_left == 0:
                raise
    raise AssertionError("unreachable")


async def _set_aside(ctx: Context, asked: Asked, error: Exception) -> list[Settled]:
    """An answer that cannot be applied is loud, and looked at again in a minute; the others went on."""
    log.error("verification_failed", attempt_id=asked.attempt.id, error=repr(error), exc_info=error)

    def postpone(tx: Tx) -> None:
        later = {"next_check_at": tx.now + POISON_PAUSE, "lease_until": None, "last_asked_at": tx.now}
        attempt_store.write_answers(
            tx, WHO, [{"id": asked.attempt.id, "claim_no": asked.attempt.claim_no, **later}]
        )

    await ctx.db.write(postpone)
    return []


async def _park_refused(ctx: Context, batch: Sequence[Asked]) -> None:
    """Refused credentials stop the connection's calls, never its payments; a 429 makes it wait."""
    refused = {a.attempt.connection_id: a.silence or "" for a in batch if a.credentials_refused}
    waits = {a.attempt.connection_id: a.retry_after_us for a in batch if a.retry_after_us is not None}
    if not refused and not waits:
        return

    def write(tx: Tx) -> None:
        for connection_id, reason in refused.items():
            connections.park(tx, WHO, connection_id, reason)
        for connection_id, wait in waits.items():
            attempt_store.postpone_connection(tx, WHO, connection_id, Instant(tx.now + (wait or 0)))

    await ctx.db.write(write)
    for connection_id in refused:
        log.error("connection_parked", connection_id=connection_id, reason=refused[connection_id])


async def verify_now(
    ctx: Context, who: Who, attempts: Sequence[Attempt], trigger: Trigger, wait_seconds: float
) -> list[Settled]:
    """Ask about these attempts at once, in this process and inside the budget, and apply the answers.

    Those another worker is asking about already are left to it. Answers what was settled within the time;
    the asking itself goes on and is applied even when the caller stopped waiting.
    """

    def hint_and_claim(tx: Tx) -> list[Claim]:
        attempt_store.make_due(tx, who, attempts, trigger)
        return claim_these([a.id for a in attempts], ctx.patience.lease, tx)

    claims = await ctx.db.write(hint_and_claim)
    if not claims:
        return []
    work = asyncio.ensure_future(_ask_and_apply(ctx, claims))
    _BACKGROUND.add(work)
    work.add_done_callback(_forget)
    done, _ = await asyncio.wait([work], timeout=wait_seconds)
    return work.result() if done else []


def _forget(work: "asyncio.Future[list[Settled]]") -> None:
    """An asking nobody waited for any longer still says when it went wrong; its leases run out by themselves."""
    _BACKGROUND.discard(work)
    if not work.cancelled() and work.exception() is not None:
        log.error("verification_failed", error=repr(work.exception()))


_BACKGROUND: set["asyncio.Future[list[Settled]]"] = set()


async def _ask_and_apply(ctx: Context, claims: Sequence[Claim]) -> list[Settled]:
    return await apply_answers(ctx, await asyncio.gather(*(_ask_in_budget(ctx, c) for c in claims)))


async def _ask_in_budget(ctx: Context, claim: Claim) -> Asked:
    while True:
        granted = await ctx.pacer.grant(claim.connection.id, claim.connection.rate_per_second, 1)
        if granted:
            await asyncio.sleep(max(0.0, granted[0] - monotonic()))
            return await ask_provider(ctx, claim)
        await asyncio.sleep(BUDGET_PAUSE_SECONDS)


def log_settled(settled: Sequence[Settled]) -> None:
    """One line for each decision."""
    for item in settled:
        log.info(
            "verified",
            attempt_id=item.attempt_id,
            payment_id=item.payment_id,
            trigger=item.trigger,
            outcome=item.outcome,
            decision=item.decision,
            state=item.state.value,
        )


@dataclass(slots=True)
class Verifier:
    """The worker's loop: a claimer that keeps up to `in_flight` questions out, an applier that writes the answers."""

    ctx: Context
    in_flight: int
    batch: int
    report: "Callable[[Sequence[Settled]], None]" = field(default_factory=lambda: log_settled)
    """Hears what was settled, batch by batch; by default the log."""
    _answers: "asyncio.Queue[Asked]" = field(default_factory=asyncio.Queue)
    _asking: "set[asyncio.Task[None]]" = field(default_factory=set)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish the questions that are out and write their answers."""
        async with self._applying():
            try:
                while not stop.is_set():
                    if not await self._claim_once():
                        await self._rest(stop)
            finally:
                await asyncio.gather(*self._asking, return_exceptions=True)
                await self._answers.join()

    async def drain(self) -> None:
        """Until nothing is due any more, and every answer is written: for the command line, jobs and tests."""
        async with self._applying():
            while await self._claim_once() or await self._finish_some():
                pass

    @contextlib.asynccontextmanager
    async def _applying(self) -> AsyncIterator[None]:
        """While the block runs, answers are written."""
        applier = asyncio.create_task(self._apply_forever())
        try:
            yield
        finally:
            applier.cancel()

    async def _finish_some(self) -> bool:
        """Wait for answers; once none is missing and all are written, claim what they made due. False: it is over."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=CLAIM_LINGER_SECONDS)
            return True
        await self._answers.join()
        return await self._claim_once()

    @property
    def _free(self) -> int:
        return self.in_flight - len(self._asking)

    @property
    def _has_room(self) -> bool:
        return self._free >= max(1, self.in_flight // CLAIM_SHARE)

    async def _room(self) -> int:
        """How many questions may be added: a good part of all places, or after a moment what there is."""
        if not self._has_room:
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), CLAIM_LINGER_SECONDS)
        return self._free

    async def _claim_once(self) -> bool:
        """Claim what free slots and budgets allow, and start asking; False when there was nothing to claim."""
        free = await self._room()
        if not free:
            return True
        try:
            due = await self.ctx.db.read(partial(due_by_connection, free))
            if not due:
                return False
            grants = await self._grants(due, free)
            wanted = {connection_id: len(times) for connection_id, times in grants.items() if times}
            claims = (
                await self.ctx.db.write(partial(claim_due, wanted, self.ctx.patience.lease)) if wanted else []
            )
        except Unavailable as error:
            log.warning("database_unavailable", detail=error.detail)
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            return False
        for claim in claims:
            self._start(claim, grants[claim.connection.id].pop(0))
        if not claims:
            # Something is due and its budget is spent: it has to wait, not to be forgotten.
            await asyncio.sleep(BUDGET_PAUSE_SECONDS)
        return True

    async def _grants(self, due: Sequence[Due], free: int) -> dict[str, list[float]]:
        """Round robin: each connection gets its share of the free slots, as far as its budget and its need go."""
        share = max(1, free // len(due))
        grants: dict[str, list[float]] = {}
        for connection_id, rate, attempts in due[:free]:
            wanted = min(share, attempts)
            times = await self.ctx.pacer.grant(
                connection_id, rate, wanted, horizon_seconds=GRANT_AHEAD_SECONDS
            )
            grants[connection_id] = list(times)
        return grants

    def _start(self, claim: Claim, at: float) -> None:
        task = asyncio.create_task(self._ask(claim, at))
        self._asking.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._asking.discard(task)
        if self._has_room:
            self._freed.set()

    async def _ask(self, claim: Claim, at: float) -> None:
        wait = at - monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._answers.put_nowait(await ask_provider(self.ctx, claim))

    async def _apply_forever(self) -> None:
        while True:
            batch = await self._gathered()
            try:
                self.report(await apply_answers(self.ctx, batch))
            except Unavailable as error:
                # Nothing is lost: the leases run out and the attempts are asked again.
                log.warning("answers_not_written", detail=error.detail, count=len(batch))
            except Exception:
                # The loop outlives whatever one batch brings; what was not written is asked again.
                log.exception("answers_not_written", count=len(batch))
            finally:
                for _ in batch:
                    self._answers.task_done()

    async def _gathered(self) -> list[Asked]:
        """The answers to be written together."""
        batch = [await self._answers.get()]
        if self._answers.qsize() < self.batch - 1:
            await asyncio.sleep(min(APPLY_LINGER_SECONDS, APPLY_LINGER_EACH_SECONDS * len(self._asking)))
        while len(batch) < self.batch and not self._answers.empty():
            batch.append(self._answers.get_nowait())
        return batch

    async def _rest(self, stop: asyncio.Event) -> None:
        """Sleep until a hint comes or a moment has passed."""
        waiting = asyncio.ensure_future(self.ctx.db.wakeups.wait(VERIFY, IDLE_SECONDS))
        stopping = asyncio.ensure_future(stop.wait())
        _, pending = await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
