"""Verifies once what is due now, and says what was decided: for the job and for the command line."""

from collections.abc import Sequence
from typing import Any

from paystate.domain.payments import Trigger, attempt_store, store
from paystate.domain.payments.states import ENDED
from paystate.flows.apply_answers import log_settled
from paystate.flows.context import Context
from paystate.flows.settle_payment import Settled
from paystate.flows.verify_payments import Verifier, verify_now
from paystate.kit.ids import System
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

WHO = System("verification on request")
ONE_PAYMENT_SECONDS = 60.0
log = get_logger(__name__)


@job(
    "verify-payments",
    schedule="*/5 * * * *",
    description="Asks the providers about every payment that is due; beside the worker, which does so all the time.",
)
async def verify_payments(ctx: Context, run: Run) -> dict[str, Any]:
    """The job: how many were asked about and how many changed their state."""
    del run
    settled = await verify_due(ctx)
    counts = {"asked": len(settled), "moved": sum(item.moved for item in settled)}
    log.info("verification_done", **counts)
    return counts


async def verify_due(ctx: Context) -> list[Settled]:
    """Ask about everything that is due, until nothing is."""
    settled: list[Settled] = []

    def remember(batch: Sequence[Settled]) -> None:
        settled.extend(batch)
        log_settled(batch)

    settings = ctx.settings
    await Verifier(
        ctx, in_flight=settings.verify_in_flight, batch=settings.verify_batch, report=remember
    ).drain()
    return settled


async def verify_one(ctx: Context, id_or_code: str) -> list[Settled]:
    """Ask about one payment now, due or not. Empty when it never was at a provider, or another process is asking.

    Raises NotFound.
    """
    payment = await ctx.db.read(lambda tx: store.find_link(tx, WHO, id_or_code))
    attempts = await ctx.db.read(lambda tx: attempt_store.of_payments(tx, WHO, [payment.id]))
    asked = [a for a in attempts if a.state not in ENDED or a.checkout_id is not None]
    if not asked:
        return []
    return await verify_now(ctx, WHO, asked, Trigger.MANUAL, ONE_PAYMENT_SECONDS)
