"""Runs the audit every hour: an invariant that does not hold makes the run fail, and a failed run raises an alert."""

from functools import partial
from typing import Any

from paystate.domain import alerts
from paystate.domain.alerts import NewAlert, Severity
from paystate.flows.audit import Report, run_audit
from paystate.flows.context import Context
from paystate.kit.errors import PaystateError
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

TIMEOUT_SECONDS = 1_800
LEDGER_UNBALANCED = "ledger_unbalanced"
LEDGER = frozenset({1, 2})
"""The invariants of the books: journals balance, and balances are the sums of their postings."""

WHO = System("alerts of the audit")
log = get_logger(__name__)


class AuditFailed(PaystateError):
    """The database breaks a rule; the log names every row, and so does `paystate audit`."""

    code = "audit_failed"


@job(
    "audit",
    schedule="7 * * * *",
    description="Checks all invariants in one picture of the database.",
    timeout_seconds=TIMEOUT_SECONDS,
)
async def audit_hourly(ctx: Context, run: Run) -> dict[str, Any]:
    """The job's result is the summary of a sound report; raises AuditFailed for any other."""
    del run
    report = await run_audit(ctx)
    await ctx.db.write(partial(_alert_ledger, ctx, sorted(LEDGER & set(report.broken))))
    if not report.sound:
        _log_faults(report)
        numbers = ", ".join(map(str, report.broken)) or "none"
        raise AuditFailed(f"Invariants broken: {numbers}; see the log, or run: paystate audit")
    return {"sound": True, "stuck": report.stuck, "head": report.chain.head}


def _alert_ledger(ctx: Context, broken: list[int], tx: Tx) -> None:
    """Books that do not balance are told of by their own name, beside the failed job."""
    if not broken:
        alerts.resolve_alert(tx, WHO, f"{LEDGER_UNBALANCED}:installation", by="job:audit: the books balance")
        return
    title = "The ledger does not balance; stop and look: paystate audit"
    new = NewAlert(LEDGER_UNBALANCED, "installation", Severity.CRITICAL, title, {"invariants": broken})
    alerts.raise_alert(tx, WHO, new, ctx.operators)


def _log_faults(report: Report) -> None:
    for checked in report.invariants:
        for finding in checked.rows:
            log.error("invariant_broken", id=finding.subject, detail=finding.detail, problem=checked.name)
    for problem in (*report.chain.problems, *report.storage):
        log.error("audit_problem", detail=problem)
