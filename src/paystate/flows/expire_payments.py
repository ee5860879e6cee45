"""Expires payments in two phases: what is at a provider is asked and ended first, the rest expires by sets."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from paystate.domain import access, alerts, cases, connections
from paystate.domain.alerts import NewAlert, Severity
from paystate.domain.cases import NewCase
from paystate.domain.payments import Patience, Payment, State, Step, Trigger, attempt_store, store
from paystate.domain.payments.states import PENDING
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.context import Context
from paystate.flows.move_payment import move_payments, sweep_payments
from paystate.kit.clock import Instant
from paystate.kit.errors import Unavailable
from paystate.kit.ids import MerchantId, System, Who
from paystate.machinery.db import Tx
from paystate.machinery.failpoints import declare, failpoint
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

BATCH = 1_000
MAX_BATCHES = 2_000
ERRORS_SHOWN = 20
LARGE_CLEANUP = "large_cleanup"
BEFORE_COMMIT = declare("expire.before_commit", "a batch is expired, the commit has not begun")
WHO = System("expiry of payments whose time is over")
log = get_logger(__name__)


@dataclass(slots=True)
class Sweep:
    """What a sweep did: `found` past their time, `expired` here, `asked` at their providers first, `failed`."""

    found: int = 0
    expired: int = 0
    asked: int = 0
    failed: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def add(self, other: "Sweep") -> None:
        self.found += other.found
        self.expired += other.expired
        self.asked += other.asked
        self.failed += other.failed
        self.errors = (self.errors + other.errors)[:ERRORS_SHOWN]

    def as_result(self) -> dict[str, Any]:
        """The published result of the job (A9)."""
        return {
            "found": self.found,
            "expired": self.expired,
            "asked": self.asked,
            "failed": self.failed,
            "errors": self.errors,
        }


@job(
    "expired-links",
    schedule="*/5 * * * *",
    description="Expires payments past their time; those at a provider are asked about and ended there first.",
)
async def expired_links(ctx: Context, run: Run) -> dict[str, Any]:
    """The job of requirement A7, with its published result."""
    return _counted(await expire_payments(ctx, actor=f"job:{run.id}"))


@job(
    "cleanup-stale-payments",
    schedule="*/15 * * * *",
    description="Expires stale pending payments; alerts when one run expires more than a few.",
)
async def cleanup_stale_payments(ctx: Context, run: Run) -> dict[str, Any]:
    """The job of requirement C6: the same sweep on its own schedule, watched for how much it had to do."""
    sweep = await expire_payments(ctx, actor=f"job:{run.id}")
    if sweep.expired > ctx.settings.payment_cleanup_alert_expired:
        log.warning("cleanup_expired_many", expired=sweep.expired, count=sweep.found)
    await ctx.db.write(partial(_alert_large_cleanup, ctx, sweep, run.id))
    return _counted(sweep)


def _alert_large_cleanup(ctx: Context, sweep: Sweep, run_id: str, tx: Tx) -> None:
    """Many payments at once that nobody paid (C6); over with the next cleanup that finds few."""
    limit = ctx.settings.payment_cleanup_alert_expired
    if sweep.expired <= limit:
        alerts.resolve_alert(
            tx, WHO, f"{LARGE_CLEANUP}:installation", by="job:cleanup-stale-payments: few again"
        )
        return
    detail = {"expired": sweep.expired, "limit": limit, "runId": run_id}
    title = f"One cleanup expired {sweep.expired} payments"
    new = NewAlert(LARGE_CLEANUP, "installation", Severity.WARNING, title, detail)
    alerts.raise_alert(tx, WHO, new, ctx.operators)


def _counted(sweep: Sweep) -> dict[str, Any]:
    log.info("sweep_done", found=sweep.found, expired=sweep.expired, asked=sweep.asked, failed=sweep.failed)
    return sweep.as_result()


async def expire_payments(ctx: Context, *, actor: str, batch: int = BATCH) -> Sweep:
    """Expire every payment past its time, page by page; one bad row falls out alone and stops nobody else."""
    total = Sweep()
    after: store.DuePosition | None = None
    for _ in range(MAX_BATCHES):
        page = await ctx.db.read(partial(_past_due, after, batch))
        if not page:
            break
        held = [one.id for one in page if one.held]
        if held:
            total.add(await _per_half(partial(_ask_set, ctx), held))
        ending = [one.id for one in page if one.ends and not one.held]
        if ending:
            total.add(await _per_half(partial(_expire_set, ctx, actor), ending))
        after = page[-1].position
    return total


async def expire_one(ctx: Context, who: Who, payment_id: str) -> Payment:
    """The same path for one link that was looked at past its expiry (A2).

    Without a live attempt it is EXPIRED in this very answer; else its provider is asked first.
    """

    def now(tx: Tx) -> Payment:
        if not _ask_first([payment_id], tx):
            _expire_locked([payment_id], "customer", tx)
        return store.get(tx, who, payment_id)

    return await ctx.db.write(now)


def _past_due(after: store.DuePosition | None, limit: int, tx: Tx) -> list[store.PastDue]:
    return store.past_due(tx, WHO, after=after, limit=limit)


async def _ask_set(ctx: Context, ids: Sequence[str]) -> Sweep:
    """Phase one for a set: what a provider holds is asked about, or given to a person when nobody will ever answer."""

    def ask(tx: Tx) -> int:
        _hand_over_unheard(ctx.patience, ids, tx)
        return _ask_first(ids, tx)

    asked = await ctx.db.write(ask)
    return Sweep(found=asked, asked=asked)


def _ask_first(ids: Sequence[str], tx: Tx) -> int:
    """Attempts that still live are made due, to be asked and ended; answers for how many payments."""
    found = attempt_store.live_past_due(tx, WHO, ids)
    if found:
        attempt_store.make_due(tx, WHO, found, Trigger.EXPIRY)
        tx.wake(VERIFY)
    return len({a.payment_id for a in found})


def _hand_over_unheard(patience: Patience, ids: Sequence[str], tx: Tx) -> None:
    """Past its time and a day without a word, because its connection is parked, off, or its provider down: a person decides."""
    before = Instant(tx.now - patience.silent_limit)
    heard = connections.active_ids().except_(access.down_since_before(before))
    found = attempt_store.unheard_past_due(tx, WHO, ids, before=before, active=heard)
    attempt_store.lock_of_payments(tx, WHO, [a.payment_id for a in found])
    locked = store.lock(tx, WHO, [a.payment_id for a in found])
    waiting = {a.payment_id: a for a in found if locked[a.payment_id].state in PENDING}
    if not waiting:
        return
    steps = [
        Step(locked[i], State.REVIEW, "expiry", "no_answer", a.id, {"review_reason": "no_answer"})
        for i, a in waiting.items()
    ]
    move_payments(tx, WHO, steps, patience)
    evidence = {"silence": "the connection is not in use, or its provider is down"}
    cases.open_cases(
        tx,
        WHO,
        [
            NewCase(MerchantId(a.merchant_id), a.payment_id, a.id, "no_answer", evidence, "keep_waiting")
            for a in waiting.values()
        ],
    )


async def _expire_set(ctx: Context, actor: str, ids: Sequence[str]) -> Sweep:
    """Phase two for a set."""
    expired = await ctx.db.write(partial(_expire_locked, ids, actor))
    return Sweep(found=len(ids), expired=expired)


async def _per_half(work: Callable[[Sequence[str]], Awaitable[Sweep]], ids: Sequence[str]) -> Sweep:
    """Do the work on a set; a set that fails is halved until the bad row stands alone."""
    try:
        return await work(ids)
    except Unavailable:
        raise
    except Exception as error:
        if len(ids) == 1:
            log.exception("expiry_failed", payment_id=ids[0])
            return Sweep(found=1, failed=1, errors=[{"id": ids[0], "error": type(error).__name__}])
        middle = len(ids) // 2
        halves = await _per_half(work, ids[:middle])
        halves.add(await _per_half(work, ids[middle:]))
        return halves


def _expire_locked(ids: Sequence[str], actor: str, tx: Tx) -> int:
    """Lock, look again, and move those that are still past their time with nothing at a provider."""
    due = store.lock_due_without_attempt(tx, WHO, ids)
    cancelled = [p for p in due if p.cancel_requested_at is not None]
    expired = [p for p in due if p.cancel_requested_at is None]
    if expired:
        sweep_payments(tx, WHO, expired, State.EXPIRED, actor=actor, reason="time_is_over")
    if cancelled:
        sweep_payments(tx, WHO, cancelled, State.CANCELED, actor=actor, reason="cancel_requested")
    failpoint(BEFORE_COMMIT)
    return len(expired)
