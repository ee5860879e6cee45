"""The sandbox provider: speaks over HTTP to the simulator that ships with Paystate, like to any foreign service."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Identity,
    Listed,
    Message,
    Named,
    NoAnswer,
    NotThere,
    Offer,
    SignatureInvalid,
    Started,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import SECOND, Instant, parse_rfc3339, rfc3339
from paystate.kit.money import Money
from paystate.machinery import http as transport
from paystate.machinery.http import Answer, Http
from paystate.machinery.secrets import ct_eq

ASK_SECONDS = 10.0
START_SECONDS = 30.0
TOLERANCE_SECONDS = 300
SIGNATURES_READ = 5
LIST_LIMIT = 100
DESCRIPTION_LIMIT = 500

OUTCOMES = {
    "open": Outcome.PENDING,
    "processing": Outcome.PROCESSING,
    "paid": Outcome.SUCCEEDED,
    "failed": Outcome.FAILED,
    "expired": Outcome.EXPIRED,
    "closed": Outcome.CANCELED,
    "refunded": Outcome.REFUNDED,
}
"""The sandbox's words; any other is UNKNOWN, never a failure."""


class _Transaction(msgspec.Struct, rename="camel"):
    id: str
    amount: int
    currency: str
    reference: str
    paid_at: str
    method: str | None = None
    fee: int | None = None
    amount_refunded: int = 0


class _Checkout(msgspec.Struct, rename="camel"):
    id: str
    reference: str
    status: str
    url: str
    account: str
    live: bool
    decline: dict[str, Any] | None = None
    transaction: _Transaction | None = None
    further: list[_Transaction] = []


class _Page(msgspec.Struct, rename="camel"):
    data: list[_Checkout]
    next_cursor: str | None = None


class _Owner(msgspec.Struct, rename="camel"):
    account: str
    live: bool
    name: str


class _Event(msgspec.Struct, rename="camel"):
    id: str
    type: str
    data: dict[str, Any]


_read_checkout = msgspec.json.Decoder(_Checkout).decode
_read_page = msgspec.json.Decoder(_Page).decode
_read_owner = msgspec.json.Decoder(_Owner).decode
_read_event = msgspec.json.Decoder(_Event).decode


