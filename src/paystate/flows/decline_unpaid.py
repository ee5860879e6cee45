"""Declines orders that nobody paid in time: their payments end first, asked about at their providers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from paystate.domain import audit, orders
from paystate.domain.audit import AuditEntry
from paystate.domain.orders import UnpaidOrder
from paystate.domain.payments import Payment, State, attempt_store, store
from paystate.domain.payments.states import PENDING
from paystate.flows.context import Context
from paystate.flows.expire_payments import expire_payments
from paystate.kit.clock import HOUR, Instant
from paystate.kit.errors import Unavailable
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

MAX_BATCHES = 10_000
ERRORS_SHOWN = 20
ENDS = frozenset({*PENDING, State.FAILED})
"""Payments in these states are given an end."""

KEEPS = frozenset({*PENDING, State.FAILED, State.PAID, State.REVIEW})
"""An order with a payment in one of these states is not declined: money may be there, or may still come."""

WHO = System("decline of orders that nobody paid")
log = get_logger(__name__)


@job(
    "decline-unpaid-orders",
    schedule="50 * * * *",
    description="Declines orders unpaid for two days; their payments are asked about and ended first.",
)
async def decline_unpaid(ctx: Context, run: Run) -> dict[str, Any]:
    """The 48-hour rule of requirement E3, in two phases: an order whose payment still ends is declined the next time."""
    age = ctx.settings.order_decline_hours * HOUR
    found, after = [], ""
    for _ in range(MAX_BATCHES):
        batch = await ctx.db.write(partial(_end_payments, age, after, run.batch_size))
        if not batch:
            break
        found += batch
        after = batch[-1].id
    await expire_payments(ctx, actor=f"job:{run.id}")
    declined, errors = 0, []
    for done, order in enumerate(found, 1):
        try:
            declined += await ctx.db.write(partial(_decline, order, f"job:{run.id}"))
        except Unavailable:
            raise
        except Exception as error:
            # One bad order stops no other.
            log.exception("order_not_declined", order_id=order.id)
            errors.append({"id": order.id, "error": type(error).__name__})
        await run.progress(done, len(found))
    log.info("unpaid_orders_declined", found=len(found), count=declined, failed=len(errors))
    waiting = len(found) - declined - len(errors)
    return {
        "found": len(found), "declined": declined, "waiting": waiting, "failed": len(errors),
        "errors": errors[:ERRORS_SHOWN],
    }  # fmt: skip


def _end_payments(age: int, after: str, limit: int, tx: Tx) -> list[UnpaidOrder]:
    """The time of their payments is over now; the sweep asks their providers before it moves them."""
    batch = orders.pending_since(tx, WHO, before=Instant(tx.now - age), after=after, limit=limit)
    if batch:
        open_ones = _locked(tx, [order.id for order in batch])
        late = [p for p in open_ones if p.state in ENDS and (p.expires_at is None or p.expires_at > tx.now)]
        store.touch(tx, WHO, late, expires_at=tx.now, due_at=tx.now)
    return batch


def _decline(order: UnpaidOrder, actor: str, tx: Tx) -> bool:
    """In one commit with its audit entry; whether it was declined. One that is paid, or may be, is left alone."""
    if any(payment.state in KEEPS for payment in _locked(tx, [order.id])):
        return False
    if not orders.decline(tx, WHO, [order.id]):
        return False
    entry = AuditEntry(
        merchant_id=order.merchant_id,
        actor=actor,
        action="order.declined",
        resource_id=order.id,
        before={"state": "PENDING"},
        after={"state": "DECLINED"},
        reason="unpaid",
    )
    audit.record(tx, WHO, [entry])
    return True


def _locked(tx: Tx, order_ids: Sequence[str]) -> list[Payment]:
    """The payments of these orders, under their locks; attempts are locked first, as everywhere."""
    ids = [payment.id for payment in store.of_orders(tx, WHO, order_ids)]
    attempt_store.lock_of_payments(tx, WHO, ids)
    return list(store.lock(tx, WHO, ids).values())
