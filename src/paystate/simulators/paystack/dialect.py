"""How Paystack speaks: its account and test cards, its events signed with the secret key, its envelope of errors."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from paystate.kit.clock import Instant
from paystate.kit.ids import new_id
from paystate.simulators.numbers import fresh_number
from paystate.simulators.paystack.wire import REFUND_WORDS, dispute_row, subunits, transaction_row
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.till import Account, Card, Checkout, Dialect, Happening, Landing, Message, Vector
from paystate.simulators.till.dialect import Kind, Lie

LISTS = frozenset({"/transaction", "/refund", "/dispute"})
FEE_BASIS_POINTS, FLAT_FEE, FLAT_FROM, MOST_FEE = 150, 10_000, 250_000, 200_000
"""In Nigeria: 1.5 % and, from ₦2 500 on, ₦100; never more than ₦2 000."""

CODES = {
    "invalid_key": ("invalid_Key", "Invalid key"),
    "not_found": ("not_found", "Entity not found"),
    "invalid_json": ("invalid_params", "Invalid JSON"),
}
"""Our words and Paystack's code and sentence for them."""


class PaystackDialect(Dialect):
    """Only payments, refunds and disputes are told; nobody hears of a failure."""

    brand = "Paystack"
    page_path = "/checkout"
    accounts = (
        Account(
            id="acct_paystack",
            live=False,
            webhook_secret="",  # the secret key signs
            keys=("sk_test_paystate0123456789abcdef0123456789abcd",),
        ),
    )
    cards: Mapping[str, Card] = {
        "4084084084084081": Card("pay"),
        "5060666666666666666": Card("pay"),
        "4084080000005408": Card("decline", "Declined"),
        "4084080000670037": Card("decline", "Insufficient Funds"),
    }
    wrong_fields: Mapping[str, str] = {"secretKey": "sk_test_of_nobody"}
    untold: Mapping[Lie, str] = {"account": "no answer names the account: only its own key can ask"}
    open_after_decline = False
    vectors = (
        Vector(
            secret="sk_test_0123456789abcdef0123456789abcdef01234567",  # noqa: S106  published
            body=b'{"event":"charge.success","data":{"id":302961,"domain":"test","status":"success"'
            b',"reference":"ple-0001","amount":50000,"currency":"NGN"}}',
            headers={
                "x-paystack-signature": "7107b4a61921e161c2f4f5fbc99ab19e00b764f9ebc434a5eeda09a8dfa1e622"
                "edd13ae89889e8209c278e996938c4172e3d5029d8a729e25e8e46bf0170c84d"
            },
        ),
    )

    def connection_fields(self, account: Account) -> dict[str, str]:
        """The key signs; there is no other secret."""
        fields = super().connection_fields(account)
        return {name: fields[name] for name in ("secretKey", "baseUrl")}

    def messages(self, happening: Happening) -> Iterable[Message]:
        name, data = _told(happening)
        if name == "":
            return []
        body = msgspec.json.encode({"event": name, "data": data})
        return [Message(name, body, new_id("evt", happening.at))]

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        del checkout
        return account.webhook_url

    def signing_secret(self, account: Account) -> str:
        """The newest key: a merchant who has made a new one uses it."""
        return account.keys[-1] if account.keys else ""

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        del event_id
        return {"x-paystack-signature": hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()}

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        del details
        code, message = CODES.get(code, (code, message))
        return Answer(
            400 if status in (409, 422) else status,
            {
                "status": False,
                "message": message,
                "meta": {"nextStep": "Look at what you sent and try again"},
                "type": "api_error" if status >= 500 else "validation_error",
                "code": code,
            },
        )

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path in LISTS:
            meta = {"total": 0, "skipped": 0, "perPage": 50, "page": 1, "pageCount": 0}
            return Answer(200, {"status": True, "message": "Retrieved", "data": [], "meta": meta})
        if request.path.startswith("/transaction/verify/"):
            return self.error(404, "transaction_not_found", "Transaction reference not found.")
        return self.error(404, "not_found", "")

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        return super().new_id(kind, account, now) if kind in ("decline", "event") else fresh_number(now)

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """The checkout is the transaction; only a second payment is another one."""
        return checkout.id if checkout.transaction is None else fresh_number(now)

    def fee(self, amount: int, currency: str) -> int:
        part = amount * FEE_BASIS_POINTS // 10_000
        if currency != "NGN":
            return part
        return min(MOST_FEE, part + (FLAT_FEE if amount >= FLAT_FROM else 0))

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """Back to the shop with the reference, twice, as Paystack does."""
        found = super().landing(checkout, act)
        if found is None or act == "leave":
            return found
        mark = "&" if "?" in found.url else "?"
        query = urlencode({"trxref": checkout.reference, "reference": checkout.reference})
        return Landing(f"{found.url}{mark}{query}")


def _told(happening: Happening) -> tuple[str, dict[str, Any]]:
    checkout, refund = happening.checkout, happening.refund
    newest = checkout.transactions[-1] if checkout.transactions else None
    if happening.name == "checkout.paid":
        return "charge.success", {**transaction_row(checkout, newest), "status": "success", "metadata": 0}
    if happening.name == "dispute.created" and newest is not None:
        return "charge.dispute.create", dispute_row(checkout, newest)
    if refund is None:
        return "", {}
    word = REFUND_WORDS[refund.status]
    return f"refund.{word}", {
        "status": word,
        "transaction_reference": checkout.reference,
        "refund_reference": refund.id,
        "amount": str(subunits(refund.amount, refund.currency)),
        "currency": refund.currency,
        "domain": "live" if checkout.live else "test",
    }
