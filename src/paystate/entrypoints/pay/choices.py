"""What a customer can choose on the pages: a checkout, to cancel, to start anew; each by POST only."""

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paystate.domain.payments import Attempt, AttemptState, Intent, State, proof_store
from paystate.domain.payments.port import Offer
from paystate.entrypoints.pay.answers import Desk, Page, read_form, see_other
from paystate.entrypoints.pay.finding import WHO, Found, checkout_origins, find_payment
from paystate.entrypoints.pay.instructions import checks_of, qr_of, rows_of
from paystate.entrypoints.pay.watching import watched
from paystate.entrypoints.pay.words import view_of, way_to_pay, web_link
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.create_payment import NewPayment
from paystate.flows.replace_payment import finish_intent
from paystate.flows.start_checkout import start_checkout
from paystate.kit.errors import Conflict, NotFound, Unavailable
from paystate.kit.ids import MerchantId, is_short_code
from paystate.kit.text import origin_of
from paystate.machinery.db import Tx

CANCEL_WORDS = {
    State.PAID: "This payment has already been paid, so it was not canceled.",
    State.REVIEW: "A person is looking at this payment, so it cannot be canceled here.",
    State.EXPIRED: "This payment link has expired; there is nothing left to cancel.",
}
OLD_ONE_WORDS = {
    State.PAID: "The earlier payment has been paid in the meantime. Nothing new was started.",
    State.REVIEW: "A person is looking at the earlier payment. Please do not pay again; nothing new was started.",
}
REPLACE_FAILED = "The earlier payment could not be ended just now. Please try again in a minute."
INTENT_GONE = "This choice is no longer available. Please go back to the shop and start again."


class Checkouts:
    """``/pay/{shortCode}/checkout`` and the page in between where a browser cannot be redirected directly."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def start(self, request: Request) -> Response:
        """POST: to the provider's checkout; a payment that cannot be paid now just shows itself."""
        found = await find_payment(self._desk, request)
        form = dict(await read_form(request))
        ctx = self._desk.app.ctx
        try:
            checkout = await start_checkout(
                ctx,
                WHO,
                found.payment.short_code,
                form.get("provider"),
                instead_of=form.get("insteadOf"),
            )
        except Conflict:
            return see_other(found.home)
        offer = checkout.offer
        if offer is not None and offer.kind == "redirect" and web_link(offer.url) is not None:
            known = checkout_origins(ctx, found.connections)
            if origin_of(offer.url.partition("#")[0]) in known:
                return see_other(offer.url)
        return see_other(f"{found.home}/continue")

    async def back(self, request: Request) -> Response:
        """GET of an address that only takes a button: the page with the button."""
        return see_other((await find_payment(self._desk, request)).home)

    async def proceed(self, request: Request) -> Response:
        """The checkout that was started: a link, a form, or instructions to follow. Acts on nothing."""
        found = await find_payment(self._desk, request)
        attempt = found.offered
        if attempt is None or not view_of(found.payment, found.now).can_pay:
            return see_other(found.home)
        offer = None if attempt.checkout is None else msgspec.json.decode(attempt.checkout, type=Offer)
        if offer is None and attempt.state is not AttemptState.CREATED:
            return see_other(found.home)
        if offer is not None and offer.kind == "instructions":
            return self._instruct(found, attempt, offer)
        url = None if offer is None else web_link(offer.url)
        if offer is not None and url is None:
            raise Unavailable("The payment provider sent no usable address.", code="provider_unavailable")
        return self._continue(found, attempt, offer, url)

    def _continue(self, found: Found, attempt: Attempt, offer: Offer | None, url: str | None) -> Response:
        return self._desk.html(
            "continue.html",
            form_origins=[] if url is None else [origin_of(url.partition("#")[0])],
            payment=found.payment,
            merchant_name=found.merchant_name,
            provider_name=attempt.provider,
            attempt_id=attempt.id,
            is_test=_is_test(found, attempt),
            kind="wait" if offer is None else offer.kind,
            url=url,
            fields={} if offer is None else offer.fields,
            home=found.home,
        )

    def _instruct(self, found: Found, attempt: Attempt, offer: Offer) -> Response:
        return self._desk.html(
            "instructions.html",
            way=way_to_pay(attempt.provider, found.payment.money.currency),
            rows=rows_of(offer.fields),
            checks=checks_of(offer.fields),
            qr=qr_of(offer.fields),
            is_test=_is_test(found, attempt),
            **watched(found, self._desk.app.settings),
        )


