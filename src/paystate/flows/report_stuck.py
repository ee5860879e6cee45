"""Reports payments that wait at a provider for longer than anybody should."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from paystate.domain import alerts
from paystate.domain.alerts import NewAlert, Severity
from paystate.domain.payments.stuck_store import Stuck, stuck_payments
from paystate.flows.context import Context
from paystate.kit.clock import MINUTE, Instant, rfc3339
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

LIMIT = 1_000
STUCK_PAYMENTS = "stuck_payments"
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
    await ctx.db.write(partial(_alert, ctx, found))
    payments = [_told(stuck, now) for stuck in found]
    for payment in payments:
        log.warning("payment_stuck", payment_id=payment["id"], age_minutes=payment["ageMinutes"])
    log.info("stuck_payments_looked_for", count=len(payments))
    return {"count": len(payments), "payments": payments}


def _find(older_than: int, tx: Tx) -> tuple[list[Stuck], Instant]:
    return stuck_payments(tx, WHO, older_than=older_than, limit=LIMIT), tx.now


def _alert(ctx: Context, found: Sequence[Stuck], tx: Tx) -> None:
    """One alert for each merchant with stuck payments, over when there is none any more."""
    by_merchant = Counter(stuck.merchant_id for stuck in found)
    first = {stuck.merchant_id: stuck for stuck in reversed(found)}
    for merchant_id, count in sorted(by_merchant.items()):
        oldest = first[merchant_id]
        detail = {"count": count, "oldestPaymentId": oldest.id, "openedAt": rfc3339(oldest.opened_at)}
        title = (
            f"Payments wait at their provider for over {ctx.settings.stuck_payment_minutes} minutes: {count}"
        )
        new = NewAlert(STUCK_PAYMENTS, merchant_id, Severity.WARNING, title, detail, MerchantId(merchant_id))
        alerts.raise_alert(tx, WHO, new, ctx.operators)
    for alert in alerts.standing(tx, WHO, STUCK_PAYMENTS):
        if alert.merchant_id not in by_merchant:
            alerts.resolve_alert(tx, WHO, alert.fingerprint, by="job:stuck-payments: none is stuck")


def _told(stuck: Stuck, now: Instant) -> dict[str, Any]:
    return {
        "id": stuck.id,
        "ageMinutes": (now - stuck.opened_at) // MINUTE,
        "lastEventType": stuck.last_event_type,
        "lastActivityAt": rfc3339(stuck.last_activity_at),
    }
