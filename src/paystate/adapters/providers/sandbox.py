"""The sandbox provider: speaks over HTTP to the simulator that ships with Paystate, like to any foreign service."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    call,
    check_timed_signature,
    expect,
    parsed,
    text_or_none,
    time_or_none,
)
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    Identity,
    Listed,
    Message,
    Named,
    NoAnswer,
    NotThere,
    Offer,
    RefundAnswer,
    RefundOrder,
    Started,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import Instant, rfc3339
from paystate.kit.money import Money
from paystate.machinery.http import Answer, Http

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

REFUND_OUTCOMES: Mapping[str, Literal["PENDING", "SUCCEEDED", "FAILED"]] = {
    "pending": "PENDING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
}
REFUND_KEY_SECONDS = 24 * 3_600


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


class _Refund(msgspec.Struct):
    id: str
    status: str
    amount: int
    currency: str
    reference: str


class _Refunds(msgspec.Struct):
    data: list[_Refund]


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
_read_refund = msgspec.json.Decoder(_Refund).decode
_read_refunds = msgspec.json.Decoder(_Refunds).decode
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
    optional_fields: Mapping[str, str] = {}
    refund_key_seconds = REFUND_KEY_SECONDS

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
        checkout = parsed(_read_checkout, _body(answer))
        return Started(checkout.id, Offer("redirect", checkout.url))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET by the sandbox's id, else by our reference."""
        if subject.checkout_id is not None:
            answer = await self._call(account, "GET", f"/v1/checkouts/{quote(subject.checkout_id, safe='')}")
            return _verdict(parsed(_read_checkout, _body(answer)), answer.body)
        answer = await self._call(
            account, "GET", f"/v1/checkouts?{urlencode({'reference': subject.reference})}"
        )
        found = parsed(_read_page, _body(answer)).data
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
        return _verdict(parsed(_read_checkout, _body(answer)), answer.body)

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """GET /v1/checkouts in a window of creation times, oldest first, 100 a page."""
        query = {"createdFrom": rfc3339(since), "createdTo": rfc3339(until), "limit": str(LIST_LIMIT)}
        if cursor is not None:
            query["cursor"] = cursor
        answer = await self._call(account, "GET", f"/v1/checkouts?{urlencode(query)}")
        page = parsed(_read_page, _body(answer))
        return Listed([_verdict(c, msgspec.json.encode(c)) for c in page.data], page.next_cursor)

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST /v1/refunds, once per key."""
        body = msgspec.json.encode(
            {
                "transaction": order.transaction_id,
                "amount": order.money.amount,
                "reference": order.idempotency_key,
            }
        )
        headers = {"Idempotency-Key": order.idempotency_key, "Content-Type": "application/json"}
        answer = await self._call(
            account, "POST", "/v1/refunds", body=body, headers=headers, seconds=START_SECONDS
        )
        if answer.status in (400, 409, 422):
            raise StartRefused(_error_code(answer.body))
        return _refund_answer(parsed(_read_refund, _body(answer)))

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """GET /v1/refunds of a transaction."""
        del checkout_id
        answer = await self._call(account, "GET", f"/v1/refunds?{urlencode({'transaction': transaction_id})}")
        return [_refund_answer(refund) for refund in parsed(_read_refunds, _body(answer)).data]

    async def identify(self, account: Account) -> Identity:
        """GET /v1/account."""
        answer = await self._call(account, "GET", "/v1/account")
        owner = parsed(_read_owner, _body(answer))
        return Identity(owner.account, owner.live, owner.name)

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`Sandbox-Signature: t=…,v1=…` over the raw body; several v1 values while a secret is being rotated."""
        check_timed_signature(
            headers.get("sandbox-signature", ""),
            lambda at: at.encode() + b"." + body,
            [account.secrets.get("webhookSecret", "")],
            "sha256",
            now,
        )
        try:
            event = _read_event(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ValueError("not an event of the sandbox") from None
        named = Named(text_or_none(event.data.get("reference")), text_or_none(event.data.get("checkout")))
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
        return await call(
            self._http,
            method,
            account.settings["baseUrl"].rstrip("/") + path,
            headers={"Authorization": f"Bearer {account.secrets['secretKey']}", **(headers or {})},
            body=body,
            seconds=seconds,
        )


def make(http: Http) -> Sandbox:
    """The adapter as `load_providers` finds it."""
    return Sandbox(http)


def _body(answer: Answer) -> bytes:
    """The body of a call that was carried out; a 401 speaks of the secret key."""
    return expect(answer, 200, 201, credential="secretKey")


def _refund_answer(refund: _Refund) -> RefundAnswer:
    return RefundAnswer(
        refund.id,
        REFUND_OUTCOMES.get(refund.status, "PENDING"),
        Money(refund.amount, refund.currency),
        refund.reference,
    )


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
        provider_at=None if money is None else time_or_none(money.paid_at),
        amount_refunded=0 if money is None else money.amount_refunded,
    )


def _detail(checkout: _Checkout) -> str:
    if checkout.status == "open" and checkout.decline is not None:
        return "declined"
    return checkout.status[:40]


def _error_code(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["code"])[:80]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "refused"
