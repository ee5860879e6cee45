"""What the owner says to alerts: looked after, over, or: tell everybody that this is a trial."""

from functools import partial
from typing import Literal

from paystate.domain import alerts, audit
from paystate.domain.alerts import Alert, NewAlert, Severity
from paystate.domain.audit import AuditEntry
from paystate.flows.context import Context
from paystate.kit.ids import System
from paystate.machinery.db import Tx

WHO = System("the owner answers alerts")
TRIAL = "trial"


async def acknowledge_alert(ctx: Context, alert_id: str, *, actor: str) -> Alert:
    """Raises NotFound, Conflict `invalid_state` for a resolved one."""

    def work(tx: Tx) -> Alert:
        before = alerts.get_alert(tx, WHO, alert_id)
        after = alerts.acknowledge(tx, WHO, alert_id, by=actor)
        if after.state is not before.state:
            _note(after, actor, "acknowledged", "command line", tx)
        return after

    return await ctx.db.write(work)


async def end_alert(ctx: Context, alert_id: str, reason: str, *, actor: str) -> Alert:
    """Raises NotFound, Refused `reason_required`, Conflict `invalid_state` for a resolved one."""

    def work(tx: Tx) -> Alert:
        after = alerts.resolve(tx, WHO, alert_id, by=actor, reason=reason)
        _note(after, actor, "resolved", reason, tx)
        return after

    return await ctx.db.write(work)


async def try_channels(ctx: Context, *, actor: str) -> int:
    """Tell every address that this is a trial; answers how many there are, beside the log.

    The alert is over in the commit that raises it, so that another trial is news again.
    """
    await ctx.db.write(partial(_raise_trial, ctx, actor))
    return sum(one.channel != "log" for one in ctx.operators)


def _raise_trial(ctx: Context, actor: str, tx: Tx) -> None:
    trial = NewAlert(
        TRIAL, "installation", Severity.WARNING, "This is a trial: nothing is wrong", {"by": actor}
    )
    alerts.raise_alert(tx, WHO, trial, ctx.operators)
    alerts.resolve_alert(tx, WHO, trial.fingerprint, by=actor)
    entry = AuditEntry(None, actor, "alert.trial", "installation", {}, {}, "trial of the channels")
    audit.record(tx, WHO, [entry])


def _note(alert: Alert, actor: str, act: Literal["acknowledged", "resolved"], reason: str, tx: Tx) -> None:
    entry = AuditEntry(alert.merchant_id, actor, f"alert.{act}", alert.id, {}, {"rule": alert.rule}, reason)
    audit.record(tx, WHO, [entry])
