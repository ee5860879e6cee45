"""How Netcash speaks: GUIDs, unsigned forms to fixed addresses, and browsers that come back by POST."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from aiohttp import web

from paystate.kit.clock import Instant
from paystate.simulators.bodies import read_form
from paystate.simulators.fault_answers import UNKNOWN_STATUS
from paystate.simulators.netcash.postback import (
    CANCELLED,
    LATER_TRY,
    Saying,
    fields,
    first_trace,
    newest,
    trace_number,
)
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.till import Account, Card, Checkout, Dialect, Happening, Landing, Message, Status
from paystate.simulators.till.dialect import Kind, Lie

FORM = "application/x-www-form-urlencoded"
SERVICE_KEY = "5e2f1c8a-3b7d-4f60-9a1e-0c4d8b7a6f52"
ACCOUNT_SERVICE_KEY = "b91d7e04-6c52-4a8f-8e33-2f6a9d1c7b40"
_TOLD = frozenset(
    {"checkout.paid", "checkout.processing", "checkout.declined", "checkout.failed", "checkout.closed"}
)


class NetcashDialect(Dialect):
    """One service profile per account: `extra` holds its fixed addresses and the key of the account service."""

    brand = "Netcash Pay Now"
    accounts = (
        Account(
            id="acct_netcash",
            live=True,
            webhook_secret="",
            keys=(SERVICE_KEY,),
            extra={"accountServiceKey": ACCOUNT_SERVICE_KEY, "acceptUrl": "", "declineUrl": ""},
        ),
    )
    page_path = "/site/pay"
    cards: Mapping[str, Card] = {
        "4000000000000002": Card("decline", "do_not_honour"),
        "5200000000000114": Card("decline", "insufficient_funds"),
    }
    wrong_fields: Mapping[str, str] = {
        "serviceKey": "not-a-guid",
        "accountServiceKey": "00000000-0000-4000-8000-000000000000",
    }
    untold: Mapping[Lie, str] = {
        "currency": "every amount is in rand and carries no currency",
        "live": "no answer tells the test mode",
        "reference": "an answer about another reference is about another payment",
    }
    open_after_decline = False
    signed_with: Sequence[Mapping[str, str]] = ()
    sends_unsigned = True

    def connection_fields(self, account: Account) -> dict[str, str]:
        fields = {
            "serviceKey": account.keys[-1] if account.keys else "",
            "accountServiceKey": account.extra.get("accountServiceKey", ""),
            "mode": "live" if account.live else "test",
            "payUrl": f"{self.stage.base_url}/site/paynow.aspx",
            "baseUrl": self.stage.base_url,
        }
        return {name: value for name, value in fields.items() if value}

    def messages(self, happening: Happening) -> Iterable[Message]:
        said = newest(happening.checkout)
        if happening.name not in _TOLD or said is None:
            return []
        body = fields(happening.checkout, said)
        if said.accepted and happening.checkout.was_processing:
            body["type"] = "DEPOSITRECEIPT"
        event_id = self.new_id("event", self.accounts[0], happening.at)
        kind = "accepted" if said.accepted else "not accepted"
        return [Message(kind, urlencode(body).encode(), event_id)]

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        del checkout
        return account.webhook_url

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        """Nothing is signed."""
        del secret, body, event_id
        return {"Content-Type": FORM}

    def key_of(self, request: web.Request) -> str | None:
        """Keys are in bodies; the question by trace has none."""
        del request
        return None

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        del request
        return read_form(raw)

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        del code, details
        return Answer(status, {"Message": message})

    def unknown_status(self, body: Any) -> Any:
        if isinstance(body, Mapping) and "TransactionAccepted" in body:
            return {**body, "TransactionAccepted": UNKNOWN_STATUS}
        return body

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        del account, now
        return first_trace(str(uuid4())) if kind == "checkout" else str(uuid4())

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """The trace under which it is paid; what was pending is paid under the trace it was pending with."""
        del now
        if checkout.transaction is None:
            return checkout.id
        return trace_number(checkout.id, LATER_TRY + len(checkout.further))

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """Accepted or not decides on the address; whoever just leaves says "cancelled", which Check does not confirm."""
        said = newest(checkout)
        if act == "leave" and checkout.status is Status.OPEN:
            said = Saying(
                checkout.id,
                accepted=False,
                reason=CANCELLED,
                reference=checkout.reference,
                amount=checkout.amount,
            )
        if said is None:
            return None
        fine = said.accepted or checkout.status is Status.PROCESSING
        url = checkout.return_url if fine else checkout.cancel_url
        return Landing(url, fields(checkout, said)) if url else None

    def landing_extra(self, url: str) -> dict[str, str]:
        return {"acceptUrl": url, "declineUrl": url}