class Sandbox:
    """Every capability there is, so that every flow can be tried without a real provider."""

    name = "sandbox"
    fields: Mapping[str, str] = {
        "baseUrl": "Where the sandbox runs, as `paystate simulate sandbox` prints it.",
        "secretKey": "The account's secret key.",
        "webhookSecret": "The secret its webhooks are signed with.",
    }
    secret_fields = frozenset({"secretKey", "webhookSecret"})

    def __init__(self, http: Http) -> None:
        self._http = http

    def check(self, money: Money) -> None:
        """The sandbox takes every currency and every amount."""

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The body of the create call; amounts are minor units on both sides."""
        del account
        body: dict[str, Any] = {
            "reference": order.reference,
            "amount": order.money.amount,
            "currency": order.money.currency,
            "description": order.description[:DESCRIPTION_LIMIT],
            "returnUrl": order.return_url,
            "cancelUrl": order.cancel_url,
            "webhookUrl": order.webhook_url,
        }
        if order.expires_at is not None:
            body["expiresAt"] = rfc3339(order.expires_at)
        return msgspec.json.encode(body)

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /v1/checkouts with the stored bytes and key. A 4xx of its own is a refusal for good."""
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        answer = await self._call(
            account, "POST", "/v1/checkouts", body=request, headers=headers, seconds=START_SECONDS
        )
        if answer.status in (400, 422):
            raise StartRefused(_error_code(answer.body))
        if answer.status == 409:
            # It exists already, under this reference or key: to be asked about, never a refusal.
            raise NoAnswer("conflict", server_error=True)
        checkout = _parse(_read_checkout, _expect(answer, 200, 201))
        return Started(checkout.id, Offer("redirect", checkout.url))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET by the sandbox's id, else by our reference."""
        if subject.checkout_id is not None:
            answer = await self._call(account, "GET", f"/v1/checkouts/{quote(subject.checkout_id, safe='')}")
            return _verdict(_parse(_read_checkout, _expect(answer, 200)), answer.body)
        answer = await self._call(
            account, "GET", f"/v1/checkouts?{urlencode({'reference': subject.reference})}"
        )
        found = _parse(_read_page, _expect(answer, 200)).data
        if not found:
            raise NotThere
        return _verdict(found[0], answer.body)

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """POST …/close; one that was paid meanwhile (409) is asked about again."""
        if subject.checkout_id is None:
            return await self.ask(account, subject)
        path = f"/v1/checkouts/{quote(subject.checkout_id, safe='')}/close"
        answer = await self._call(account, "POST", path)
        if answer.status == 409:
            return await self.ask(account, subject)
        return _verdict(_parse(_read_checkout, _expect(answer, 200)), answer.body)

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """GET /v1/checkouts in a window of creation times, oldest first, 100 a page."""
        query = {"createdFrom": rfc3339(since), "createdTo": rfc3339(until), "limit": str(LIST_LIMIT)}
        if cursor is not None:
            query["cursor"] = cursor
        answer = await self._call(account, "GET", f"/v1/checkouts?{urlencode(query)}")
        page = _parse(_read_page, _expect(answer, 200))
        return Listed([_verdict(c, msgspec.json.encode(c)) for c in page.data], page.next_cursor)

    async def refund(
        self, account: Account, transaction_id: str, money: Money, *, idempotency_key: str
    ) -> str:
        """POST /v1/refunds; answers the sandbox's refund id."""
        body = msgspec.json.encode(
            {"transaction": transaction_id, "amount": money.amount, "reference": idempotency_key}
        )
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        answer = await self._call(
            account, "POST", "/v1/refunds", body=body, headers=headers, seconds=START_SECONDS
        )
        if answer.status in (400, 409, 422):
            raise StartRefused(_error_code(answer.body))
        return str(_parse(msgspec.json.decode, _expect(answer, 200, 201))["id"])

    async def identify(self, account: Account) -> Identity:
        """GET /v1/account."""
        answer = await self._call(account, "GET", "/v1/account")
        owner = _parse(_read_owner, _expect(answer, 200))
        return Identity(owner.account, owner.live, owner.name)

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`Sandbox-Signature: t=…,v1=…` over the raw body; several v1 values while a secret is being rotated."""
        _check_signature(account, headers.get("sandbox-signature", ""), body, now)
        try:
            event = _read_event(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ValueError("not an event of the sandbox") from None
        named = Named(_text(event.data.get("reference")), _text(event.data.get("checkout")))
        return Message(
            event.id, event.type, [named] if named.reference or named.checkout_id else [], authentic=True
        )

    async def _call(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = ASK_SECONDS,
    ) -> Answer:
        try:
            return await self._http.request(
                method,
                account.settings["baseUrl"].rstrip("/") + path,
                headers={"Authorization": f"Bearer {account.secrets['secretKey']}", **(headers or {})},
                body=body,
                deadline_seconds=seconds,
            )
        except transport.NoAnswer as error:
            raise NoAnswer(error.reason, sent=error.sent) from error


def make(http: Http) -> Sandbox:
    """The adapter as `load_providers` finds it."""
    return Sandbox(http)


def _expect(answer: Answer, *statuses: int) -> bytes:
    """The body of an answer with one of these statuses; every other answer is no answer."""
    if answer.status in statuses:
        return answer.body
    if answer.status in (401, 403):
        raise CredentialsRefused
    if answer.status == 404:
        raise NotThere
    if answer.status == 429:
        raise NoAnswer("rate_limited", retry_after_seconds=transport.retry_after_seconds(answer))
    raise NoAnswer(f"status_{answer.status}", server_error=answer.status >= 500)


def _parse(read: Any, body: bytes) -> Any:
    try:
        return read(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoAnswer("unreadable") from None


def _verdict(checkout: _Checkout, raw: bytes) -> Verdict:
    further = tuple(_transaction_verdict(checkout, money, raw) for money in checkout.further)
    return replace(_transaction_verdict(checkout, checkout.transaction, raw), further=further)


def _transaction_verdict(checkout: _Checkout, money: _Transaction | None, raw: bytes) -> Verdict:
    return Verdict(
        outcome=OUTCOMES.get(checkout.status, Outcome.UNKNOWN),
        reference=money.reference if money is not None else checkout.reference,
        account=checkout.account,
        live=checkout.live,
        detail=_detail(checkout),
        raw_digest=hashlib.sha256(raw).hexdigest(),
        checkout_id=checkout.id,
        amount=None if money is None else money.amount,
        currency=None if money is None else money.currency,
        transaction_id=None if money is None else money.id,
        method=None if money is None else money.method,
        fee=None if money is None else money.fee,
        provider_at=None if money is None else _time(money.paid_at),
        amount_refunded=0 if money is None else money.amount_refunded,
    )


def _detail(checkout: _Checkout) -> str:
    if checkout.status == "open" and checkout.decline is not None:
        return "declined"
    return checkout.status[:40]


def _time(text: str) -> Instant | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _error_code(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["code"])[:80]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "refused"


def _check_signature(account: Account, header: str, body: bytes, now: Instant) -> None:
    parts = [part.strip().partition("=") for part in header.split(",")[: SIGNATURES_READ + 1]]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    secret = account.secrets.get("webhookSecret", "")
    if not secret or len(times) != 1 or not given or not times[0].isascii() or not times[0].isdigit():
        raise SignatureInvalid
    if len(times[0]) > 12 or abs(int(times[0]) - now // SECOND) > TOLERANCE_SECONDS:
        raise SignatureInvalid
    expected = hmac.new(secret.encode(), f"{times[0]}.".encode() + body, hashlib.sha256).hexdigest().encode()
    if not any(ct_eq(value.encode(), expected) for value in given):
        raise SignatureInvalid
