"""The operation that moves an installation's clock forward, so that every deadline can be tried out."""

from paystate.app import App
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.claim_attempts import VERIFY
from paystate.kit.clock import DAY, rfc3339
from paystate.kit.errors import Refused
from paystate.machinery.db import Tx, trial_clock
from paystate.machinery.jobs.catalogue import WAKE_CHANNEL

FARTHEST = 3_660 * DAY


class Advance(Order, frozen=True, kw_only=True):
    microseconds: int


@operation("clock.advance", Advance)
async def advance(app: App, order: Advance) -> Answer:
    if app.settings.env == "production":
        raise Refused("The clock of a production installation is never moved.", code="refused_in_production")
    if not 0 < order.microseconds <= FARTHEST:
        raise Refused("The clock only goes forward, by at most ten years.")

    def move(tx: Tx) -> int:
        tx.wake(VERIFY)
        tx.wake(WAKE_CHANNEL)
        return trial_clock.advance(tx, order.microseconds)

    offset = await app.db.write(move)
    now = await app.db.read(lambda tx: tx.now)
    return {"now": rfc3339(now), "offsetSeconds": offset // 1_000_000}
