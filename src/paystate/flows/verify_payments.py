"""Verifies payments: claims attempts that are due, asks their providers many at once, applies the answers by sets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from paystate.domain.payments import Attempt, Trigger, attempt_store
from paystate.domain.payments.port import NoAnswer
from paystate.flows.apply_answers import apply_answers, log_settled
from paystate.flows.ask_provider import Claim, ask_provider, unanswered
from paystate.flows.claim_attempts import VERIFY, Due, claim_due, claim_these, due_by_connection
from paystate.flows.context import Context
from paystate.flows.keep_budgets import take_turn
from paystate.flows.settle_payment import Settled
from paystate.flows.settlement_rows import Asked
from paystate.flows.verify_by_list import list_soon, verify_by_list
from paystate.kit.clock import monotonic
from paystate.kit.errors import Unavailable
from paystate.kit.ids import Who
from paystate.machinery.db import Tx
from paystate.machinery.logs import get_logger

GRANT_AHEAD_SECONDS = 2.0
"""Claims wait at most so long for their budget, so that a fresh hint is never behind a long queue."""

IDLE_SECONDS = 0.5
CLAIM_SHARE = 3
"""Claim when a third of the places is free: a claim costs about the same for any number."""

CLAIM_LINGER_SECONDS = 0.05
"""After so long fewer places are enough."""

APPLY_LINGER_SECONDS = 0.02
APPLY_LINGER_EACH_SECONDS = 0.0002
"""Answers wait for company, the longer the more questions are out: a commit costs about the same for any number."""

DATABASE_PAUSE_SECONDS = 1.0
BUDGET_PAUSE_SECONDS = 0.2
TURN_SECONDS = 20.0
"""Longest wait for the budget of a question that somebody waits for; with the question itself it fits the lease."""

log = get_logger(__name__)


async def verify_now(
    ctx: Context, who: Who, attempts: Sequence[Attempt], trigger: Trigger, wait_seconds: float
) -> list[Settled]:
    """Ask about these attempts at once, in this process and inside the budget, and apply the answers.

    Those another worker is asking about already are left to it. Answers what was settled within the time;
    the asking itself goes on and is applied even when the caller stopped waiting.
    """

    def hint_and_claim(tx: Tx) -> list[Claim]:
        attempt_store.make_due(tx, who, attempts, trigger)
        return claim_these([a.id for a in attempts], ctx.patience.lease, tx, traced=ctx.traced)

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
    try:
        await take_turn(ctx, claim.connection, TURN_SECONDS)
    except NoAnswer as error:
        return unanswered(claim, error)
    return await ask_provider(ctx, claim)


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
    _listings: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish the questions that are out and write their answers."""
        async with self._applying():
            try:
                while not stop.is_set():
                    if not await self._claim_once():
                        await self._rest(stop)
            finally:
                for listing in self._listings.values():
                    listing.cancel()
                await asyncio.gather(*self._asking, *self._listings.values(), return_exceptions=True)
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
        if self._asking or self._listings:
            await asyncio.wait([*self._asking, *self._listings.values()], timeout=CLAIM_LINGER_SECONDS)
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
            at_most = max(free, self.ctx.settings.verify_list_from)
            waiting = await self.ctx.db.read(partial(due_by_connection, at_most))
            self.ctx.health.breakers = waiting.breakers
            if not waiting.due:
                return False
            listed = self._listed(waiting.due, waiting.now)
            grants = await self._grants(waiting.due, free)
            wanted = {connection_id: len(times) for connection_id, times in grants.items() if times}
            take = partial(claim_due, wanted, self.ctx.patience.lease, hinted=listed, traced=self.ctx.traced)
            claims = await self.ctx.db.write(take) if wanted else []
        except Unavailable as error:
            log.warning("database_unavailable", detail=error.detail)
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            return False
        for claim in claims:
            self._start(claim, grants[claim.connection.id].pop(0))
        if not claims:
            # Something is due and its budget is spent, or it is looked for in a list: it waits, it is not forgotten.
            await asyncio.sleep(BUDGET_PAUSE_SECONDS)
        return True

    def _listed(self, due: Sequence[Due], now: int) -> frozenset[str]:
        """Connections whose due attempts are looked for in their provider's list, here or elsewhere; starts looking."""
        for one in due:
            if one.connection.id not in self._listings and list_soon(self.ctx, one, now):
                task = asyncio.create_task(self._read_list(one))
                self._listings[one.connection.id] = task
        busy = {d.connection.id for d in due if d.listing is not None and d.listing.busy}
        return frozenset(busy | set(self._listings))

    async def _read_list(self, due: Due) -> None:
        try:
            await verify_by_list(self.ctx, due.connection, self.batch, self.report)
        except Unavailable as error:
            log.warning("list_not_read", connection_id=due.connection.id, detail=error.detail)
        except Exception:
            # What the list did not answer is asked one by one.
            log.exception("list_not_read", connection_id=due.connection.id)
        finally:
            self._listings.pop(due.connection.id, None)

    async def _grants(self, due: Sequence[Due], free: int) -> dict[str, list[float]]:
        """Round robin: each connection gets its share of the free slots, as far as its budget and its need go."""
        share = max(1, free // len(due))
        grants: dict[str, list[float]] = {}
        for one in due[:free]:
            key, rate = self.ctx.budget(one.connection)
            wanted = min(share, one.attempts)
            times = await self.ctx.pacer.grant(key, rate, wanted, horizon_seconds=GRANT_AHEAD_SECONDS)
            grants[one.connection.id] = list(times)
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
