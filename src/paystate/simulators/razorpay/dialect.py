"""How Razorpay speaks: key pairs, error envelopes, ids, events with their signature, and the signed way back."""

import base64
import binascii
import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from paystate.kit.clock import SECOND, Instant
from paystate.simulators.razorpay import wire
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.till import Account, Card, Checkout, Dialect, Happening, Landing, Message, Vector
from paystate.simulators.till.dialect import RETURNING, Kind, Lie

LETTERS = string.ascii_letters + string.digits
ID_LENGTH = 14
LINKS = "/v1/payment_links"
LIVE, TEST = "rzp_live_", "rzp_test_"
NO_ACCOUNT = "no answer names the account: the keys that were used stand for it"
NO_MODE = "no answer says test or live: the prefix of the key's id decides"

_PREFIXES: dict[Kind, str] = {"checkout": "plink_", "decline": "pay_", "refund": "rfnd_", "event": ""}
_SAID = {
    "invalid_key": "Authentication failed",
    "not_found": "The id provided does not exist",
    "rate_limited": "Too many requests",
}
"""What Razorpay says where the till has words of its own."""


class RazorpayDialect(Dialect):
    """One webhook address per account. A till knows one key for an account: the secret, from which the key's id follows."""

    brand = "Razorpay (simulated)"
    page_path = "/rzp/i"
    accounts = (
        Account(
            id="acc_PaystateTest01",
            live=False,
            webhook_secret="rzp_webhook_paystate",  # noqa: S106  the published secrets of a fake
            keys=("rzp_secret_paystate",),
        ),
    )
    cards: Mapping[str, Card] = {"5267318187975449": Card("pay")}
    wrong_fields: Mapping[str, str] = {"keySecret": "rzp_secret_of_nobody"}
    untold: Mapping[Lie, str] = {"account": NO_ACCOUNT, "live": NO_MODE}
    vectors = (
        Vector(
            secret="rzp-webhook-secret-0001",  # noqa: S106  published
            body=b'{"entity":"event","account_id":"acc_TEST00000001","event":"payment_link.paid","contains":'
            b'["payment_link","order","payment"],"payload":{"payment_link":{"entity":{"id":"plink_TEST0000000001",'
            b'"amount":1000,"amount_paid":1000,"currency":"INR","reference_id":"ple-0001","status":"paid"}}},'
            b'"created_at":1760000000}',
            headers={
                "X-Razorpay-Signature": "335d29827589dfad62b01169b955464d9585d60d1108c7d8b6008c99afc3e423"
            },
            at_seconds=1760000000,
        ),
    )

    def messages(self, happening: Happening) -> Iterable[Message]:
        return [self._event(type_, parts, happening) for type_, parts in self._told(happening)]

    def connection_fields(self, account: Account) -> dict[str, str]:
        secret = account.keys[-1] if account.keys else ""
        return {
            "keyId": (LIVE if account.live else TEST) + key_mark(secret),
            "keySecret": secret,
            "webhookSecret": account.webhook_secret,
            "baseUrl": f"{self.stage.base_url}/v1",
        }

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        del checkout
        return account.webhook_url

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        told = {"x-razorpay-event-id": event_id} if event_id else {}
        return {"X-Razorpay-Signature": signature(secret, body), **told}

    def key_of(self, request: web.Request) -> str | None:
        """`Basic` with the key's id as the name and its secret as the password."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            key_id, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        known = key_id in (LIVE + key_mark(secret), TEST + key_mark(secret))
        return secret if scheme == "Basic" and known else None

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        status = 400 if code == "not_found" or status == 422 else status
        word = "BAD_REQUEST_ERROR" if status < 500 else "GATEWAY_ERROR" if status == 502 else "SERVER_ERROR"
        body: dict[str, Any] = {
            "code": word,
            "description": _SAID.get(code, message),
            "field": details.get("field"),
            "source": "business" if status < 500 else "NA",
            "step": "payment_initiation" if status < 500 else "NA",
            "reason": "input_validation_failed" if status < 500 else "NA",
            "metadata": {},
        }
        return Answer(status, {"error": body})

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path == LINKS:
            return Answer(200, {"payment_links": []})
        if request.method == "GET" and request.path.endswith(("/refunds", "/payments")):
            return Answer(200, wire.collection([]))
        return self.error(404, "not_found", "")

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        del account, now
        return _PREFIXES[kind] + random_id()

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """The payment that was authorized is the one that is captured; money that comes once more has one of its own."""
        del now
        own = checkout.extra.get(wire.PAYMENT)
        return own if isinstance(own, str) and checkout.transaction is None else f"pay_{random_id()}"

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """Back to the shop once it is paid, with a signature; there is no way to leave."""
        if act not in RETURNING or not checkout.return_url:
            return None
        if checkout.transaction is None:
            return Landing(checkout.return_url)
        mark = "&" if "?" in checkout.return_url else "?"
        return Landing(f"{checkout.return_url}{mark}{urlencode(way_back(checkout))}")

    def _told(self, happening: Happening) -> list[tuple[str, dict[str, Any]]]:
        """The types of the events, each with its objects."""
        checkout, paid = happening.checkout, happening.checkout.transaction
        link = {"payment_link": wire.link(checkout, self.page_url(checkout))}
        match happening.name:
            case "checkout.paid":
                last = checkout.transactions[-1]
                payment = {"payment": wire.captured(checkout, last)}
                whole = {**link, "order": wire.order(checkout), **payment}
                return [("payment.captured", payment), ("payment_link.paid", whole)]
            case "checkout.processing":
                return [("payment.authorized", {"payment": wire.authorized(checkout)})]
            case "checkout.declined" | "checkout.failed":
                return [("payment.failed", {"payment": last_failed(checkout)})]
            case "checkout.expired":
                return [("payment_link.expired", link)]
            case "checkout.closed":
                return [("payment_link.cancelled", link)]
            case "dispute.created":
                assert paid is not None
                dispute = wire.dispute(paid, happening.at)
                parts = {"dispute": dispute, "payment": wire.captured(checkout, paid)}
                return [("payment.dispute.created", parts)]
            case _:
                return _refund_told(happening)

    def _event(self, type_: str, parts: Mapping[str, Any], happening: Happening) -> Message:
        event_id = self.new_id("event", self.accounts[0], happening.at)
        body = {
            "entity": "event",
            "account_id": happening.checkout.account,
            "event": type_,
            "contains": list(parts),
            "payload": {name: {"entity": entity} for name, entity in parts.items()},
            "created_at": happening.at // SECOND,
        }
        return Message(type_, msgspec.json.encode(body), event_id)


def random_id() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(ID_LENGTH))


def key_mark(secret: str) -> str:
    """What follows the prefix in the id of the key with this secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:ID_LENGTH]


