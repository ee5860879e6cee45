"""Looks at the rules of alerts: what is true is raised or counted, what is true no longer is resolved."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from paystate.domain import alerts, cases, connections
from paystate.domain.alerts import NewAlert, Severity
from paystate.domain.connections import inbox_store
from paystate.domain.connections.store import parked
from paystate.domain.payments import watch_store
from paystate.domain.payments.watch_store import Learnt, Pile
from paystate.flows.apply_answers import CREDENTIALS_REFUSED, UNKNOWN_STATUS, credentials_alert
from paystate.flows.context import Context
from paystate.flows.job_schedules import catalogue_of
from paystate.flows.report_job_problem import JOB_FAILED, JOB_MISSED, job_alert
from paystate.kit.clock import DAY, HOUR, MINUTE, Instant, rfc3339
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job, stats
from paystate.machinery.logs import get_logger

WHO = System("rules of alerts")
GONE = "the rule: its cause is gone"
MISMATCHES = frozenset({"amount_mismatch", "currency_mismatch"})
MISMATCHES_SHOWN = 500
log = get_logger(__name__)

Rule = Callable[[Context, Tx], Sequence[NewAlert]]


@job(
    "check-alerts",
    schedule="*/5 * * * *",
    description="Raises alerts whose cause is there, resolves those whose cause is gone, reminds once a day.",
)
async def check_alerts(ctx: Context, run: Run) -> dict[str, Any]:
    """One commit for each rule: one that cannot be looked at stops no other."""
    raised, resolved, errors = 0, 0, []
    for done, (name, rule) in enumerate(RULES.items(), 1):
        try:
            fresh, gone = await ctx.db.write(partial(_look, ctx, name, rule))
        except Exception as error:
            log.exception("alert_rule_failed", kind=name)
            errors.append({"id": name, "error": type(error).__name__})
        else:
            raised, resolved = raised + fresh, resolved + gone
        await run.progress(done, len(RULES))
    reminded = await ctx.db.write(partial(alerts.remind, who=WHO, to=ctx.operators))
    counts = {"raised": raised, "resolved": resolved, "reminded": reminded, "failed": len(errors)}
    log.info("alerts_checked", **counts)
    return {"found": len(RULES), **counts, "errors": errors}


def _look(ctx: Context, name: str, rule: Rule, tx: Tx) -> tuple[int, int]:
    true = {new.fingerprint: new for new in rule(ctx, tx)}
    known = {alert.fingerprint for alert in alerts.standing(tx, WHO, name)}
    fresh = sum(alerts.raise_alert(tx, WHO, new, ctx.operators) for _, new in sorted(true.items()))
    gone = sum(alerts.resolve_alert(tx, WHO, one, by=GONE) for one in sorted(known - true.keys()))
    return fresh, gone


def long_verification(ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Payments that the provider has not decided about for longer than it ever takes (B7)."""
    minutes = ctx.settings.pending_verification_alert_minutes
    piles = watch_store.long_in_verification(tx, WHO, before=Instant(tx.now - minutes * MINUTE))
    return [_pile("long_verification", one, f"in verification for over {minutes} minutes") for one in piles]


