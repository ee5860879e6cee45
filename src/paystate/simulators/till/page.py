"""The page where a customer decides what happens to a checkout; it works without JavaScript."""

import re
import secrets

from aiohttp import web

from paystate.kit.clock import Instant, as_datetime
from paystate.simulators.stage import Stage
from paystate.simulators.till.acts import Acts, Payment, payable
from paystate.simulators.till.dialect import Card, Dialect, Landing
from paystate.simulators.till.objects import CARD, ENDED_UNPAID, Checkout, Status
from paystate.simulators.till.page_look import SLOW_SECONDS, checkout_html, not_found_html, posting_html

MAX_SLOW_SECONDS = 600
OTHER_CURRENCY = {"EUR": "USD"}
FALLBACK_CURRENCY = "EUR"
EXPIRED_CARD = Card("decline", "expired_card")

_NUMBER = re.compile(r"[0-9]{12,19}\Z")
_EXPIRY = re.compile(r"(0?[1-9]|1[0-2])\s*/?\s*(?:20)?([0-9]{2})\Z")
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class CheckoutPage:
    """``GET …/{id}`` and the form behind each of its buttons."""

    def __init__(self, stage: Stage, acts: Acts, dialect: Dialect) -> None:
        self._stage = stage
        self._acts = acts
        self._dialect = dialect

    def routes(self) -> list[web.RouteDef]:
        here = f"{self._dialect.page_path}/{{id}}"
        return [web.get(here, self.show), web.post(f"{here}/act", self.act)]

    async def show(self, request: web.Request) -> web.Response:
        return self._page(self._checkout(request))

    async def act(self, request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        checkout = self._checkout(request)
        act = form.get("act", "")
        if act == "leave":
            return self._go(checkout, act)
        if not payable(checkout) and not (act == "pay_late" and checkout.status in ENDED_UNPAID):
            return self._page(checkout, status=409)
        if act != "pay_by_card":
            return self._go(self._carried_out(act, checkout, form), act)
        card = self._card(form)
        if isinstance(card, str):
            return self._page(checkout, status=422, wrong=card)
        return self._go(self._by_card(card, checkout), "decline" if card.act == "decline" else act)

    def _checkout(self, request: web.Request) -> Checkout:
        checkout = self._acts.found(request.match_info["id"])
        if checkout is None:
            raise web.HTTPNotFound(
                text=not_found_html(self._dialect.brand),
                content_type="text/html",
                headers={**_HEADERS, "Content-Security-Policy": _policy("")},
            )
        return checkout

    def _carried_out(self, act: str, checkout: Checkout, form: dict[str, str]) -> Checkout:
        match act:
            case "pay" | "pay_and_close" | "pay_late":
                return self._acts.pay(checkout)
            case "pay_wrong_amount":
                return self._acts.pay(checkout, Payment(amount=checkout.amount // 2))
            case "pay_other_currency":
                other = OTHER_CURRENCY.get(checkout.currency, FALLBACK_CURRENCY)
                return self._acts.pay(checkout, Payment(currency=other))
            case "pay_slowly":
                return self._acts.process(checkout, _seconds(form.get("seconds", str(SLOW_SECONDS))))
            case "decline":
                return self._acts.decline(checkout)
            case "fail":
                return self._acts.end(checkout, Status.FAILED)
            case "expire":
                return self._acts.end(checkout, Status.EXPIRED)
            case _:
                raise web.HTTPUnprocessableEntity(text="There is no such act.")

    def _card(self, form: dict[str, str]) -> Card | str:
        """What this card does, or what is wrong with what was typed."""
        number = re.sub(r"[\s-]", "", form.get("number", ""))
        expiry = _EXPIRY.match(form.get("expiry", "").strip())
        if _NUMBER.match(number) is None:
            return "This is not a card number."
        if expiry is None:
            return "Write the expiry date as MM/YY."
        if _is_over(int(expiry[1]), int(expiry[2]), self._stage.now()):
            return EXPIRED_CARD
        return self._dialect.cards.get(number, Card("pay"))

    def _by_card(self, card: Card, checkout: Checkout) -> Checkout:
        match card.act:
            case "pay":
                return self._acts.pay(checkout, Payment(method=CARD))
            case "dispute":
                return self._acts.dispute(self._acts.pay(checkout, Payment(method=CARD)))
            case "process":
                return self._acts.process(checkout, SLOW_SECONDS)
            case "fail":
                return self._acts.end(checkout, Status.FAILED)
            case "decline":
                return self._acts.decline(checkout, card.code)

    def _go(self, checkout: Checkout, act: str) -> web.Response:
        landing = self._dialect.landing(checkout, act)
        if landing is None:
            return _see_other(f"{self._dialect.page_path}/{checkout.id}")
        return _see_other(landing.url) if landing.fields is None else self._posting(landing)

    def _posting(self, landing: Landing) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        html = posting_html(self._dialect.brand, landing, nonce)
        return _html_answer(html, _policy(f"; script-src 'nonce-{nonce}'"))

    def _page(self, checkout: Checkout, *, status: int = 200, wrong: str = "") -> web.Response:
        html = checkout_html(self._dialect, checkout, self._way_back(checkout), wrong=wrong)
        return _html_answer(html, _policy(""), status=status)

    def _way_back(self, checkout: Checkout) -> Landing | None:
        """To the shop's thanks or to its basket, once nothing more can be done here."""
        if payable(checkout):
            return None
        act = "leave" if checkout.status in ENDED_UNPAID else "pay"
        return self._dialect.landing(checkout, act)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit():
        raise web.HTTPUnprocessableEntity(text="seconds is a whole number.")
    return min(int(text[:4]), MAX_SLOW_SECONDS)


def _is_over(month: int, year: int, now: Instant) -> bool:
    today = as_datetime(now)
    return (2000 + year, month) < (today.year, today.month)


def _see_other(url: str) -> web.Response:
    return web.Response(status=303, headers={**_HEADERS, "Location": url})


def _html_answer(html: str, policy: str, *, status: int = 200) -> web.Response:
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    return web.Response(status=status, text=html, content_type="text/html", headers=headers)


def _policy(more: str) -> str:
    return f"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'{more}"