def _is_test(found: Found, attempt: Attempt) -> bool:
    return any(c.id == attempt.connection_id and not c.live for c in found.connections)


class Cancels:
    """``/pay/{shortCode}/cancel``: asks first, then cancels."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ask(self, request: Request) -> Response:
        found = await find_payment(self._desk, request)
        if not view_of(found.payment, found.now).can_cancel:
            return see_other(found.home)
        return self._desk.html(
            "cancel.html", payment=found.payment, merchant_name=found.merchant_name, home=found.home
        )

    async def cancel(self, request: Request) -> Response:
        """POST: the page then shows what became of it, or that the provider is silent.

        Raises Conflict, in a customer's words, when it turned out that there is nothing to cancel.
        """
        found = await find_payment(self._desk, request)
        who = MerchantId(found.payment.merchant_id)
        try:
            after = await cancel_payment(self._desk.app.ctx, who, found.payment.id, actor="customer")
        except Conflict as refusal:
            newest = await find_payment(self._desk, request)
            raise Conflict(CANCEL_WORDS.get(newest.payment.state, refusal.detail)) from refusal
        if after.state in CANCEL_WORDS:
            raise Conflict(CANCEL_WORDS[after.state])
        return see_other(found.home)


class Replacements:
    """``/pay/{shortCode}/replace?intent=…``: "Cancel & Start New" in one step (C5)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ask(self, request: Request) -> Response:
        found, intent = await self._kept(request)
        if intent.payment_id is not None:
            return see_other(f"/pay/{(await finish_intent(self._desk.app.ctx, intent.id)).short_code}")
        if found.now > intent.expires_at:
            raise Conflict(INTENT_GONE)
        if found.payment.state in OLD_ONE_WORDS:
            raise Conflict(OLD_ONE_WORDS[found.payment.state])
        return self._desk.html(
            "replace.html",
            payment=found.payment,
            merchant_name=found.merchant_name,
            home=found.home,
            new=msgspec.json.decode(intent.body, type=NewPayment),
            intent=intent.id,
        )

    async def replace(self, request: Request) -> Response:
        """POST: ends the old one at its provider, creates the new one, and goes to its page."""
        _, intent = await self._kept(request)
        try:
            new = await finish_intent(self._desk.app.ctx, intent.id)
        except Conflict as refusal:
            newest = await find_payment(self._desk, request)
            otherwise = INTENT_GONE if newest.now > intent.expires_at else REPLACE_FAILED
            raise Conflict(OLD_ONE_WORDS.get(newest.payment.state, otherwise)) from refusal
        return see_other(f"/pay/{new.short_code}")

    async def _kept(self, request: Request) -> tuple[Found, Intent]:
        """The old payment and the create that was refused because of it. Raises NotFound when they do not belong."""
        found = await find_payment(self._desk, request)
        given = request.query_params.get("intent", "")
        try:
            if not is_short_code(given):
                raise NotFound(INTENT_GONE)
            return found, await self._desk.app.ctx.db.read(partial(_intent, found, given))
        except NotFound:
            self._desk.count_miss(request)
            raise


def _intent(found: Found, intent_id: str, tx: Tx) -> Intent:
    try:
        intent = proof_store.intent(tx, MerchantId(found.payment.merchant_id), intent_id)
    except NotFound:
        raise NotFound(INTENT_GONE) from None
    if intent.conflict_id != found.payment.id:
        raise NotFound(INTENT_GONE)
    return intent


def routes(desk: Desk) -> list[Route]:
    """The pages with a button, and what the button does."""
    checkouts, cancels, replacements = Checkouts(desk), Cancels(desk), Replacements(desk)
    return [
        Route("/pay/{short_code}/checkout", Page(desk, checkouts.back, checkouts.start)),
        Route("/pay/{short_code}/continue", Page(desk, checkouts.proceed)),
        Route("/pay/{short_code}/cancel", Page(desk, cancels.ask, cancels.cancel)),
        Route("/pay/{short_code}/replace", Page(desk, replacements.ask, replacements.replace)),
    ]
