"""Through which of a merchant's accounts a payment can be paid: active, allowed, and of a provider that takes the money."""

from collections.abc import Sequence

import msgspec

from paystate.domain import connections
from paystate.domain.connections import Connection
from paystate.domain.payments import Payment
from paystate.flows.context import Context
from paystate.kit.errors import Refused
from paystate.kit.ids import MerchantId
from paystate.kit.money import Money
from paystate.machinery.db import Tx


def usable_connections(ctx: Context, tx: Tx, payment: Payment) -> list[Connection]:
    """The merchant's active connections through which this payment may be paid, the oldest first."""
    allowed = (
        None if payment.providers is None else set(msgspec.json.decode(payment.providers, type=list[str]))
    )
    found = connections.active_for(tx, MerchantId(payment.merchant_id))
    return [c for c in found if c.provider in ctx.providers and (allowed is None or c.provider in allowed)]


def offered_connections(ctx: Context, tx: Tx, payment: Payment) -> list[Connection]:
    """Those of the usable ones whose provider takes the payment's currency and amount: what a customer may choose."""
    usable = usable_connections(ctx, tx, payment)
    return [c for c in usable if _refusal(ctx, c, payment.money) is None]


def those_that_take(ctx: Context, money: Money, found: Sequence[Connection]) -> list[Connection]:
    """Those whose provider takes this currency and amount, which is known without a call.

    Raises Refused when none does: `amount_below_minimum` where one takes the currency, else
    `currency_not_supported_by_provider`.
    """
    refusals = [_refusal(ctx, connection, money) for connection in found]
    taking = [c for c, refusal in zip(found, refusals, strict=True) if refusal is None]
    said = sorted((r for r in refusals if r is not None), key=lambda r: r.code != "amount_below_minimum")
    if said and not taking:
        raise said[0]
    return taking


def _refusal(ctx: Context, connection: Connection, money: Money) -> Refused | None:
    try:
        ctx.provider(connection.provider).check(money)
    except Refused as refusal:
        return refusal
    return None