def signature(secret: str, signed: bytes) -> str:
    """Hex HMAC-SHA256: of a webhook's raw body, or of what the browser brings back."""
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def way_back(checkout: Checkout) -> dict[str, str]:
    """The parameters of the callback, signed with the secret of the key that made the link."""
    paid = checkout.transactions[-1]
    status = wire.LINK_STATUS[checkout.status]
    said = "|".join((checkout.id, checkout.reference, status, paid.id))
    return {
        "razorpay_payment_id": paid.id,
        "razorpay_payment_link_id": checkout.id,
        "razorpay_payment_link_reference_id": checkout.reference,
        "razorpay_payment_link_status": status,
        "razorpay_signature": signature(checkout.extra[wire.SIGNER], said.encode()),
    }


def last_failed(checkout: Checkout) -> dict[str, Any]:
    """The last declined try, or the authorized payment that was never captured."""
    if checkout.decline is not None:
        return wire.failed(checkout, checkout.decline.id, checkout.decline.code)
    return wire.failed(checkout, checkout.extra[wire.PAYMENT], "payment_failed")


def _refund_told(happening: Happening) -> list[tuple[str, dict[str, Any]]]:
    refund, checkout = happening.refund, happening.checkout
    assert refund is not None
    paid = next(one for one in checkout.transactions if one.id == refund.transaction)
    parts = {"refund": wire.refund(refund), "payment": wire.captured(checkout, paid)}
    done = {"refund.succeeded": "refund.processed", "refund.failed": "refund.failed"}.get(happening.name)
    new = [("refund.created", parts)] if refund.created_at == happening.at else []
    return new if done is None else [*new, (done, parts)]
