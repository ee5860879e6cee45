"""What can be done with one payment: change, open, cancel, verify, retry, and the story of how it came here."""

from typing import Any, Self

from pydantic import ConfigDict, model_validator
from starlette.responses import Response

from paystate.domain.payments import Attempt, Payment, Verification, attempt_store, proof_store, store
from paystate.entrypoints.api.answers import answer, expected_version, replayable, text_of, versioned
from paystate.entrypoints.api.cases import DecisionIn, person
from paystate.entrypoints.api.fields import (
    Amount,
    Currency,
    Description,
    In,
    Metadata,
    Moment,
    Name,
    Out,
    Reference,
    ReturnUrl,
    refused,
)
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.payment_fields import (
    LATE_POLICIES,
    ExpiresIn,
    PaymentOut,
    Providers,
    refuse_foreign_urls,
)
from paystate.entrypoints.api.payment_links import cancel_status
from paystate.entrypoints.api.payments import PaymentId, show
from paystate.entrypoints.api.repeat import Finish, act_once, write_once
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.edit_payment import PaymentChanges, edit, open_payment, retry_payment
from paystate.flows.resolve_case import resolve_payment
from paystate.flows.take_hint import ask_now
from paystate.kit.clock import MILLISECOND, SECOND, rfc3339, rfc3339_or_none
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

routes = router("/api/payments", "Payments")


