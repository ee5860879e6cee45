"""Runs the audit every hour: an invariant that does not hold makes the run fail, and a failed run raises an alert."""

from typing import Any

from paystate.flows.audit import Report, run_audit
from paystate.flows.context import Context
from paystate.kit.errors import PaystateError
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

TIMEOUT_SECONDS = 1_800
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
    if not report.sound:
        _log_faults(report)
        numbers = ", ".join(map(str, report.broken)) or "none"
        raise AuditFailed(f"Invariants broken: {numbers}; see the log, or run: paystate audit")
    return {"sound": True, "stuck": report.stuck, "head": report.chain.head}


def _log_faults(report: Report) -> None:
    for checked in report.invariants:
        for finding in checked.rows:
            log.error("invariant_broken", id=finding.subject, detail=finding.detail, problem=checked.name)
    for problem in (*report.chain.problems, *report.storage):
        log.error("audit_problem", detail=problem)
