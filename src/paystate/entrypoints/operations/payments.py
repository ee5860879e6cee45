"""Operations on payments: verify now, explain."""

from paystate.app import App
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.explain_payment import explain_payment
from paystate.flows.verify_once import verify_due, verify_one
from paystate.kit.ids import System

WHO = System("the owner of the installation")


class Verify(Order, frozen=True, kw_only=True):
    """Without a payment: everything that is due."""

    payment: str | None = None


class Explain(Order, frozen=True, kw_only=True):
    payment: str


@operation("verify", Verify)
async def verify(app: App, order: Verify) -> Answer:
    settled = await (verify_due(app.ctx) if order.payment is None else verify_one(app.ctx, order.payment))
    decisions = [
        {
            "payment": item.payment_id,
            "attempt": item.attempt_id,
            "trigger": item.trigger,
            "outcome": item.outcome,
            "decision": item.decision,
            "state": item.state.value,
            "moved": item.moved,
        }
        for item in settled
    ]
    return {"asked": len(decisions), "moved": sum(item.moved for item in settled), "decisions": decisions}


@operation("explain", Explain)
async def explain(app: App, order: Explain) -> Answer:
    return await explain_payment(app.ctx, WHO, order.payment)
