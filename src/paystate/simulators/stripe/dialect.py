"""How Stripe speaks: forms, error envelopes, ids, events with their signature, published test cards."""

import base64
import binascii
import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from paystate.kit.clock import SECOND, Instant
from paystate.simulators.bodies import read_form
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.stripe import shapes
from paystate.simulators.till import Account, Card, Checkout, Dialect, Happening, Landing, Message, Vector
from paystate.simulators.till.dialect import Kind, Lie

BASE62 = string.ascii_letters + string.digits
SESSION_LENGTH = 58
ID_LENGTH = 24
COLLECTIONS = frozenset({"/v1/checkout/sessions", "/v1/refunds", "/v1/balance_transactions", "/v1/events"})

_CODES = {
    "not_found": "resource_missing",
    "rate_limited": "rate_limit",
    "invalid_json": "parameter_invalid",
    "invalid_key": None,
    "idempotency_error": None,
    "internal_error": None,
    "bad_gateway": None,
    "unavailable": None,
}
"""Our words in Stripe's; None: such an error carries no code."""


class StripeDialect(Dialect):
    """One webhook address per account, test and live by the key."""

    brand = "Stripe (simulated)"
    page_path = "/c/pay"
    accounts = (
        Account(
            id="acct_1PaystateTest0001",
            live=False,
            webhook_secret="whsec_stripe_paystate",  # noqa: S106  the published secrets of a fake
            keys=("sk_test_paystate",),
        ),
    )
    cards: Mapping[str, Card] = {
        "4242424242424242": Card("pay"),
        "4000000000000002": Card("decline", "generic_decline"),
        "4000000000009995": Card("decline", "insufficient_funds"),
        "4000000000000069": Card("decline", "expired_card"),
        "4000000000000127": Card("decline", "incorrect_cvc"),
        "4000000000000119": Card("decline", "processing_error"),
        "4100000000000019": Card("decline", "fraudulent"),
        "4000000000000259": Card("dispute"),
    }
    wrong_fields: Mapping[str, str] = {"secretKey": "sk_test_of_nobody"}
    untold: Mapping[Lie, str] = {"account": "a session does not say to which account it belongs"}
    vectors = (
        Vector(
            secret="whsec_test_4f1c2d3e5a6b7c8d9e0f",  # noqa: S106  published
            body=b'{"id":"evt_test_0001","object":"event","type":"checkout.session.completed","data'
            b'":{"object":{"id":"cs_test_a1b2c3","object":"checkout.session","payment_status":'
            b'"paid"}}}',
            headers={
                "Stripe-Signature": "t=1760000000,"
                "v1=ca913dd12b601c16413d05581171ca1a03bffe1c6d28b3126a438c5b7e1cb908"
            },
            at_seconds=1760000000,
        ),
    )

    def messages(self, happening: Happening) -> Iterable[Message]:
        return [self._event(type_, item, happening) for type_, item in self._told(happening)]

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        del checkout
        return account.webhook_url

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        del event_id
        at = str(self.stage.now() // SECOND)
        digest = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {
            "Stripe-Signature": f"t={at},v1={digest}",
            "Content-Type": "application/json; charset=utf-8",
        }

    def key_of(self, request: web.Request) -> str | None:
        """`Bearer`, or `Basic` with the key as the name and no password."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return super().key_of(request)
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return None

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        del request
        return read_form(raw)

    def headers(self) -> Mapping[str, str]:
        return {"Request-Id": f"req_{random_id(14)}", "Stripe-Version": shapes.API_VERSION}

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        said = _CODES.get(code, code)
        body: dict[str, Any] = {"type": _type_of(status, code), "message": message, **details}
        if said is not None:
            body |= {"code": said, "doc_url": f"https://stripe.com/docs/error-codes/{said}"}
        return Answer(400 if status == 422 else status, {"error": body})

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path in COLLECTIONS:
            return Answer(200, {"object": "list", "url": request.path, "has_more": False, "data": []})
        return self.error(404, "not_found", "No such object.", {"param": "id"})

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        del now
        if kind == "checkout":
            return f"cs_{'live' if account.live else 'test'}_{random_id(SESSION_LENGTH)}"
        prefixes: dict[Kind, str] = {"refund": "re", "event": "evt", "decline": "ch"}
        return f"{prefixes[kind]}_{random_id(ID_LENGTH)}"

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """The session's payment intent; money that comes once more has one of its own."""
        del now
        own = checkout.extra.get(shapes.INTENT)
        return own if isinstance(own, str) and checkout.transaction is None else f"pi_{random_id(ID_LENGTH)}"

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        landing = super().landing(checkout, act)
        if landing is None or not landing.url:
            return None
        return Landing(landing.url.replace("{CHECKOUT_SESSION_ID}", checkout.id))

    def _told(self, happening: Happening) -> list[tuple[str, dict[str, Any]]]:
        """The types of the events, each with its object."""
        checkout, paid = happening.checkout, happening.checkout.transaction
        session = shapes.session(checkout, self.page_url(checkout))
        intent = shapes.intent(checkout, paid)
        refund = None if happening.refund is None else shapes.refund(happening.refund)
        match happening.name:
            case "checkout.paid":
                done = "async_payment_succeeded" if checkout.was_processing else "completed"
                return [(f"checkout.session.{done}", session), ("payment_intent.succeeded", intent)]
            case "checkout.processing":
                return [("checkout.session.completed", session), ("payment_intent.processing", intent)]
            case "checkout.declined":
                return [("payment_intent.payment_failed", intent)]
            case "checkout.failed":
                failed = ("payment_intent.payment_failed", intent)
                return [("checkout.session.async_payment_failed", session), failed]
            case "checkout.expired" | "checkout.closed":
                return [("checkout.session.expired", session)]
            case "dispute.created":
                assert paid is not None
                return [("charge.dispute.created", shapes.dispute(checkout, paid, happening.at))]
            case _:
                assert refund is not None
                return _refund_told(happening, refund, shapes.charge(checkout, paid))

    def _event(self, type_: str, item: dict[str, Any], happening: Happening) -> Message:
        event_id = self.new_id("event", self.accounts[0], happening.at)
        body = {
            "id": event_id,
            "object": "event",
            "api_version": shapes.API_VERSION,
            "created": happening.at // SECOND,
            "data": {"object": item},
            "livemode": happening.checkout.live,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type_,
        }
        return Message(type_, msgspec.json.encode(body), event_id)


def random_id(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _type_of(status: int, code: str) -> str:
    if code == "idempotency_error":
        return code
    if status == 429:
        return "rate_limit_error"
    return "api_error" if status >= 500 else "invalid_request_error"


def _refund_told(
    happening: Happening, refund: dict[str, Any], charge: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    if happening.name == "refund.failed":
        return [("refund.failed", refund)]
    new = happening.refund is not None and happening.refund.created_at == happening.at
    told = [("refund.created" if new else "refund.updated", refund)]
    return [*told, ("charge.refunded", charge)] if happening.name == "refund.succeeded" else told
