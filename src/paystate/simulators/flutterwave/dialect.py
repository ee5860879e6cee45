"""How Flutterwave speaks: its account, its unsigned events with the shared secret beside them, its envelope of errors."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from paystate.kit.clock import Instant
from paystate.kit.ids import new_id
from paystate.simulators.bodies import read_form, read_json
from paystate.simulators.flutterwave.wire import refund_row, transaction_rows
from paystate.simulators.numbers import fresh_number
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.till import (
    OPERATIONS,
    Account,
    Card,
    Checkout,
    Dialect,
    Happening,
    Landing,
    Message,
    Vector,
)
from paystate.simulators.till.dialect import Kind, Lie

TOKEN_PATH = "/realms/flutterwave/protocol/openid-connect/token"  # noqa: S105  an address
LISTS = frozenset({"/v3/transactions", "/v3/refunds"})
CHARGED = frozenset({"checkout.paid", "checkout.failed", "checkout.declined"})
FEE_PERMILLE = 14
SENTENCES = {
    "invalid_key": "Invalid authorization key",
    "invalid_json": "Invalid JSON body",
    "unavailable": "An error occurred. Please contact support",
}


class FlutterwaveDialect(Dialect):
    """Success and failure are both told as a completed charge."""

    brand = "Flutterwave"
    page_path = "/v3/hosted/pay"
    operations = (*OPERATIONS, "token")
    accounts = (
        Account(
            id="17321",
            live=False,
            webhook_secret="flw-secret-hash-paystate",  # noqa: S106  the published secrets of a fake
            keys=("FLWSECK_TEST-paystate0123456789abcdef-X",),
            extra={"clientId": "flw-client-paystate", "clientSecret": "flw-client-secret-paystate"},
        ),
    )
    cards: Mapping[str, Card] = {
        "5531886652142950": Card("pay"),
        "5258585922666506": Card("decline", "Insufficient Funds"),
    }
    wrong_fields: Mapping[str, str] = {"secretKey": "FLWSECK_TEST-ofnobody-X"}
    untold: Mapping[Lie, str] = {"live": "no answer says whether it is of the test mode"}
    open_after_decline = False
    vectors = (
        Vector(
            secret="flw-secret-hash-0001",  # noqa: S106  published
            body=b'{"event":"charge.completed","data":{"id":1,"tx_ref":"ple-0001"}}',
            headers={"verif-hash": "flw-secret-hash-0001"},
        ),
    )

    def connection_fields(self, account: Account) -> dict[str, str]:
        """With the account's number every payment is compared to it."""
        return super().connection_fields(account) | {
            "accountId": account.id,
            "tokenUrl": self.stage.base_url + TOKEN_PATH,
        }

    def messages(self, happening: Happening) -> Iterable[Message]:
        name, data = "", dict[str, Any]()
        if happening.name in CHARGED:
            name, data = "charge.completed", transaction_rows(happening.checkout)[-1]
        elif happening.refund is not None and happening.name == "refund.succeeded":
            name = "refund.completed"
            data = {**refund_row(happening.refund), "tx_ref": happening.checkout.reference}
        if name == "":
            return []
        body = msgspec.json.encode({"event": name, "data": data, "event.type": "CARD_TRANSACTION"})
        return [Message(name, body, new_id("evt", happening.at))]

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        del checkout
        return account.webhook_url

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        """No signature: the secret itself."""
        del body, event_id
        return {"verif-hash": secret}

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        return read_form(raw) if request.path == TOKEN_PATH else read_json(raw)

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        del details
        told = SENTENCES.get(code, message)
        return Answer(
            400 if status in (409, 422) else status, {"status": "error", "message": told, "data": None}
        )

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path in LISTS:
            meta = {"page_info": {"total": 0, "current_page": 1, "total_pages": 0}}
            return Answer(200, {"status": "success", "message": "Fetched", "meta": meta, "data": []})
        return self.error(404, "not_found", "No transaction was found for this id")

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        return super().new_id(kind, account, now) if kind == "event" else fresh_number(now)

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """What was pending keeps its number; a second payment gets another."""
        return checkout.id if checkout.transaction is None else fresh_number(now)

    def fee(self, amount: int, currency: str) -> int:
        del currency
        return amount * FEE_PERMILLE // 1_000

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """Always to the one address of the shop, with a word that anybody could have written."""
        found = super().landing(checkout, act)
        if found is None:
            return None
        told = {"status": "cancelled" if act == "leave" else "completed", "tx_ref": checkout.reference}
        rows = transaction_rows(checkout)
        if act != "leave" and rows:
            told["transaction_id"] = str(rows[-1]["id"])
        mark = "&" if "?" in checkout.return_url else "?"
        return Landing(f"{checkout.return_url}{mark}{urlencode(told)}")
