"""Deletes idempotency keys that are past their time."""

from typing import Any

from paystate.flows.context import Context
from paystate.machinery import idempotency
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

MAX_BATCHES = 10_000
log = get_logger(__name__)


@job(
    "purge-idempotency-keys",
    schedule="40 3 * * *",
    description="Deletes idempotency keys older than seven days.",
)
async def purge_keys(ctx: Context, run: Run) -> dict[str, Any]:
    """So many a commit, until none is left."""
    deleted = 0
    for _ in range(MAX_BATCHES):
        batch = await ctx.db.write(idempotency.purge)
        deleted += batch
        if batch < idempotency.PURGE_BATCH or not run.still_mine():
            break
    log.info("idempotency_purged", count=deleted)
    return {"deleted": deleted}
