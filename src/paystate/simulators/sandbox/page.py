"""The page of Sandbox Pay where a customer decides what happens to a checkout."""

from html import escape

from aiohttp import web

from paystate.kit.money import major_units
from paystate.simulators.sandbox.acts import Acts, Payment, payable
from paystate.simulators.sandbox.objects import Checkout, Status
from paystate.simulators.stage import Stage

SLOW_SECONDS = 5
MAX_SLOW_SECONDS = 600
OTHER_CURRENCY = {"EUR": "USD"}
FALLBACK_CURRENCY = "EUR"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SAYS = {
    Status.OPEN: "Waiting for your payment",
    Status.PROCESSING: "Your payment is being processed",
    Status.PAID: "This checkout is paid",
    Status.FAILED: "The payment failed",
    Status.EXPIRED: "This checkout has expired",
    Status.CLOSED: "This checkout was closed",
    Status.REFUNDED: "This checkout was paid and refunded",
}
_BUTTONS = (
    ("pay_slowly", "Pay slowly", f"Processing for {SLOW_SECONDS} seconds, then paid"),
    ("pay_and_close", "Pay and close the tab", "Paid, but the browser never returns"),
    ("decline", "Decline", "The bank says no; try again"),
    ("fail", "Fail", "Over for good"),
    ("pay_wrong_amount", "Pay a wrong amount", "Half of what is asked"),
    ("pay_other_currency", "Pay in another currency", "Same number, other money"),
    ("leave", "Leave without paying", "Back to the shop"),
    ("expire", "Expire", "Time runs out now"),
)
_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:#f3f4f6;color:#1c2430;font:16px/1.5 system-ui,sans-serif}
main{max-width:34rem;margin:0 auto;padding:1rem}
.brand{display:flex;justify-content:space-between;align-items:center;padding:.5rem 0 1rem;font-weight:600}
.tag{font-size:.75rem;font-weight:600;background:#fde68a;color:#713f12;border-radius:1rem;padding:.125rem .625rem}
.card{background:#fff;border:1px solid #d9dde3;border-radius:.75rem;padding:1.25rem;margin-bottom:1rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
p{margin:0}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:1rem 0 0;font-size:.9375rem}
dt{color:#5b6675}
dd{margin:0;text-align:right;overflow-wrap:anywhere}
.note{background:#fef2f2;border:1px solid #fecaca;color:#991b1b;border-radius:.5rem;padding:.625rem .875rem;margin-top:1rem}
.grid{display:grid;grid-template-columns:1fr;gap:.625rem}
@media(min-width:30rem){.grid{grid-template-columns:1fr 1fr}}
button{width:100%;min-height:44px;font:inherit;text-align:left;cursor:pointer;border-radius:.5rem;padding:.5rem .875rem;
border:1px solid #c3c9d2;background:#fff;color:inherit}
button:hover{border-color:#5b6675}
button:focus-visible,a:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}
button small{display:block;color:#5b6675}
.pay button{background:#14532d;border-color:#14532d;color:#fff;text-align:center;font-weight:600;font-size:1.125rem;
padding:.75rem}
.pay{margin-bottom:1rem}
h2{font-size:1rem;margin:0 0 .75rem}
a{color:#1d4ed8}
"""


class CheckoutPage:
    """``GET /checkout/{id}`` and the form behind each of its buttons."""

    def __init__(self, stage: Stage, acts: Acts) -> None:
        self._stage = stage
        self._acts = acts

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/checkout/{id}", self.show), web.post("/checkout/{id}/act", self.act)]

    async def show(self, request: web.Request) -> web.Response:
        return _page(self._checkout(request))

    async def act(self, request: web.Request) -> web.Response:
        form = await request.post()
        checkout = self._checkout(request)
        act = str(form.get("act", ""))
        if act == "leave":
            return _see_other(checkout.cancel_url)
        if not payable(checkout):
            return _page(checkout, status=409)
        return _see_other(self._carry_out(act, checkout, str(form.get("seconds", SLOW_SECONDS))))

    def _checkout(self, request: web.Request) -> Checkout:
        checkout = self._acts.found(request.match_info["id"])
        if checkout is None:
            raise web.HTTPNotFound(text=_NOT_FOUND, content_type="text/html", headers=_HEADERS)
        return checkout

    def _carry_out(self, act: str, checkout: Checkout, seconds: str) -> str:
        """Where the browser goes after the act."""
        here = f"/checkout/{checkout.id}"
        match act:
            case "pay" | "pay_and_close":
                self._acts.pay(checkout)
                return here if act == "pay_and_close" else checkout.return_url
            case "pay_wrong_amount":
                self._acts.pay(checkout, Payment(amount=checkout.amount // 2))
            case "pay_other_currency":
                other = OTHER_CURRENCY.get(checkout.currency, FALLBACK_CURRENCY)
                self._acts.pay(checkout, Payment(currency=other))
            case "pay_slowly":
                self._acts.process(checkout, _seconds(seconds))
            case _:
                self._stay(act, checkout)
                return here
        return checkout.return_url

    def _stay(self, act: str, checkout: Checkout) -> None:
        match act:
            case "decline":
                self._acts.decline(checkout)
            case "fail":
                self._acts.end(checkout, Status.FAILED)
            case "expire":
                self._acts.end(checkout, Status.EXPIRED)
            case _:
                raise web.HTTPUnprocessableEntity(text="There is no such act.")


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit():
        raise web.HTTPUnprocessableEntity(text="seconds is a whole number.")
    return min(int(text[:4]), MAX_SLOW_SECONDS)


def _see_other(url: str) -> web.Response:
    return web.Response(status=303, headers={**_HEADERS, "Location": url})


def _page(checkout: Checkout, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=_html(checkout), content_type="text/html", headers=_HEADERS)


def _html(checkout: Checkout) -> str:
    amount = f"{checkout.currency} {major_units(checkout.amount, checkout.currency)}"
    mode = "live" if checkout.live else "test money"
    rest = _forms(checkout, amount) if payable(checkout) else _way_back(checkout)
    return _frame(
        f"""<div class="brand"><span>Sandbox Pay</span><span class="tag">{mode}</span></div>
<section class="card"><h1>{escape(amount)}</h1><p>{escape(checkout.description)}</p>
<dl><dt>Reference</dt><dd>{escape(checkout.reference)}</dd><dt>Status</dt><dd>{checkout.status.value}</dd></dl>
{_decline_note(checkout)}</section>
{rest}"""
    )


def _decline_note(checkout: Checkout) -> str:
    if checkout.decline is None or not payable(checkout):
        return ""
    return f'<p class="note" role="alert">Declined: {escape(checkout.decline.code)}. You can try again.</p>'


def _forms(checkout: Checkout, amount: str) -> str:
    others = "\n".join(
        f'<form method="post" action="/checkout/{checkout.id}/act"><input type="hidden" name="act" value="{act}">'
        f"<button>{label}<small>{hint}</small></button></form>"
        for act, label, hint in _BUTTONS
    )
    return f"""<form class="pay" method="post" action="/checkout/{checkout.id}/act">
<input type="hidden" name="act" value="pay"><button>Pay {escape(amount)}</button></form>
<section class="card"><h2>Or see what else can happen</h2><div class="grid">{others}</div></section>"""


def _way_back(checkout: Checkout) -> str:
    paid = checkout.status not in {Status.FAILED, Status.EXPIRED, Status.CLOSED}
    url = checkout.return_url if paid else checkout.cancel_url
    return f"""<section class="card"><h2>{_SAYS[checkout.status]}</h2>
<p>Nothing more can be done here. You can close this tab or
<a href="{escape(url)}" rel="noreferrer">go back to the shop</a>.</p></section>"""


def _frame(content: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sandbox Pay</title><style>{_STYLE}</style></head><body><main>{content}</main></body></html>"""


_NOT_FOUND = _frame('<section class="card"><h1>Not found</h1><p>There is no such checkout.</p></section>')
