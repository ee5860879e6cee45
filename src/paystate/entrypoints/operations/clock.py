"""The operation that moves an installation's clock forward, so that every deadline can be tried out."""

from typing import TYPE_CHECKING

from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.verify_payments import VERIFY
from paystate.kit.clock import DAY, rfc3339
from paystate.kit.errors import Refused
from paystate.machinery.db import Tx
from paystate.machinery.db.schema import clock_row
from paystate.machinery.jobs.catalogue import WAKE_CHANNEL

if TYPE_CHECKING:
    from paystate.app import App

FARTHEST = 3_660 * DAY


class Advance(Order, frozen=True, kw_only=True):
    microseconds: int


@operation("clock.advance", Advance)
async def advance(app: "App", order: Advance) -> Answer:
    if app.settings.env == "production":
        raise Refused("The clock of a production installation is never moved.", code="refused_in_production")
    if not 0 < order.microseconds <= FARTHEST:
        raise Refused("The clock only goes forward, by at most ten years.")

    def move(tx: Tx) -> int:
        row = tx.execute(
            clock_row.update()
            .values(offset_us=clock_row.c.offset_us + order.microseconds)
            .returning(clock_row.c.offset_us)
        )
        tx.wake(VERIFY)
        tx.wake(WAKE_CHANNEL)
        return int(row.scalar_one())

    offset = await app.db.write(move)
    now = await app.db.read(lambda tx: tx.now)
    return {"now": rfc3339(now), "offsetSeconds": offset // 1_000_000}
