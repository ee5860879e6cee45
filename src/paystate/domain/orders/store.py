"""All SQL of orders, so far: finding those that nobody paid, and declining them."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from paystate.domain.orders.model import orders
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx


@dataclass(frozen=True, slots=True)
class UnpaidOrder:
    """An order that waits for its payment since `created_at`."""

    id: str
    merchant_id: MerchantId
    created_at: Instant


def pending_since(tx: Tx, who: System, *, before: Instant, after: str, limit: int) -> list[UnpaidOrder]:
    """PENDING orders made before that moment, by id."""
    del who
    o = orders.c
    waiting = sa.and_(o.state == "PENDING", o.created_at <= before, o.id > after)
    found = sa.select(o.id, o.merchant_id, o.created_at).where(waiting).order_by(o.id).limit(limit)
    return [
        UnpaidOrder(row.id, MerchantId(row.merchant_id), Instant(row.created_at)) for row in tx.rows(found)
    ]


def decline(tx: Tx, who: System, order_ids: Sequence[str]) -> list[str]:
    """PENDING → DECLINED; answers the ids of those that were PENDING still."""
    del who
    o = orders.c
    chosen = orders.update().where(tx.any_of(o.id, sorted(order_ids), "order_ids"), o.state == "PENDING")
    return sorted(row.id for row in tx.rows(chosen.values(state="DECLINED").returning(o.id)))
