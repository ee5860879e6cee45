"""How SumUp speaks: its ids, its errors in several shapes, its three generations of webhooks, its test cards."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from paystate.kit.clock import SECOND, Instant, rfc3339
from paystate.simulators.stage import NO_DETAILS, Answer
from paystate.simulators.sumup.wire import checkout_status
from paystate.simulators.till import Account, Card, Checkout, Dialect, Happening, Landing, Message, Vector
from paystate.simulators.till.dialect import Kind, Lie

PROBLEM = "application/problem+json"
STYLES = frozenset({"plain", "events", "legacy"})
"""Generations of webhooks; `extra: {"webhooks": …}` of an account chooses, `plain` (unsigned) is the default."""

_PLAIN_CODES = {
    "not_found": ("NOT_FOUND", 404),
    "already_paid": ("CHECKOUT_PROCESSED", 409),
    "invalid_json": ("INVALID", 400),
    "DUPLICATED_CHECKOUT": ("DUPLICATED_CHECKOUT", 409),
    "MISSING": ("MISSING", 400),
    "INVALID": ("INVALID", 400),
}
_TOLD = {
    "checkout.paid": "paid",
    "checkout.declined": "failed",
    "checkout.failed": "failed",
    "checkout.expired": "expired",
    "checkout.closed": "expired",
}
_LOWEST_EVENT, _EVENTS = 10**9, 10**15
_read_exactly = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class SumUpDialect(Dialect):
    """A merchant code is the account; its keys begin with sup_sk_."""

    brand = "SumUp"
    page_path = "/pay"
    accounts = (
        Account(
            id="MH4H92C7",
            live=False,
            webhook_secret="whsec_sumup_paystate",  # noqa: S106  the published secrets of a fake
            keys=("sup_sk_paystate",),
        ),
    )
    cards: Mapping[str, Card] = {
        "5555444433331111": Card("pay"),
        "4000000000000002": Card("decline"),
        "4200000000000091": Card("pay"),
        "5200000000000007": Card("pay"),
    }
    wrong_fields: Mapping[str, str] = {"secretKey": "sup_sk_of_nobody", "merchantCode": "MNOBODY1"}
    untold: Mapping[Lie, str] = {"live": "only the merchant's own record says that it is a sandbox"}
    signed_with: Sequence[Mapping[str, str]] = ({"webhooks": "events"}, {"webhooks": "legacy"})
    sends_unsigned = True
    vectors = (
        Vector(
            secret="sumup-events-secret-0001",  # noqa: S106  published
            body=b'{"id":"evt_0001","type":"checkouts.paid","created_at":"2025-10-09T08:53:20Z","ob'
            b'ject":{"id":"4e425463-3e1b-431d-83fa-1e51c2925e99","type":"checkout","url":"http'
            b's://api.sumup.com/v0.1/checkouts/4e425463-3e1b-431d-83fa-1e51c2925e99"}}',
            headers={
                "X-SumUp-Webhook-Signature": "t=1760000000,"
                "v1=90abb8d219d98b22cdcba8a10d9bcc45d67e44d36fb59952ffe48720be1ecd3e"
            },
            at_seconds=1760000000,
        ),
        Vector(
            secret="sumup-webhook-secret-0001",  # noqa: S106  published
            body=b'{"id":"8f1b7c1e-0000-4000-8000-000000000001","event_type":"checkout.status.updat'
            b'ed","payload":{"checkout_id":"4e425463-3e1b-431d-83fa-1e51c2925e99","reference":'
            b'"ple-0001","status":"PAID"},"timestamp":"2025-10-09T08:53:20Z"}',
            headers={
                "x-payload-signature": "f05d377c5b4070bc605c2976575737a6daa7874d7abaae339d4de56586207a19"
            },
        ),
    )

    def connection_fields(self, account: Account) -> dict[str, str]:
        return super().connection_fields(account) | {"merchantCode": account.id}

    # --- webhooks

    def messages(self, happening: Happening) -> Iterable[Message]:
        """One for each change of the checkout's word; refunds and disputes are told to nobody."""
        word = _TOLD.get(happening.name)
        if word is None:
            return []
        checkout = happening.checkout
        event_id = self.new_id("event", self.accounts[0], happening.at)
        style = checkout.extra.get("webhooks", "plain")
        type_, body = self._body(style, word, checkout, event_id, happening.at)
        return [Message(type_, msgspec.json.encode(body), event_id)]

    def _body(
        self, style: str, word: str, checkout: Checkout, event_id: str, at: Instant
    ) -> tuple[str, dict[str, Any]]:
        if style == "events":
            url = f"{self.stage.base_url}/v0.1/checkouts/{checkout.id}"
            about = {"id": checkout.id, "type": "checkout", "url": url}
            type_ = f"checkouts.{word}"
            return type_, {"id": event_id, "type": type_, "created_at": rfc3339(at), "object": about}
        if style == "legacy":
            status = checkout_status(checkout)
            payload = {"checkout_id": checkout.id, "reference": checkout.reference, "status": status}
            type_ = "checkout.status.updated"
            return type_, {"id": event_id, "event_type": type_, "payload": payload, "timestamp": rfc3339(at)}
        return "CHECKOUT_STATUS_CHANGED", {"event_type": "CHECKOUT_STATUS_CHANGED", "id": checkout.id}

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        """The generation shows in the body; the default one carries no signature."""
        del event_id
        said = msgspec.json.decode(body)
        if "object" in said:
            seconds = self.stage.now() // SECOND
            digest = _hex(secret, f"v1:{seconds}:".encode() + body)
            return {"X-SumUp-Webhook-Signature": f"t={seconds},v1={digest}"}
        return {"x-payload-signature": _hex(secret, body)} if "payload" in said else {}

    # --- calls

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        """A JSON object whose numbers stay exact; nothing at all is an empty one."""
        del request
        try:
            return _read_exactly(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        """Checkouts answer with an `error_code`, the gateway and refunds with a problem (RFC 9457)."""
        if code in _PLAIN_CODES:
            word, status = _PLAIN_CODES[code]
            return Answer(status, {"error_code": word, "message": message, **details})
        if code == "FORBIDDEN":
            body = {"error_message": message, "error_code": code, "status_code": str(status)}
            return Answer(status, body)
        title = HTTPStatus(status).phrase
        problem = {
            "type": f"https://developer.sumup.com/problem/{title.lower().replace(' ', '-')}",
            "title": title,
            "status": status,
            "detail": message,
            "trace_id": uuid4().hex,
        }
        return Answer(status, {**problem, **details}, content_type=PROBLEM)

    def not_found(self, request: web.Request) -> Answer:
        if "checkout_reference" in request.query:
            return Answer(200, [])
        return self.error(404, "not_found", "Resource not found")

    # --- objects

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        """Checkouts and tries are UUIDs; a refund is known by the number of its event only."""
        del account, now
        match kind:
            case "refund":
                return str(_LOWEST_EVENT + secrets.randbelow(_EVENTS))
            case "event":
                return f"evt_{uuid4().hex}"
            case _:
                return str(uuid4())

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        del checkout, now
        return str(uuid4())

    # --- the page

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """After a card was taken the page stays: the way back is a link on it, if the shop named one."""
        if act == "pay_by_card" or not checkout.return_url:
            return None
        return super().landing(checkout, act)


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
