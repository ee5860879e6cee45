"""How the pages of a till look: plain HTML forms, one style, no script but the one that posts a form back."""

from html import escape

from paystate.kit.money import major_units
from paystate.simulators.till.acts import payable
from paystate.simulators.till.dialect import Card, Dialect, Landing
from paystate.simulators.till.objects import ENDED_UNPAID, Checkout, Status

SLOW_SECONDS = 5
CARDS_SHOWN = 12

_SAYS = {
    Status.OPEN: "Waiting for your payment",
    Status.PROCESSING: "Your payment is being processed",
    Status.PAID: "This checkout is paid",
    Status.FAILED: "The payment failed",
    Status.EXPIRED: "This checkout has expired",
    Status.CLOSED: "This checkout was closed",
    Status.REFUNDED: "This checkout was paid and refunded",
}
_CARD_SAYS = {
    "pay": "pays",
    "decline": "is declined",
    "process": f"is processed for {SLOW_SECONDS} seconds, then pays",
    "fail": "fails for good",
    "dispute": "pays, then disputes",
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
label{display:block;font-size:.875rem;color:#5b6675}
input{width:100%;min-height:44px;font:inherit;border:1px solid #c3c9d2;border-radius:.5rem;padding:.5rem .75rem;color:#1c2430}
ul{margin:.75rem 0 0;padding-left:1.25rem;font-size:.875rem;color:#5b6675}
button{width:100%;min-height:44px;font:inherit;text-align:left;cursor:pointer;border-radius:.5rem;padding:.5rem .875rem;
border:1px solid #c3c9d2;background:#fff;color:inherit}
button:hover{border-color:#5b6675}
button:focus-visible,a:focus-visible,input:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}
button small{display:block;color:#5b6675}
.pay button{background:#14532d;border-color:#14532d;color:#fff;text-align:center;font-weight:600;font-size:1.125rem;
padding:.75rem}
.pay{margin-bottom:1rem}
.by-card button{margin-top:.75rem;text-align:center;font-weight:600}
h2{font-size:1rem;margin:0 0 .75rem}
a{color:#1d4ed8}
"""


def checkout_html(dialect: Dialect, checkout: Checkout, back: Landing | None, *, wrong: str) -> str:
    """The page of one checkout: what to pay and how, or that nothing more can be done."""
    amount = f"{checkout.currency} {major_units(checkout.amount, checkout.currency)}"
    mode = "live" if checkout.live else "test money"
    action = f"{dialect.page_path}/{checkout.id}/act"
    rest = _forms(dialect, action, amount) if payable(checkout) else _way_back(checkout, action, back)
    return _frame(
        dialect.brand,
        f"""<div class="brand"><span>{escape(dialect.brand)}</span><span class="tag">{mode}</span></div>
<section class="card"><h1>{escape(amount)}</h1><p>{escape(checkout.description)}</p>
<dl><dt>Reference</dt><dd>{escape(checkout.reference)}</dd><dt>Status</dt><dd>{checkout.status.value}</dd></dl>
{_notes(checkout, wrong)}</section>
{rest}""",
    )


def posting_html(brand: str, landing: Landing, nonce: str) -> str:
    """A page that posts its form at once, or when its button is pressed."""
    return _frame(
        brand,
        f"""<section class="card"><h2>Back to the shop</h2>{_posted(landing)}</section>
<script nonce="{nonce}">document.forms[0].submit()</script>""",
    )


def not_found_html(brand: str) -> str:
    return _frame(
        brand, '<section class="card"><h1>Not found</h1><p>There is no such checkout.</p></section>'
    )


def _notes(checkout: Checkout, wrong: str) -> str:
    said = []
    if checkout.decline is not None and payable(checkout):
        said.append(f"Declined: {checkout.decline.code}. You can try again.")
    if wrong:
        said.append(wrong)
    return "".join(f'<p class="note" role="alert">{escape(note)}</p>' for note in said)


def _forms(dialect: Dialect, action: str, amount: str) -> str:
    others = "\n".join(_button(action, act, label, hint) for act, label, hint in _BUTTONS)
    return f"""<form class="pay" method="post" action="{escape(action)}">
<input type="hidden" name="act" value="pay"><button>Pay {escape(amount)}</button></form>
{_card_form(dialect, action)}
<section class="card"><h2>Or see what else can happen</h2><div class="grid">{others}</div></section>"""


def _card_form(dialect: Dialect, action: str) -> str:
    known = "".join(_card_line(number, card) for number, card in list(dialect.cards.items())[:CARDS_SHOWN])
    return f"""<section class="card"><h2>Pay with a test card</h2>
<form class="by-card" method="post" action="{escape(action)}"><input type="hidden" name="act" value="pay_by_card">
<label>Card number<input name="number" inputmode="numeric" autocomplete="off" required maxlength="23"></label>
<div class="grid"><label>Expiry (MM/YY)<input name="expiry" autocomplete="off" required maxlength="7"></label>
<label>Security code<input name="cvc" inputmode="numeric" autocomplete="off" maxlength="4"></label></div>
<button>Pay by card</button></form>
<ul>{known}<li>Any other number pays; a date in the past is declined.</li></ul></section>"""


def _card_line(number: str, card: Card) -> str:
    spaced = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    code = f" ({escape(card.code)})" if card.act == "decline" else ""
    return f"<li>{spaced} {_CARD_SAYS[card.act]}{code}</li>"


def _button(action: str, act: str, label: str, hint: str) -> str:
    return (
        f'<form method="post" action="{escape(action)}"><input type="hidden" name="act" value="{act}">'
        f"<button>{label}<small>{hint}</small></button></form>"
    )


def _way_back(checkout: Checkout, action: str, back: Landing | None) -> str:
    late = ""
    if checkout.status in ENDED_UNPAID:
        late = _button(action, "pay_late", "Pay late", "The money arrives although this is over")
    return f"""<section class="card"><h2>{_SAYS[checkout.status]}</h2>
<p>You can close this tab, or go back.</p>{_link(back)}</section>{late}"""


def _link(back: Landing | None) -> str:
    if back is None:
        return ""
    if back.fields is not None:
        return _posted(back)
    return f'<p><a href="{escape(back.url)}" rel="noreferrer">Go back to the shop</a></p>'


def _posted(landing: Landing) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in (landing.fields or {}).items()
    )
    return f'<form method="post" action="{escape(landing.url)}">{fields}<button>Go back to the shop</button></form>'


def _frame(brand: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(brand)}</title><style>{_STYLE}</style></head><body><main>{content}</main></body></html>"""
