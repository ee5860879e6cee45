"""Reports payments that wait at a provider for longer than anybody should."""

from functools import partial
from typing import Any

from paystate.domain.payments.stuck_store import Stuck, stuck_payments
from paystate.flows.context import Context
from paystate.kit.clock import MINUTE, Instant, rfc3339
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

LIMIT = 1_000
WHO = System("report of stuck payments")
log = get_logger(__name__)


@job(
    "stuck-payments",
    schedule="*/15 * * * *",
    description="Reports open payments whose checkout is unfinished for more than an hour.",
)
async def report_stuck(ctx: Context, run: Run) -> dict[str, Any]:
    """The published result of the job (A8, A9); each payment is a warning in the log."""
    del run
    found, now = await ctx.db.read(partial(_find, ctx.settings.stuck_payment_minutes * MINUTE))
    payments = [_told(stuck, now) for stuck in found]
    for payment in payments:
        log.warning("payment_stuck", payment_id=payment["id"], age_minutes=payment["ageMinutes"])
    log.info("stuck_payments_looked_for", count=len(payments))
    return {"count": len(payments), "payments": payments}


def _find(older_than: int, tx: Tx) -> tuple[list[Stuck], Instant]:
    return stuck_payments(tx, WHO, older_than=older_than, limit=LIMIT), tx.now


def _told(stuck: Stuck, now: Instant) -> dict[str, Any]:
    return {
        "id": stuck.id,
        "ageMinutes": (now - stuck.opened_at) // MINUTE,
        "lastEventType": stuck.last_event_type,
        "lastActivityAt": rfc3339(stuck.last_activity_at),
    }
