"""All SQL that looks for payments which wait too long at a provider."""

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.model import attempts, payments
from paystate.domain.payments.states import OFFERED, State
from paystate.kit.clock import Instant
from paystate.kit.ids import System
from paystate.machinery.db import Tx


class Stuck(msgspec.Struct, frozen=True):
    """An OPEN payment whose checkout is unfinished for long; `last_activity_at` is that of the payment."""

    id: str
    merchant_id: str
    opened_at: Instant
    last_event_type: str
    last_activity_at: Instant


def stuck_payments(tx: Tx, who: System, *, older_than: int, limit: int) -> list[Stuck]:
    """OPEN payments with an offered attempt older than so many microseconds, the longest waiting first (A8)."""
    del who
    p, a = payments.c, attempts.c
    offered = [state.value for state in sorted(OFFERED)]
    waiting = (
        sa.select(a.payment_id)
        .where(a.state.in_(offered), a.created_at <= tx.now - older_than)
        .group_by(a.payment_id)
    )
    opened = sa.func.coalesce(p.opened_at, p.created_at)
    statement = (
        sa.select(p.id, p.merchant_id, opened, p.last_event_type, p.last_event_at)
        .where(p.state == State.OPEN.value, p.id.in_(waiting))
        .order_by(opened, p.id)
        .limit(limit)
    )
    return [Stuck(*row) for row in tx.rows(statement)]
