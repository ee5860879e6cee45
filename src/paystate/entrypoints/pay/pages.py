"""The payment's page in every state, and the landing views of its three ends."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paystate.domain.payments import State
from paystate.domain.payments.states import FINAL
from paystate.entrypoints.pay.answers import Desk, Page
from paystate.entrypoints.pay.finding import Found, checkout_origins, find_payment
from paystate.entrypoints.pay.watching import watched
from paystate.entrypoints.pay.words import view_of, web_link


class PaymentPages:
    """``/pay/{shortCode}`` and its ends. A landing view never claims a state the database does not have."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show(self, request: Request) -> Response:
        return self._page(await find_payment(self._desk, request))

    async def expired(self, request: Request) -> Response:
        """The end of the link, or, while the payment lives, only of the page (A6): nothing about it has changed."""
        found = await find_payment(self._desk, request)
        if found.payment.state in FINAL:
            return self._page(found)
        return self._desk.html(
            "message.html",
            title="This page has timed out",
            text=f"Your payment has not changed: {view_of(found.payment, found.now).words.label}.",
            icon="hourglass",
            tone="orange",
            back=found.home,
            back_label="Open the payment again",
            code=None,
        )

    def _page(self, found: Found) -> Response:
        payment, settings = found.payment, self._desk.app.settings
        values = watched(found, settings)
        methods = found.connections if values["view"].can_pay else []
        shop = payment.return_url if payment.state is State.PAID else payment.cancel_url or payment.return_url
        return self._desk.html(
            "payment.html",
            form_origins=checkout_origins(self._desk.app.ctx, methods),
            methods=[connection.provider for connection in methods],
            is_test=bool(methods) and not any(connection.live for connection in methods),
            shop_url=web_link(shop) if payment.state in FINAL else None,
            longest_wait=_duration(settings.pending_verification_limit_minutes),
            **values,
        )


def _duration(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    if hours and not rest:
        return "1 hour" if hours == 1 else f"{hours} hours"
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def routes(desk: Desk) -> list[Route]:
    """The pages that only show."""
    pages = PaymentPages(desk)
    show = Page(desk, pages.show)
    return [
        Route("/pay/{short_code}/success", show),
        Route("/pay/{short_code}/canceled", show),
        Route("/pay/{short_code}/expired", Page(desk, pages.expired)),
        Route("/pay/{short_code}", show),
    ]
