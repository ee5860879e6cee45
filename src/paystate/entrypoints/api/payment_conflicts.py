"""Pending payments of a customer: may another one start, what is open, cleaning up what is stale, and figures."""

from typing import Annotated, Any, Self

from fastapi import Path
from pydantic import ConfigDict, model_validator
from starlette.responses import Response

from paystate.domain.payments import Payment
from paystate.domain.payments.figures import payment_figures
from paystate.entrypoints.api.answers import answer, replayable, text_of
from paystate.entrypoints.api.fields import CustomerId, In, Name, Out, Phone, Reference, refused
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.payment_fields import PayerIn, display
from paystate.entrypoints.api.repeat import Finish, act_once
from paystate.flows.check_conflicts import Pending, can_proceed, cleanup_stale, pending_of
from paystate.flows.create_payment import Payer
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.errors import NotFound
from paystate.machinery.idempotency import Answer

MAX_NAMED = 255
CustomerText = Annotated[
    str,
    Path(
        alias="customer",
        max_length=MAX_NAMED,
        description="Our id, the merchant's id, a phone, an e-mail address",
    ),
]
routes = router("/api/payments", "Payments")


class CanProceedIn(In):
    """Which customer wants to pay for which bundle."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"phone": "+27821234567", "bundleId": "fibre-50"}]}
    )

    phone: Phone | None = None
    customer: PayerIn | None = None
    customer_id: CustomerId | None = None
    bundle_id: Reference | None = None
    plan_name: Name | None = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if sum(value is not None for value in (self.phone, self.customer, self.customer_id)) != 1:
            raise refused("invalid_combination", "Name the customer by phone, customer or customerId.")
        return self


class ActionOut(Out):
    """A page with one button; opening it changes nothing."""

    url: str
    label: str


class CanProceedOut(Out):
    """Whether a payment for this bundle would be accepted now."""

    can_proceed: bool
    message: str
    conflicts: list[dict[str, Any]]
    recommendation: str


class PendingOut(Out):
    """A payment that waits to be paid."""

    id: str
    state: str
    amount: int
    currency: str
    amount_display: str
    bundle_id: str | None
    plan_name: str | None
    age_in_minutes: int
    time_remaining: int | None
    created_at: str
    expires_at: str | None
    actions: dict[str, ActionOut]


class SummaryOut(Out):
    """How many of them: `stale` are past their time."""

    total: int
    active: int
    stale: int


class PendingListOut(Out):
    """A customer's pending payments, oldest first."""

    customer_id: str | None
    data: list[PendingOut]
    summary: SummaryOut


class CleanupOut(Out):
    """What was ended, and what its provider is asked about first."""

    found: int
    expired: list[str]
    asked: list[str]


class AgeOut(Out):
    """Pending payments of one span of age, in minutes."""

    from_minutes: int
    to_minutes: int | None
    count: int


class StatsOut(Out):
    """The merchant's payments in figures."""

    by_state: dict[str, int]
    pending: SummaryOut
    age_of_pending: list[AgeOut]


@routes.get("/stats", **operation("getPaymentStats", "payments:read", StatsOut))
async def stats(call: Current) -> Response:
    """Counts by state, and how old what is pending is."""
    found = await call.db.read(lambda tx: payment_figures(tx, call.who))
    return answer(
        StatsOut(
            by_state=found.by_state,
            pending=SummaryOut(total=found.pending, active=found.pending - found.stale, stale=found.stale),
            age_of_pending=[
                AgeOut(from_minutes=b.from_minutes, to_minutes=b.to_minutes, count=b.count)
                for b in found.ages
            ],
        )
    )


@routes.post("/can-proceed", **operation("canProceed", "payments:read", CanProceedOut, "not_found"))
async def may_start(call: Current, body: CanProceedIn) -> Response:
    """Ask before showing a form: the conflict a create would meet, with both ways out."""
    payer = Payer(phone=body.phone) if body.customer is None else body.customer.payer()
    found = await can_proceed(call.ctx, call.who, payer, body.customer_id, body.bundle_id)
    return answer(
        CanProceedOut(
            can_proceed=found.can_proceed,
            message=found.message,
            conflicts=[dict(conflict) for conflict in found.conflicts],
            recommendation=found.recommendation,
        )
    )


@routes.get(
    "/pending/{customer}", **operation("listPendingPayments", "payments:read", PendingListOut, "not_found")
)
async def pending(call: Current, customer: CustomerText) -> Response:
    """What a customer has open, with minutes left and both actions."""
    found = await pending_of(call.ctx, call.who, _readable(customer))
    stale = sum(found.is_stale(payment) for payment in found.payments)
    total = len(found.payments)
    return answer(
        PendingListOut(
            customer_id=None if found.customer is None else found.customer.id,
            data=[_pending_out(call, found, payment) for payment in found.payments],
            summary=SummaryOut(total=total, active=total - stale, stale=stale),
        )
    )


@routes.post(
    "/cleanup-stale/{customer}",
    **operation("cleanupStalePayments", "payments:write", CleanupOut, "not_found"),
)
async def cleanup(call: Current, customer: CustomerText) -> Response:
    """End a customer's stale payments now."""
    text = _readable(customer)

    async def work() -> Finish:
        done = await cleanup_stale(call.ctx, call.who, text)
        shown = text_of(CleanupOut(found=done.found, expired=list(done.expired), asked=list(done.asked)))
        return lambda _tx: Answer(None, 200, shown)

    return replayable(await act_once(call, work))


def _readable(text: str) -> str:
    """A text that no customer can be stored under is nobody."""
    if not text.isprintable() or not text.strip():
        raise NotFound("There is no such customer.")
    return text


def _pending_out(call: Call, found: Pending, payment: Payment) -> PendingOut:
    page = f"{call.desk.app.settings.public_url.rstrip('/')}/pay/{payment.short_code}"
    return PendingOut(
        id=payment.id,
        state=payment.state.value,
        amount=payment.amount,
        currency=payment.currency,
        amount_display=display(payment.amount, payment.currency),
        bundle_id=payment.bundle_id,
        plan_name=payment.plan_name,
        age_in_minutes=found.age_minutes(payment),
        time_remaining=found.minutes_left(payment),
        created_at=rfc3339(payment.created_at),
        expires_at=rfc3339_or_none(payment.own_deadline),
        actions={
            "complete": ActionOut(url=page, label="Complete Payment"),
            "cancel": ActionOut(url=f"{page}/cancel", label="Cancel Payment"),
        },
    )
