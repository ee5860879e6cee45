"""Raises an alert of a job that failed, or that nobody started in time."""

from paystate.domain import alerts
from paystate.domain.alerts import NewAlert, Severity
from paystate.flows.context import Context
from paystate.kit.ids import System
from paystate.machinery.jobs import JobProblem, log_problem

JOB_FAILED = "job_failed"
JOB_MISSED = "job_missed"
WHO = System("alerts of jobs")


async def report_job_problem(ctx: Context, problem: JobProblem) -> None:
    """What the engine of jobs calls; a job that fails again and again is one alert with a count."""
    await log_problem(problem)
    alert = job_alert(problem.job, problem.detail, failed=problem.kind == "failed", run_id=problem.run_id)
    await ctx.db.write(lambda tx: alerts.raise_alert(tx, WHO, alert, ctx.operators))


def job_alert(job: str, reason: str, *, failed: bool, run_id: str | None = None) -> NewAlert:
    """The alert of one job, of the whole installation."""
    return NewAlert(
        rule=JOB_FAILED if failed else JOB_MISSED,
        subject=job,
        severity=Severity.CRITICAL if failed else Severity.WARNING,
        title=f"The job {job} failed" if failed else f"The job {job} was not started in time",
        detail={"job": job, "reason": reason} | ({} if run_id is None else {"runId": run_id}),
    )
