"""A till takes money: what every simulator of a checkout provider stands on. Amounts inside are always minor units.

How to write a simulator `acme` on it, as `simulators/acme/` (the sandbox is the smallest example, Stripe a full one):

1. `dialect.py`: `class AcmeDialect(Dialect)` with `brand`, `accounts` (the first is the default; its keys are published),
   `messages(happening)` (the webhooks of a happening: none, one or several, each with its exact bytes), and whatever
   differs of: `sign` (headers; `Content-Type` may be among them), `signing_secret`, `webhook_url` (default: the
   checkout's, else the account's, which `POST /_control/accounts {account, webhookUrl}` sets), `key_of` (default Bearer),
   `read_body` (default JSON; `bodies.read_form` knows brackets), `error` (translate our codes too: invalid_key 401,
   invalid_json, not_found, already_paid, rate_limited, internal_error, bad_gateway, unavailable), `not_found`, `headers`,
   `new_id`, `transaction_id`, `fee`, `page_path`, `cards`, `landing` (where the browser goes after an act on the page;
   `Landing.fields` makes it a form that posts itself), `unknown_status`, `reset`, `operations` (add "token" for OAuth;
   `lend_token` and `expire_tokens` are there).
   The contract suite (`tests/contract/`) runs on every adapter that is found, and asks the dialect what it cannot know:
   `connection_fields(account)` (what a merchant types in; `GET /_control/connection` answers it), `wrong_fields` (per
   field a value that is refused), `untold` (lies about a payment that no answer can show, each with the reason),
   `open_after_decline`, `signed_with` and `sends_unsigned` (which of its accounts sign), `vectors` (published
   signatures), `landing_extra` (where all browsers of an account come back to one address).
2. `api.py`: functions `(call: Call) -> Answer`, each in an `Operation(name, act, subject, keys=…)`. `call.body` is the
   parsed body, `call.raw` the bytes, `call.owner` the account. Refuse with `raise refuse(code, message, status, **details)`.
   `keys=Keys(…)` where the provider has idempotency keys. `public=True` without credentials, `raw=True` for other bodies
   than JSON and forms; `Answer(200, b"…", content_type="text/xml")` for other answers. Names of operations are start, ask,
   list, close, refund, ask_refund, account (+ token): faults are aimed at them.
3. Show objects in the provider's shape from `Checkout`, `Transaction`, `Refund`, `Decline`; what only this provider keeps
   goes into `checkout.extra` and `refund.extra`. If somebody lied about a payment, `transaction` says what arrived.
4. `provider.py`: `create_simulator(stage)` builds `till = Till(stage, AcmeDialect(stage))`, calls
   `till.serve("POST", "/v1/things", operation)` for each call and returns the till; export it in `__init__.py`.

State: `till.state` finds (`checkouts.get/page/newest`, `of_reference`, `transaction`, `newest_transactions`, `refunds_of`,
`refundable`), `till.acts` does (`opened`, `pay`, `process`, `decline`, `end`, `close`, `refund`, `dispute`, `look`).
Answer a start with `first=lambda: till.acts.tell_early(checkout)`, or the `early` fault has no effect. Ask with
`till.own_checkout(call, id)` or `till.acts.look(row)`: that is when an open checkout expires.

Nothing else is needed: page, faults (`stale` runs the question again in the past), `/_control/*`, record file and
webhook retries come with the till. `act` must not wait, and must change nothing on a GET.
"""

from paystate.simulators.till.acts import Acts, Payment
from paystate.simulators.till.dialect import (
    OPERATIONS,
    Card,
    Dialect,
    Happening,
    Landing,
    Lie,
    Message,
    Vector,
)
from paystate.simulators.till.machine import Till, about
from paystate.simulators.till.objects import (
    ENDED_UNPAID,
    Account,
    Checkout,
    Decline,
    Refund,
    RefundStatus,
    Status,
    Transaction,
)

__all__ = [
    "ENDED_UNPAID",
    "OPERATIONS",
    "Account",
    "Acts",
    "Card",
    "Checkout",
    "Decline",
    "Dialect",
    "Happening",
    "Landing",
    "Lie",
    "Message",
    "Payment",
    "Refund",
    "RefundStatus",
    "Status",
    "Till",
    "Transaction",
    "Vector",
    "about",
]
