"""The payments of a merchant: create, list, read, change."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator
from starlette.responses import Response

from paystate.domain.payments import Payment, PaymentFilter, State, store
from paystate.entrypoints.api.answers import (
    PageOut,
    page_answer,
    page_request,
    replayable,
    text_of,
    versioned,
)
from paystate.entrypoints.api.fields import Moment, PageQuery, QueryText, refused
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.payment_fields import (
    STATES,
    PaymentIn,
    PaymentOut,
    payment_out,
    refuse_foreign_urls,
)
from paystate.flows.create_payment import Created, NewPayment, check_expiry, create_payment
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer, Stored, once

CREATE_PROBLEMS = (
    "not_found",
    "duplicate_reference",
    "PENDING_SAME_BUNDLE",
    "customer_conflict",
    "provider_not_configured",
    "currency_not_supported_by_provider",
    "amount_below_minimum",
)
ID_PATTERN = r"^pay_[0-7][0-9a-hjkmnp-tv-z]{25}$"
PaymentId = Annotated[str, Path(alias="paymentId", pattern=ID_PATTERN)]
routes = router("/api/payments", "Payments")
_Work = Callable[[Tx], Created]


class PaymentsQuery(PageQuery):
    """What a list of payments may be narrowed by."""

    state: STATES | None = None
    customer_id: QueryText | None = None
    bundle_id: QueryText | None = None
    reference: QueryText | None = None
    provider: QueryText | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None

    def narrowed(self) -> PaymentFilter:
        return PaymentFilter(
            state=None if self.state is None else State(self.state),
            customer_id=self.customer_id,
            bundle_id=self.bundle_id,
            reference=self.reference,
            provider=self.provider,
            created_from=self.created_from,
            created_to=self.created_to,
        )


def _window(query: PaymentsQuery) -> PaymentsQuery:
    if (
        query.created_from is not None
        and query.created_to is not None
        and query.created_from > query.created_to
    ):
        raise refused("invalid_query", "createdFrom lies after createdTo.")
    return query


@routes.post(
    "", **operation("createPayment", "payments:write", PaymentOut, *CREATE_PROBLEMS, status=201, also=(200,))
)
async def create(call: Current, body: PaymentIn) -> Response:
    """Create a payment and its link. With `onConflict: RETURN_EXISTING`, 200 answers the one that holds the slot."""
    if body.return_url is not None or body.cancel_url is not None:
        refuse_foreign_urls(
            await call.merchant(),
            call.desk.app.settings.env == "production",
            returnUrl=body.return_url,
            cancelUrl=body.cancel_url,
        )
    new, slot = body.new_payment(), call.slot()

    def keep(tx: Tx, work: _Work) -> Stored:
        return once(tx, slot, lambda tx: _created(call, new, tx, work))

    stored: Stored = await create_payment(call.ctx, call.who, new, actor=call.caller.actor, keep=keep)
    return replayable(stored)


def _created(call: Call, new: NewPayment, tx: Tx, work: _Work) -> Answer:
    if new.expires_in is not None or new.expires_at is not None:
        check_expiry(tx.now, expires_in=new.expires_in, expires_at=new.expires_at)
    made = work(tx)
    shown = show(call, made.payment, warnings=list(made.warnings))
    return Answer(made.payment.id, 200 if made.existing else 201, text_of(shown))


@routes.get("", **operation("listPayments", "payments:read", PageOut[PaymentOut]))
async def list_all(
    call: Current, query: Annotated[PaymentsQuery, Query(), AfterValidator(_window)]
) -> Response:
    """The merchant's payments, newest first."""
    page = page_request(call, "payments", query)
    found = await call.db.read(lambda tx: store.list_page(tx, call.who, page, query.narrowed()))
    return page_answer(call, "payments", found, lambda payment: show(call, payment))


@routes.get("/{paymentId}", **operation("getPayment", "payments:read", PaymentOut, "not_found"))
async def get_one(call: Current, payment_id: PaymentId) -> Response:
    """One payment, with a weak ETag of its version."""
    payment = await call.db.read(lambda tx: store.get(tx, call.who, payment_id))
    return versioned(call.request, show(call, payment), payment.version)


def show(call: Call, payment: Payment, **more: object) -> PaymentOut:
    """The payment as this installation shows it."""
    return payment_out(call.desk.app.settings.public_url, payment, **more)
