"""SumUp: hosted checkouts, their transactions, and refunds, paid out to a merchant account that an API key belongs to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    base_url,
    call_json,
    check_hex_signature,
    check_timed_signature,
    event_as,
    expect,
    no_404,
    parsed,
    refuse_currency,
    said,
    text_or_none,
)
from paystate.adapters.sumup_answers import (
    HINT_EVENT,
    Checkout,
    Transaction,
    error_code,
    named_in,
    paid_verdict,
    read_asked,
    read_checkout,
    read_checkouts,
    read_merchant,
    read_transaction,
    refund_answers,
    taken,
    unpaid_verdict,
)
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Identity,
    Message,
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
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Answer, Http

BASE_URL = "https://api.sumup.com"
CURRENCIES = frozenset(
    {"BGN", "BRL", "CHF", "CLP", "COP", "CZK", "DKK", "EUR", "GBP", "HUF", "NOK", "PLN", "RON", "SEK", "USD"}
)
DESCRIPTION_LIMIT = 255
"""SumUp publishes no limit."""


class SumUp:
    """Closes, refunds, sends webhooks. Its list of transactions names no checkout, so it is no proof and not offered."""

    name = "sumup"
    fields: Mapping[str, str] = {
        "secretKey": "The secret API key (sup_sk_…) of the merchant account.",
        "merchantCode": "The merchant code the key belongs to, for example MH4H92C7.",
        "webhookSecret": "The secret of signed webhooks; two, with a space between, while one replaces the other.",
        "baseUrl": "Where the API is.",
    }
    secret_fields = frozenset({"secretKey", "webhookSecret"})
    optional_fields: Mapping[str, str] = {"webhookSecret": "", "baseUrl": BASE_URL}
    calls_per_second = 5
    """No limit is published; so few disturb nobody."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def budget_key(self, account: Account) -> str:
        """Each account has its own."""
        return account.connection_id

    def check(self, money: Money) -> None:
        """The currencies of SumUp's countries; none of them has three decimals."""
        if money.currency not in CURRENCIES:
            raise refuse_currency("SumUp", money)
        if money.amount < 1:
            raise Refused("The amount is too small for SumUp.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The body of the create call. The amount is a JSON number in major units, written as exact text."""
        self.check(order.money)
        body: dict[str, Any] = {
            "checkout_reference": order.reference,
            "amount": msgspec.Raw(order.money.major.encode()),
            "currency": order.money.currency,
            "merchant_code": _merchant_code(account),
            "description": order.description[:DESCRIPTION_LIMIT],
            "return_url": order.webhook_url,
            "redirect_url": order.return_url,
            "hosted_checkout": {"enabled": True},
        }
        if order.expires_at is not None:
            body["valid_until"] = rfc3339(order.expires_at)
        return msgspec.json.encode(body)

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /v0.1/checkouts. SumUp knows no keys: a second start meets the first by its unique reference."""
        del idempotency_key
        answer = await self._call(account, "POST", "/v0.1/checkouts", body=request, seconds=START_SECONDS)
        if answer.status in (400, 422):
            raise StartRefused(error_code(answer.body))
        if answer.status == 409:
            return _offered(await self._made_before(account, request))
        return _offered(parsed(read_checkout, expect(no_404(answer), 200, 201, credential="secretKey")))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET by SumUp's id, else by our reference; what was paid is then read from the transaction itself."""
        if subject.checkout_id is None:
            checkout, answer = await self._find(account, subject.reference)
        else:
            answer = await self._call(account, "GET", _checkout_path(subject.checkout_id))
            checkout = parsed(read_checkout, expect(answer, 200, credential="secretKey"))
        return await self._judged(account, checkout, answer)

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """DELETE, which ends a checkout as EXPIRED; one that was paid meanwhile (409) is asked about again."""
        checkout_id = subject.checkout_id or (await self._find(account, subject.reference))[0].id
        answer = await self._call(account, "DELETE", _checkout_path(checkout_id))
        if answer.status == 409:
            return await self.ask(account, replace(subject, checkout_id=checkout_id))
        checkout = parsed(read_checkout, expect(answer, 200, credential="secretKey"))
        verdict = await self._judged(account, checkout, answer)
        return replace(verdict, outcome=Outcome.CANCELED) if verdict.outcome is Outcome.EXPIRED else verdict

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST …/refunds, which answers no id and keeps no key: the refund is the one that was not there before."""
        before = {known.refund_id for known in await self._refunds(account, order.transaction_id)}
        merchant, transaction = quote(_merchant_code(account), safe=""), quote(order.transaction_id, safe="")
        answer = await self._call(
            account,
            "POST",
            f"/v1.0/merchants/{merchant}/payments/{transaction}/refunds",
            body=msgspec.json.encode({"amount": msgspec.Raw(order.money.major.encode())}),
            seconds=START_SECONDS,
        )
        if answer.status in (400, 422):
            raise StartRefused(error_code(answer.body))
        if answer.status == 409:
            raise NoAnswer("not_refundable_now")  # while it settles; later it may be
        expect(no_404(answer), 200, 201, 204, credential="secretKey")
        for made in await self._refunds(account, order.transaction_id):
            if made.refund_id not in before and made.money == order.money:
                return made
        raise NoAnswer("refund_not_listed_yet")

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """The REFUND events of the transaction."""
        del checkout_id
        return await self._refunds(account, transaction_id)

    async def identify(self, account: Account) -> Identity:
        """GET /v1/merchants/{code}; a merchant that does not say that it is a sandbox takes real money."""
        code = quote(_merchant_code(account), safe="")
        answer = await self._call(account, "GET", f"/v1/merchants/{code}")
        if answer.status == 404:
            raise CredentialsRefused(field="merchantCode", answered=said(answer))
        merchant = parsed(read_merchant, expect(answer, 200, credential="secretKey"))
        if not merchant.merchant_code:
            raise NoAnswer("unreadable")
        return Identity(
            merchant.merchant_code, not merchant.sandbox, merchant.alias or merchant.merchant_code
        )

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """Three generations: unsigned (the default), `t,v1` with its interim form, and the legacy hex signature."""
        signed = _check_signature(account.secrets.get("webhookSecret", "").split(), headers, body, now)
        message = event_as(dict[str, Any], body)
        named = named_in(message)
        kind = text_or_none(message.get("type")) or text_or_none(message.get("event_type")) or ""
        # Only a signed event may say which one it is: a made-up id must not stand in the way of a real one.
        event_id = text_or_none(message.get("id")) if signed and kind != HINT_EVENT else None
        known = [named] if named.reference or named.checkout_id else []
        return Message(event_id or "", kind, known, authentic=signed)

    async def _made_before(self, account: Account, request: bytes) -> Checkout:
        """The checkout that an earlier start of the same bytes made."""
        asked = parsed(read_asked, request)
        try:
            checkout, _ = await self._find(account, asked.checkout_reference)
        except NotThere:
            raise NoAnswer("conflict", server_error=True) from None
        same = (checkout.checkout_reference, checkout.amount, checkout.currency)
        if same != (asked.checkout_reference, asked.amount, asked.currency):
            raise NoAnswer("conflict", server_error=True)
        return checkout

    async def _find(self, account: Account, reference: str) -> tuple[Checkout, Answer]:
        """GET by our reference; of several, one that was paid comes first."""
        query = urlencode({"checkout_reference": reference})
        answer = await self._call(account, "GET", f"/v0.1/checkouts?{query}")
        found = parsed(read_checkouts, expect(no_404(answer), 200, credential="secretKey"))
        if not found:
            raise NotThere
        return min(found, key=lambda c: (c.checkout_reference != reference, c.status != "PAID")), answer

    async def _judged(self, account: Account, checkout: Checkout, answer: Answer) -> Verdict:
        """The verdict; what was paid is read from each transaction's own record, which knows fee and refunds.

        Silence about that record is silence: what was paid may have been given back.
        """
        unpaid = unpaid_verdict(account, checkout, answer)
        if checkout.status != "PAID":
            return unpaid
        verdicts = []
        for known in taken(checkout):
            try:
                transaction, raw = await self._transaction(account, known.id)
            except NotThere:
                transaction, raw = known, b""  # not listed yet: then nothing came after it either
            digest = hashlib.sha256(answer.body + raw).hexdigest()
            verdicts.append(replace(paid_verdict(unpaid, transaction), raw_digest=digest))
        return replace(verdicts[0], further=tuple(verdicts[1:]))

    async def _transaction(self, account: Account, transaction_id: str) -> tuple[Transaction, bytes]:
        code, query = quote(_merchant_code(account), safe=""), urlencode({"id": transaction_id})
        answer = await self._call(account, "GET", f"/v2.1/merchants/{code}/transactions?{query}")
        transaction = parsed(read_transaction, expect(answer, 200, credential="secretKey"))
        if transaction.id != transaction_id:
            raise NoAnswer("unreadable")
        return transaction, answer.body

    async def _refunds(self, account: Account, transaction_id: str) -> Sequence[RefundAnswer]:
        try:
            transaction, _ = await self._transaction(account, transaction_id)
        except NotThere:
            raise NoAnswer("status_404") from None
        return refund_answers(transaction)

    async def _call(
        self, account: Account, method: str, path: str, *, body: bytes = b"", seconds: float = ASK_SECONDS
    ) -> Answer:
        url, key = base_url(account.settings, BASE_URL) + path, account.secrets["secretKey"]
        return await call_json(self._http, method, url, key, body=body, seconds=seconds)


def make(http: Http) -> SumUp:
    """The adapter as `load_providers` finds it."""
    return SumUp(http)


def _merchant_code(account: Account) -> str:
    """As the API spelled it once it was asked, else as the merchant typed it."""
    return account.account or account.settings["merchantCode"]


def _checkout_path(checkout_id: str) -> str:
    return f"/v0.1/checkouts/{quote(checkout_id, safe='')}"


def _offered(checkout: Checkout) -> Started:
    """Without its page there is nothing to offer; sending the start once more would not bring it."""
    if not checkout.id or not checkout.hosted_checkout_url:
        raise NoAnswer("unreadable", server_error=True)
    return Started(checkout.id, Offer("redirect", checkout.hosted_checkout_url))


def _check_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: Instant) -> bool:
    """Whether the message is signed. Raises SignatureInvalid for a signature that does not hold."""
    timed = headers.get("x-sumup-webhook-signature")
    if timed is not None:
        if "x-sumup-webhook-timestamp" in headers and not timed.startswith("t="):
            timed = f"t={headers['x-sumup-webhook-timestamp']},{timed}"
        check_timed_signature(timed, lambda at: f"v1:{at}:".encode() + body, secrets, "sha256", now)
        return True
    legacy = headers.get("x-payload-signature")
    if legacy is not None:
        check_hex_signature([legacy], body, secrets, "sha256")
    return legacy is not None
