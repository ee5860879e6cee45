"""Asks once more about payments that wait for over a day: what webhooks and the usual looks may have missed."""

from functools import partial
from typing import Any

from paystate.domain.payments import Attempt, Trigger, attempt_store
from paystate.flows.apply_answers import log_settled
from paystate.flows.context import Context
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import HOUR, Instant
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

ASKED_AT_ONCE = 100
MAX_BATCHES = 10_000
BATCH_SECONDS = 90.0
"""Longest wait for the answers of a batch; what comes later is applied all the same."""

TIMEOUT_SECONDS = 3_000
WHO = System("check of payments that wait for long")
log = get_logger(__name__)


@job(
    "check-pending-payments",
    schedule="20 * * * *",
    description="Asks the providers about payments pending for over a day, by our reference.",
    timeout_seconds=TIMEOUT_SECONDS,
)
async def check_pending(ctx: Context, run: Run) -> dict[str, Any]:
    """The job of requirement E2: silence is never failure; past its limit the usual rules hand it to a person."""
    age = ctx.settings.order_first_check_hours * HOUR
    found, answered, moved, after = 0, 0, 0, ""
    for _ in range(MAX_BATCHES):
        batch = await ctx.db.read(partial(_batch, age, after, min(run.batch_size, ASKED_AT_ONCE)))
        if not batch or not run.still_mine():
            break
        settled = await verify_now(ctx, WHO, batch, Trigger.POLL, BATCH_SECONDS)
        log_settled(settled)
        found += len(batch)
        answered += len(settled)
        moved += sum(item.moved for item in settled)
        after = batch[-1].id
        await run.progress(found, found + await ctx.db.read(partial(_left, age, after)))
    log.info("pending_payments_checked", found=found, count=answered, moved_count=moved)
    return {"found": found, "asked": answered, "moved": moved}


def _batch(age: int, after: str, limit: int, tx: Tx) -> list[Attempt]:
    before = Instant(tx.now - age)
    return attempt_store.long_pending(tx, WHO, before=before, after=after, limit=limit)


def _left(age: int, after: str, tx: Tx) -> int:
    """How many wait behind this one; counted no further than anybody looks."""
    return len(_batch(age, after, 10 * ASKED_AT_ONCE, tx))