def expired_after_return(_ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Payments that expired within a day though their customer had come back: perhaps they did pay (B7)."""
    piles = watch_store.expired_after_return(tx, WHO, since=Instant(tx.now - DAY))
    return [_pile("expired_after_return", one, "expired after their customer had come back") for one in piles]


def mismatch(_ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Money that came in another amount or currency, until a person has decided (B7)."""
    return [
        NewAlert(
            rule="amount_mismatch",
            subject=case.id,
            severity=Severity.CRITICAL,
            title="A payment was paid with another amount or currency",
            detail={"caseId": case.id, "paymentId": case.payment_id, "reason": case.reason},
            merchant_id=case.merchant_id,
        )
        for case in cases.open_about(tx, WHO, MISMATCHES, limit=MISMATCHES_SHOWN)
    ]


def waiting_cases(ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Cases that nobody has decided for a day."""
    hours = ctx.settings.case_alert_hours
    return [
        NewAlert(
            rule="waiting_cases",
            subject=merchant_id,
            severity=Severity.WARNING,
            title=f"{count} cases wait for a decision for over {hours} hours",
            detail={"count": count, "oldestAt": rfc3339(oldest)},
            merchant_id=merchant_id,
        )
        for merchant_id, count, oldest in cases.waiting_since(tx, WHO, before=Instant(tx.now - hours * HOUR))
    ]


def refused_credentials(_ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Connections that are parked because their provider does not let us in."""
    found = parked(tx, WHO)
    return [credentials_alert(one, one.state_reason or "") for one in found]


def unknown_status(_ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Told of when the word comes; true for as long as a payment under way has got one as its last answer."""
    still = watch_store.with_unknown_answers(tx, WHO)
    return [
        NewAlert(a.rule, a.fingerprint.partition(":")[2], a.severity, a.title, a.detail, a.merchant_id)
        for a in alerts.standing(tx, WHO, UNKNOWN_STATUS)
        if a.detail.get("connectionId") in still
    ]


def silent_webhooks(ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Connections that used to send webhooks, and whose payments are now learnt of by asking only."""
    hours = ctx.settings.webhooks_silent_hours
    limit = Instant(tx.now - hours * HOUR)
    heard = {i: at for i, at in inbox_store.last_authentic(tx, WHO).items() if at < limit}
    if not heard:
        return []
    active = connections.get_many(tx, WHO, sorted(heard))
    silent = [found for i in sorted(active) for found in _learnt_since(tx, i, heard[i], limit)]
    return [
        NewAlert(
            rule="silent_webhooks",
            subject=one.connection_id,
            severity=Severity.WARNING,
            title=f"{active[one.connection_id].provider} sends no webhooks for over {hours} hours",
            detail={
                "connectionId": one.connection_id,
                "lastWebhookAt": rfc3339(heard[one.connection_id]),
                "paymentsLearntByAsking": one.count,
            },
            merchant_id=MerchantId(active[one.connection_id].merchant_id),
        )
        for one in silent
    ]


def _learnt_since(tx: Tx, connection_id: str, heard_at: Instant, limit: Instant) -> list[Learnt]:
    """A payment settled so long ago has had all the time for its webhook."""
    found = watch_store.learnt_by_asking(
        tx, WHO, connection_ids=[connection_id], since=Instant(heard_at + MINUTE)
    )
    return [one for one in found if one.first_at <= limit]


def failing_jobs(ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Jobs whose last run failed (A10)."""
    return _jobs(ctx, tx, "failing")


def late_jobs(ctx: Context, tx: Tx) -> Sequence[NewAlert]:
    """Jobs whose time came and that nobody started, or nobody works on (A10)."""
    return _jobs(ctx, tx, "late")


def _jobs(ctx: Context, tx: Tx, state: str) -> list[NewAlert]:
    current = catalogue_of(ctx.settings).all(tx)
    health = [(one.name, stats(tx, one).health) for one in current]
    return [job_alert(n, h.reason, failed=state == "failing") for n, h in health if h.state == state]


def _pile(rule: str, pile: Pile, what: str) -> NewAlert:
    return NewAlert(
        rule=rule,
        subject=pile.merchant_id,
        severity=Severity.CRITICAL,
        title=f"Payments {what}: {pile.count}",
        detail={"count": pile.count, "firstPaymentId": pile.first_id},
        merchant_id=MerchantId(pile.merchant_id),
    )


RULES: dict[str, Rule] = {
    "long_verification": long_verification,
    "expired_after_return": expired_after_return,
    "amount_mismatch": mismatch,
    "waiting_cases": waiting_cases,
    CREDENTIALS_REFUSED: refused_credentials,
    UNKNOWN_STATUS: unknown_status,
    "silent_webhooks": silent_webhooks,
    JOB_FAILED: failing_jobs,
    JOB_MISSED: late_jobs,
}
"""Every rule that is looked at, by the name its alerts carry."""
