"""The public side of a payment: start a checkout, cancel, and the QR code of its page."""

import io
from collections.abc import Mapping
from typing import Annotated

import segno
from fastapi import Path
from pydantic import ConfigDict, Field
from starlette.responses import Response

from paystate.domain.payments import Payment, store
from paystate.entrypoints.api.answers import replayable, text_of
from paystate.entrypoints.api.fields import In, Out
from paystate.entrypoints.api.guard import PUBLIC, Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import Finish, act_once
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.start_checkout import Checkout, start_checkout
from paystate.kit.clock import monotonic, rfc3339_or_none
from paystate.kit.errors import NotFound, TooMany
from paystate.kit.ids import MerchantId, System, is_id, is_short_code
from paystate.machinery.idempotency import Answer
from paystate.machinery.rate_limits import address_key

WHO = System("public payment link")
QR_SCALE = 8
QR_BORDER = 2
SHORT_CODE = r"^[0-9a-hjkmnp-tv-z]{26}$"
ShortCode = Annotated[str, Path(alias="shortCode", pattern=SHORT_CODE)]
IdOrCode = Annotated[str, Path(alias="idOrCode", max_length=64)]
routes = router("/api/payment-links", "Payment links")


class CheckoutIn(In):
    """Which provider; without one, the merchant's first that fits."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"provider": "sandbox"}]})

    provider: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]+$")] | None = None


class FormOut(Out):
    """A form for the customer's browser to post."""

    url: str
    fields: Mapping[str, str]


class CheckoutOut(Out):
    """Where the customer goes. While the provider has not answered, all three are null: look again at `nextCheckAt`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "attemptId": "att_06d3p3zv4kqg8c5x2m7w9t1nre",
                    "provider": "sandbox",
                    "redirectUrl": "https://provider.example/checkout/1",
                    "form": None,
                    "instructions": None,
                    "nextCheckAt": "2026-11-20T10:00:02Z",
                }
            ]
        }
    )

    attempt_id: str
    provider: str
    redirect_url: str | None
    form: FormOut | None
    instructions: FormOut | None
    next_check_at: str | None


class LinkOut(Out):
    """What the public may know of a payment after asking for its end."""

    short_code: str
    state: str
    cancel_requested_at: str | None


@routes.post(
    "/{shortCode}/checkout",
    **operation(
        "startCheckout",
        PUBLIC,
        CheckoutOut,
        "not_found",
        "invalid_state",
        "limit_reached",
        "PENDING_SAME_BUNDLE",
        "provider_not_configured",
        "currency_not_supported_by_provider",
        "amount_below_minimum",
        "provider_refused",
        "provider_unavailable",
        also=(202,),
    ),
)
async def checkout(call: Current, short_code: ShortCode, body: CheckoutIn | None = None) -> Response:
    """Start paying. Of concurrent calls all answer the same checkout; 202 when the provider has not answered yet."""
    payment = await _link(call, short_code)
    provider = None if body is None else body.provider

    async def work() -> Finish:
        started = await start_checkout(call.ctx, WHO, short_code, provider)
        shown = text_of(_checkout_out(started))
        return lambda _tx: Answer(started.attempt.id, 200 if started.offer is not None else 202, shown)

    return replayable(await act_once(call, work, owner=MerchantId(payment.merchant_id)))


@routes.post(
    "/{shortCode}/cancel",
    **operation("cancelPaymentLink", PUBLIC, LinkOut, "not_found", "invalid_state", also=(202,)),
)
async def cancel(call: Current, short_code: ShortCode) -> Response:
    """The customer's own cancel. 202 while the provider has not said how the checkout ended."""
    payment = await _link(call, short_code)

    async def work() -> Finish:
        ended = await cancel_payment(call.ctx, WHO, payment.id, actor="customer")
        shown = LinkOut(
            short_code=ended.short_code,
            state=ended.state.value,
            cancel_requested_at=rfc3339_or_none(ended.cancel_requested_at),
        )
        return lambda _tx: Answer(ended.id, cancel_status(ended), text_of(shown))

    return replayable(await act_once(call, work, owner=MerchantId(payment.merchant_id)))


@routes.get(
    "/{idOrCode}/qr.svg",
    **operation("getPaymentLinkQr", PUBLIC, None, "not_found"),
    response_class=Response,
)
async def qr(call: Current, id_or_code: IdOrCode) -> Response:
    """The address of the pay page as a QR code."""
    payment = await _link(call, id_or_code)
    base = call.desk.app.settings.public_url.rstrip("/")
    picture = io.BytesIO()
    segno.make(f"{base}/pay/{payment.short_code}", error="m").save(
        picture, kind="svg", scale=QR_SCALE, border=QR_BORDER, xmldecl=False
    )
    return Response(picture.getvalue(), media_type="image/svg+xml")


def cancel_status(payment: Payment) -> int:
    """202 while a wish to cancel waits for the provider."""
    undecided = payment.state.value in ("OPEN", "PENDING_VERIFICATION", "FAILED")
    return 202 if payment.cancel_requested_at is not None and undecided else 200


async def _link(call: Call, id_or_code: str) -> Payment:
    """The payment behind a link; addresses that keep missing are turned away (T25)."""
    try:
        if not (is_short_code(id_or_code) or is_id("pay", id_or_code)):
            raise NotFound("There is no such payment link.")
        return await call.db.read(lambda tx: store.find_link(tx, WHO, id_or_code))
    except NotFound:
        misses = call.desk.limits.misses
        hit = misses.hit(address_key(call.facts.address), monotonic())
        if not hit.allowed:
            call.facts.rate_headers = misses.headers(hit)
            raise TooMany("Too many unknown links.", retry_after_seconds=hit.retry_after_seconds) from None
        raise


def _checkout_out(started: Checkout) -> CheckoutOut:
    offer = started.offer
    form = None if offer is None else FormOut(url=offer.url, fields=dict(offer.fields))
    return CheckoutOut(
        attempt_id=started.attempt.id,
        provider=started.attempt.provider,
        redirect_url=offer.url if offer is not None and offer.kind == "redirect" else None,
        form=form if offer is not None and offer.kind == "form" else None,
        instructions=form if offer is not None and offer.kind == "instructions" else None,
        next_check_at=rfc3339_or_none(started.attempt.next_check_at),
    )