class PaymentPatch(In):
    """What changes; null empties a field that may be empty. The amount only before any checkout was started."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "Fibre 50, December"}]})

    amount: Amount | None = None
    currency: Currency | None = None
    description: Description | None = None
    reference: Reference | None = None
    plan_name: Name | None = None
    return_url: ReturnUrl | None = None
    cancel_url: ReturnUrl | None = None
    providers: Providers | None = None
    late_policy: LATE_POLICIES | None = None
    metadata: Metadata | None = None
    expires_in: ExpiresIn | None = None
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.model_fields_set:
            raise refused("nothing_to_change", "Name at least one field.")
        if self.expires_in is not None and self.expires_at is not None:
            raise refused("invalid_expiry", "Give expiresAt or expiresIn, not both.")
        return self

    def changes(self) -> PaymentChanges:
        """The same in the words of the flow: what was not sent stays."""
        names = ("reference", "plan_name", "return_url", "cancel_url")
        given: dict[str, Any] = {n: getattr(self, n) for n in names if n in self.model_fields_set}
        if "providers" in self.model_fields_set:
            given["providers"] = None if self.providers is None else tuple(self.providers)
        timed = bool(self.model_fields_set & {"expires_in", "expires_at"})
        return PaymentChanges(
            amount=self.amount,
            currency=self.currency,
            description=self.description,
            late_policy=None if self.late_policy is None else self.late_policy.lower(),
            metadata=self.metadata,
            expires_in=None if self.expires_in is None else self.expires_in * SECOND,
            expires_at=self.expires_at,
            clear_expiry=timed and self.expires_in is None and self.expires_at is None,
            **given,
        )


class MoveOut(Out):
    """One change of state: who made it, and why."""

    seq: int
    from_state: str | None
    to_state: str
    actor: str
    reason: str
    attempt_id: str | None
    at: str


class TimelineOut(Out):
    """Every change of state, oldest first."""

    data: list[MoveOut]


class AttemptOut(Out):
    """One checkout at one provider."""

    id: str
    provider: str
    connection_id: str
    state: str
    provider_reference: str
    checkout_id: str | None
    next_check_at: str | None
    last_asked_at: str | None
    last_outcome: str | None
    silent_since: str | None
    created_at: str
    ended_at: str | None


class AttemptsOut(Out):
    """Every checkout that was started, oldest first."""

    data: list[AttemptOut]


class VerificationOut(Out):
    """One act of asking and what was decided; equal ones in a row are counted."""

    id: str
    attempt_id: str
    trigger: str
    outcome: str
    decision: str
    detail: str
    amount: int | None
    currency: str | None
    duration_ms: int
    count: int
    first_at: str
    last_at: str


class VerificationsOut(Out):
    """The verification log, newest first, at most 200 rows."""

    data: list[VerificationOut]


@routes.patch(
    "/{paymentId}",
    **operation(
        "updatePayment",
        "payments:write",
        PaymentOut,
        "not_found",
        "invalid_state",
        "duplicate_reference",
        "version_conflict",
        "provider_not_configured",
        "currency_not_supported_by_provider",
        "amount_below_minimum",
    ),
)
async def update(call: Current, payment_id: PaymentId, body: PaymentPatch) -> Response:
    """Change a payment that is DRAFT or OPEN; with If-Match, only when it is as it was read."""
    if body.return_url is not None or body.cancel_url is not None:
        refuse_foreign_urls(
            await call.merchant(),
            call.desk.app.settings.env == "production",
            returnUrl=body.return_url,
            cancelUrl=body.cancel_url,
        )
    version = expected_version(call.request)
    after = await call.db.write(
        lambda tx: edit(call.ctx, call.who, payment_id, body.changes(), tx, version=version)
    )
    return versioned(call.request, show(call, after), after.version)


@routes.post(
    "/{paymentId}/open",
    **operation(
        "openPayment", "payments:write", PaymentOut, "not_found", "invalid_state", "PENDING_SAME_BUNDLE"
    ),
)
async def open_(call: Current, payment_id: PaymentId) -> Response:
    """Open a DRAFT: its clock starts, and it takes its slot."""

    async def work() -> Finish:
        after = await open_payment(call.ctx, call.who, payment_id, actor=call.caller.actor)
        return _shown(call, after)

    return replayable(await act_once(call, work))


@routes.post(
    "/{paymentId}/retry",
    **operation(
        "retryPayment", "payments:write", PaymentOut, "not_found", "invalid_state", "PENDING_SAME_BUNDLE"
    ),
)
async def retry(call: Current, payment_id: PaymentId) -> Response:
    """Bring a FAILED payment back, while its time lasts."""

    async def work() -> Finish:
        after = await retry_payment(call.ctx, call.who, payment_id, actor=call.caller.actor)
        return _shown(call, after)

    return replayable(await act_once(call, work))


@routes.post(
    "/{paymentId}/cancel",
    **operation("cancelPayment", "payments:write", PaymentOut, "not_found", "invalid_state", also=(202,)),
)
async def cancel(call: Current, payment_id: PaymentId) -> Response:
    """Cancel; 202 while the provider has not said how its checkout ended. Twice changes nothing."""

    async def work() -> Finish:
        before = await call.db.read(lambda tx: store.get(tx, call.who, payment_id))
        after = await cancel_payment(call.ctx, call.who, payment_id, actor=call.caller.actor)
        text = text_of(show(call, after))

        def finish(tx: Tx) -> Answer:
            if after.version != before.version:
                call.note(
                    tx,
                    "payment.cancel",
                    payment_id,
                    {"state": before.state.value},
                    {"state": after.state.value},
                )
            return Answer(payment_id, cancel_status(after), text)

        return finish

    return replayable(await act_once(call, work))


@routes.post("/{paymentId}/verify", **operation("verifyPayment", "payments:write", PaymentOut, "not_found"))
async def verify(call: Current, payment_id: PaymentId) -> Response:
    """Ask the provider now; `nextCheckAt` says when its answer is looked for."""

    async def work() -> Finish:
        await ask_now(call.ctx, call.who, payment_id)
        payment, attempts = await call.db.read(
            lambda tx: (
                store.get(tx, call.who, payment_id),
                attempt_store.of_payments(tx, call.who, [payment_id]),
            )
        )
        checks = [a.next_check_at for a in attempts if a.next_check_at is not None]
        text = text_of(show(call, payment, next_check_at=rfc3339_or_none(min(checks, default=None))))

        def finish(tx: Tx) -> Answer:
            call.note(tx, "payment.verify", payment_id)
            return Answer(payment_id, 200, text)

        return finish

    return replayable(await act_once(call, work))


@routes.post(
    "/{paymentId}/resolve",
    **operation(
        "resolvePayment",
        "admin",
        PaymentOut,
        "not_found",
        "invalid_state",
        "transaction_required",
        "transaction_unknown",
        "nothing_to_refund",
        "currencies_differ",
    ),
)
async def resolve(call: Current, payment_id: PaymentId, body: DecisionIn) -> Response:
    """Decide about a payment in review, or settle any unpaid one by hand (ACCEPT); marked so for ever."""

    def work(tx: Tx) -> Answer:
        resolved = resolve_payment(person(call), payment_id, body.order(), tx)
        assert resolved.payment is not None
        return Answer(payment_id, 200, text_of(show(call, resolved.payment)))

    return replayable(await write_once(call, work))


@routes.get(
    "/{paymentId}/timeline", **operation("getPaymentTimeline", "payments:read", TimelineOut, "not_found")
)
async def timeline(call: Current, payment_id: PaymentId) -> Response:
    """How the payment came to its state."""

    def look(tx: Tx) -> list[store.Move]:
        store.get(tx, call.who, payment_id)
        return store.moves_of(tx, call.who, payment_id)

    return answer(TimelineOut(data=[_move_out(move) for move in await call.db.read(look)]))


@routes.get(
    "/{paymentId}/attempts", **operation("listPaymentAttempts", "payments:read", AttemptsOut, "not_found")
)
async def attempts_of(call: Current, payment_id: PaymentId) -> Response:
    """The checkouts of the payment."""

    def look(tx: Tx) -> list[Attempt]:
        store.get(tx, call.who, payment_id)
        return attempt_store.of_payments(tx, call.who, [payment_id])

    return answer(AttemptsOut(data=[_attempt_out(attempt) for attempt in await call.db.read(look)]))


@routes.get(
    "/{paymentId}/verifications",
    **operation("listPaymentVerifications", "payments:read", VerificationsOut, "not_found"),
)
async def verifications(call: Current, payment_id: PaymentId) -> Response:
    """What the providers were asked, what they said, what was decided."""

    def look(tx: Tx) -> list[Verification]:
        store.get(tx, call.who, payment_id)
        return proof_store.verifications_of(tx, call.who, payment_id)

    return answer(VerificationsOut(data=[_verification_out(row) for row in await call.db.read(look)]))


def _shown(call: Call, payment: Payment) -> Finish:
    text = text_of(show(call, payment))
    return lambda _tx: Answer(payment.id, 200, text)


def _move_out(move: store.Move) -> MoveOut:
    return MoveOut(
        seq=move.seq,
        from_state=None if move.from_state is None else move.from_state.value,
        to_state=move.to_state.value,
        actor=move.actor,
        reason=move.reason,
        attempt_id=move.attempt_id,
        at=rfc3339(move.at),
    )


def _attempt_out(attempt: Attempt) -> AttemptOut:
    return AttemptOut(
        id=attempt.id,
        provider=attempt.provider,
        connection_id=attempt.connection_id,
        state=attempt.state.value,
        provider_reference=attempt.provider_reference,
        checkout_id=attempt.checkout_id,
        next_check_at=rfc3339_or_none(attempt.next_check_at),
        last_asked_at=rfc3339_or_none(attempt.last_asked_at),
        last_outcome=attempt.last_outcome,
        silent_since=rfc3339_or_none(attempt.silent_since),
        created_at=rfc3339(attempt.created_at),
        ended_at=rfc3339_or_none(attempt.ended_at),
    )


def _verification_out(row: Verification) -> VerificationOut:
    return VerificationOut(
        id=row.id,
        attempt_id=row.attempt_id,
        trigger=row.trigger.upper(),
        outcome=row.outcome,
        decision=row.decision,
        detail=row.detail,
        amount=row.amount,
        currency=row.currency,
        duration_ms=row.duration_us // MILLISECOND,
        count=row.count,
        first_at=rfc3339(row.first_at),
        last_at=rfc3339(row.last_at),
    )
