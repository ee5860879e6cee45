"""Flutterwave v3: hosted links that can be disabled, proved by our reference, which may hold several transactions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.client_credentials import Door, credential_of, needs_token
from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    Rows,
    base_url,
    event_as,
    every_page,
    expect,
    fee_units,
    key_mark,
    last_page_first,
    minor_units,
    no_404,
    parsed_as,
    payer_address,
    readable,
    refuse_currency,
    text_or_none,
    time_or_none,
    with_refunds,
)
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
    RefundAnswer,
    RefundOrder,
    SignatureInvalid,
    Started,
    StartRefused,
    Subject,
    Token,
    Verdict,
)
from paystate.kit.clock import DAY, MINUTE, Clock, Instant, SystemClock, as_datetime
from paystate.kit.money import Money
from paystate.machinery.http import Answer, Http
from paystate.machinery.secrets import ct_eq

BASE_URL = "https://api.flutterwave.com"
TOKEN_URL = "https://idp.flutterwave.com/realms/flutterwave/protocol/openid-connect/token"  # noqa: S105
DEFAULTS = {"mode": "live", "baseUrl": BASE_URL, "tokenUrl": TOKEN_URL}
TEST_KEY, ANY_KEY = "FLWSECK_TEST-", "FLWSECK-"
CURRENCIES = "CAD CLP COP EGP EUR GBP GHS GNF KES MAD MWK NGN RWF TZS UGX USD XAF XOF ZAR ZMW"
TRANSACTIONS_READ, PAGES_READ, SECRETS_READ = 10, 10, 5
WORD_LIMIT, CODE_LIMIT, TEXT_LIMIT, SESSION_MINUTES = 40, 80, 255, 24 * 60

OUTCOMES = {
    **dict.fromkeys(("successful", "succeeded"), Outcome.SUCCEEDED),
    "pending": Outcome.PROCESSING,
    "failed": Outcome.FAILED,
}  # any other word is UNKNOWN, never a failure
REFUND_OUTCOMES: Mapping[str, Literal["SUCCEEDED", "FAILED"]] = {"completed": "SUCCEEDED", "failed": "FAILED"}
MONEY = (Outcome.SUCCEEDED, Outcome.REFUNDED)
# Which of several transactions under one reference speaks for the checkout.
SAYS_MOST = (*MONEY, Outcome.PROCESSING, Outcome.UNKNOWN, Outcome.FAILED)
# The list of refunds is documented nowhere for certain: without it a payment still is one.
REFUNDS_UNTOLD = frozenset({"status_400", "status_404", "too_many_pages", "unreadable"})
_encode = msgspec.json.Encoder(decimal_format="number").encode


class _PageInfo(msgspec.Struct):
    total_pages: int = 1
    total: int = 0


class _Meta(msgspec.Struct):
    page_info: _PageInfo = msgspec.field(default_factory=_PageInfo)


class _Envelope(msgspec.Struct):
    status: Literal["success"]  # of the call; the payment's own is in `data`
    data: msgspec.Raw = msgspec.Raw(b"null")
    meta: _Meta | None = None


class _Refusal(msgspec.Struct):
    status: Literal["error"]
    message: str = ""


class _Link(msgspec.Struct):
    link: Annotated[str, msgspec.Meta(min_length=1)]


class _Transaction(msgspec.Struct):
    id: int | str
    tx_ref: str
    status: str
    amount: Decimal | None = None
    currency: str | None = None
    app_fee: Decimal | None = None
    merchant_fee: Decimal | None = None
    payment_type: str | None = None
    created_at: str | None = None
    account_id: int | str | None = None


class _Refund(msgspec.Struct):
    id: int | str
    status: str
    amount_refunded: Decimal
    tx_id: int | str
    comments: str | None = None
    created_at: str = ""


class _Event(msgspec.Struct):
    event: str
    data: dict[str, Any]


class Flutterwave:
    """A checkout's id is its link: what closes it; everything else is asked for by our reference."""

    name = "flutterwave"
    fields: Mapping[str, str] = {
        "secretKey": "The secret key (FLWSECK-… or FLWSECK_TEST-…); or else clientId and clientSecret.",
        "clientId": "The client id, where the account has no secret key.",
        "clientSecret": "The client secret that goes with it.",
        "mode": "With a client id: live or test. A secret key says so itself.",
        "webhookSecret": "The secret hash of the webhooks; two, with a space between, while it is changed.",
        "accountId": "The account's number (account_id). With it every payment is compared to it.",
        "payerEmail": "The e-mail address Flutterwave gets for every payer; without one each payment gets its own.",
        "baseUrl": "Where Flutterwave's API is, up to the /v3.",
        "tokenUrl": "Where Flutterwave gives out access tokens.",
    }
    secret_fields = frozenset({"secretKey", "clientSecret", "webhookSecret"})
    optional_fields: Mapping[str, str] = dict.fromkeys(fields, "") | DEFAULTS

    def __init__(self, http: Http, clock: Clock | None = None) -> None:
        self._http = http
        self._clock = clock or SystemClock()

    def check(self, money: Money) -> None:
        """The currencies of Flutterwave's checkout; it publishes no minimum."""
        if money.currency not in CURRENCIES.split():
            raise refuse_currency("Flutterwave", money)

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The body of the payments call; the amount is a text in major units."""
        self.check(order.money)
        text = order.description[:TEXT_LIMIT]
        body: dict[str, Any] = {
            "tx_ref": order.reference,
            "amount": order.money.major,
            "currency": order.money.currency,
            "redirect_url": order.return_url,
            "customer": {"email": payer_address(account.settings, order.reference, order.return_url)},
            "customizations": {"title": text or "Payment", "description": text},
        }
        if order.expires_at is not None:
            minutes = max(1, (order.expires_at - self._clock.now()) // MINUTE)
            body["session_duration"] = min(minutes, SESSION_MINUTES)
        return _encode(body)

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /payments. It has no key: after a lost answer a second link is made, and nobody ever had the first."""
        del idempotency_key
        answer = await self._call(account, "POST", "/payments", body=request, seconds=START_SECONDS)
        link = parsed_as(_Link, parsed_as(_Envelope, _accepted(account, answer)).data).link
        return Started(link, Offer("redirect", link))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET /transactions/verify_by_reference, then the others of this reference by their ids.

        Before the customer acts there is none: PENDING for a checkout whose link we have, NotThere for any other.
        """
        path = f"/transactions/verify_by_reference?{urlencode({'tx_ref': subject.reference})}"
        answer = await self._call(account, "GET", path)
        if _is_unknown(answer) and subject.checkout_id is not None:
            return _untouched(account, subject, answer.body)
        newest = _read(account, subject, answer)
        others = await self._others(account, newest, subject)
        told = [await self._with_refunds(account, verdict) for verdict in (*others[::-1], newest)]
        first, *further = sorted(told, key=lambda v: (SAYS_MOST.index(v.outcome), v.provider_at or 0))
        return replace(first, further=tuple(v for v in further if v.outcome in MONEY))

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """POST /payments/link/disable, then ask once more: what was paid meanwhile counts."""
        verdict = await self.ask(account, subject)
        if subject.checkout_id is None or verdict.outcome not in (Outcome.PENDING, Outcome.FAILED):
            return verdict
        body = msgspec.json.encode({"link": subject.checkout_id})
        answer = await self._call(account, "POST", "/payments/link/disable", body=body)
        if (
            answer.status != 400 or b"disabled" not in answer.body
        ):  # else it was, by a call whose answer got lost
            parsed_as(_Envelope, expect(answer, 200, credential=credential_of(account)))
        verdict = await self.ask(account, subject)
        unpaid = verdict.outcome is Outcome.PENDING
        return replace(verdict, outcome=Outcome.CANCELED, detail="link_disabled") if unpaid else verdict

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """GET /transactions by days: what customers acted on and can be read. Refunds are only found by asking."""
        query = {"from": _day(since), "to": _day(until)}
        rows, following = await last_page_first(partial(self._page, account, "/transactions", query), cursor)
        found = readable(rows, lambda row: _verdict(account, parsed_as(_Transaction, row), row))
        return Listed([v for v in found if since <= (v.provider_at or -1) < until], following)

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST /transactions/{id}/refund. It has no key: ours leads the comments, to be found again."""
        comments = f"{order.idempotency_key} {order.reason}".strip()[:TEXT_LIMIT]
        body = _encode({"amount": Decimal(order.money.major), "comments": comments})
        path = f"/transactions/{quote(order.transaction_id, safe='')}/refund"
        answer = await self._call(account, "POST", path, body=body, seconds=START_SECONDS)
        refund = parsed_as(_Refund, parsed_as(_Envelope, _accepted(account, answer)).data)
        return replace(_refund_answer(refund, order.money.currency), key=order.idempotency_key)

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """GET /refunds since the day of the transaction, which is asked for first: refunds name no currency."""
        paid = await self._verify(account, transaction_id, Subject("", checkout_id))
        return await self._refunds(account, paid)

    async def identify(self, account: Account) -> Identity:
        """GET /transactions proves the credentials. No call names the account: `accountId`, or else a mark of them."""
        live, rows = _is_live(account), (await self._page(account, "/transactions", {}, 1)).rows
        known = readable(rows, lambda row: parsed_as(_Transaction, row).account_id)
        given = account.settings.get("accountId", "")
        if given and any(known) and given not in map(str, known):
            raise CredentialsRefused(field="accountId", answered="Its payments name another account.")
        mark = key_mark(account.secrets.get("secretKey") or account.settings.get("clientId", ""))
        return Identity(given or mark, live, "Flutterwave")

    def needs_token(self, account: Account) -> bool:
        """Without a secret key, with a client's id and secret."""
        return needs_token(account)

    async def fetch_token(self, account: Account) -> Token:
        """The client's id and secret traded for an access token that lives ten minutes."""
        return await self._door(account).fetch_token()

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`verif-hash` is the secret itself and the body is not signed: whoever overheard one can write any other."""
        del now
        given, secrets = headers.get("verif-hash", "").encode(), account.secrets.get("webhookSecret", "")
        if not any(ct_eq(given, secret.encode()) for secret in secrets.split()[:SECRETS_READ]):
            raise SignatureInvalid
        event = event_as(_Event, body)
        reference = text_or_none(event.data.get("tx_ref"))
        return Message("", event.event, [Named(reference)] if reference else [], authentic=True)

    async def _others(self, account: Account, newest: Verdict, subject: Subject) -> list[Verdict]:
        """The further transactions of this reference, each asked for by its id."""
        rows = (await self._page(account, "/transactions", {"tx_ref": subject.reference}, 1)).rows
        listed = readable(rows[:TRANSACTIONS_READ], lambda row: parsed_as(_Transaction, row))
        ids = [str(t.id) for t in listed if t.tx_ref == subject.reference]
        return [await self._verify(account, i, subject) for i in ids if i != newest.transaction_id]

    async def _verify(self, account: Account, transaction_id: str, subject: Subject) -> Verdict:
        answer = await self._call(account, "GET", f"/transactions/{quote(transaction_id, safe='')}/verify")
        return _read(account, subject, answer)

    async def _with_refunds(self, account: Account, verdict: Verdict) -> Verdict:
        """The verdict with what went back, as far as the list of refunds tells."""
        if verdict.outcome is not Outcome.SUCCEEDED:
            return verdict
        try:
            refunds = await self._refunds(account, verdict)
        except NoAnswer as error:
            if error.reason not in REFUNDS_UNTOLD:
                raise
            return verdict
        return with_refunds(verdict, refunds)

    async def _refunds(self, account: Account, paid: Verdict) -> list[RefundAnswer]:
        if paid.currency is None:
            return []  # nothing was taken
        days = {"from": _day((paid.provider_at or 0) - DAY), "to": _day(self._clock.now() + DAY)}
        page = partial(self._page, account, "/refunds", days)
        found = [parsed_as(_Refund, row) for row in reversed(await every_page(page, PAGES_READ))]
        own = [refund for refund in found if str(refund.tx_id) == paid.transaction_id]
        return [_refund_answer(r, paid.currency) for r in sorted(own, key=lambda r: r.created_at)]

    async def _page(self, account: Account, path: str, query: Mapping[str, str], number: int) -> Rows:
        answer = await self._call(account, "GET", f"{path}?{urlencode({**query, 'page': str(number)})}")
        envelope = parsed_as(_Envelope, expect(no_404(answer), 200, credential=credential_of(account)))
        info = (envelope.meta or _Meta()).page_info
        return Rows(parsed_as(list[msgspec.Raw], envelope.data), info.total_pages, info.total)

    async def _call(
        self, account: Account, method: str, path: str, *, body: bytes = b"", seconds: float = ASK_SECONDS
    ) -> Answer:
        url = f"{base_url(account.settings, BASE_URL)}/v3{path}"
        return await self._door(account).call(method, url, body=body, seconds=seconds)

    def _door(self, account: Account) -> Door:
        return Door(self._http, account, account.settings.get("tokenUrl") or TOKEN_URL)


def make(http: Http) -> Flutterwave:
    """The adapter as `load_providers` finds it."""
    return Flutterwave(http)


def _is_live(account: Account) -> bool:
    key, mode = account.secrets.get("secretKey", ""), account.settings.get("mode") or "live"
    if key and not key.startswith((TEST_KEY, ANY_KEY)):
        raise CredentialsRefused(field="secretKey", answered=f"It begins with {ANY_KEY} or {TEST_KEY}.")
    if mode not in ("live", "test"):
        raise CredentialsRefused(field="mode", answered="The mode is live or test.")
    return key.startswith(ANY_KEY) if key else mode == "live"


def _accepted(account: Account, answer: Answer) -> bytes:
    """The body of a call that makes something. Raises StartRefused where it certainly made nothing."""
    if answer.status not in (400, 422):
        return expect(answer, 200, 201, credential=credential_of(account))
    told = parsed_as(_Refusal, answer.body).message
    if "duplicate" in told.lower() or "already" in told.lower():
        raise NoAnswer("conflict", server_error=True)
    raise StartRefused((told or "refused")[:CODE_LIMIT])


def _is_unknown(answer: Answer) -> bool:
    """Whether Flutterwave itself says that it has no such transaction."""
    told = parsed_as(_Refusal, answer.body).message.lower() if answer.status in (400, 404) else ""
    return "no transaction" in told or "not found" in told


def _untouched(account: Account, subject: Subject, raw: bytes) -> Verdict:
    """Flutterwave knows no transaction before the customer acts on the link."""
    said = ("no_transaction", hashlib.sha256(raw).hexdigest())
    return Verdict(Outcome.PENDING, subject.reference, account.account, account.live, *said)


def _read(account: Account, subject: Subject, answer: Answer) -> Verdict:
    if _is_unknown(answer):
        raise NotThere
    data = parsed_as(_Envelope, expect(answer, 200, credential=credential_of(account))).data
    verdict = _verdict(account, parsed_as(_Transaction, data), answer.body)
    return replace(verdict, checkout_id=subject.checkout_id)


def _verdict(account: Account, transaction: _Transaction, raw: bytes) -> Verdict:
    """Account and mode are our own words, as no answer names them; but `accountId`, if we have it, is compared."""
    named = account.settings.get("accountId") and transaction.account_id
    verdict = Verdict(
        outcome=OUTCOMES.get(transaction.status, Outcome.UNKNOWN),
        reference=transaction.tx_ref,
        account=str(named or account.account),
        live=account.live,
        detail=transaction.status[:WORD_LIMIT],
        raw_digest=hashlib.sha256(raw).hexdigest(),
        transaction_id=str(transaction.id),
        method=text_or_none(transaction.payment_type),
        provider_at=time_or_none(transaction.created_at),
    )
    if verdict.outcome is not Outcome.SUCCEEDED:
        return verdict
    if transaction.amount is None or not transaction.currency:
        raise NoAnswer("unreadable")
    currency = transaction.currency.upper()
    fees = [fee for fee in (transaction.app_fee, transaction.merchant_fee) if fee is not None]
    return replace(
        verdict,
        amount=minor_units(transaction.amount, currency),
        currency=currency,
        fee=fee_units(sum(fees, Decimal(0)), currency) if fees else None,
    )


def _refund_answer(refund: _Refund, currency: str) -> RefundAnswer:
    return RefundAnswer(
        str(refund.id),
        REFUND_OUTCOMES.get(refund.status.partition("-")[0], "PENDING"),
        Money(minor_units(refund.amount_refunded, currency), currency),
        (refund.comments or "").partition(" ")[0] or None,
    )


def _day(at: int) -> str:
    return as_datetime(max(at, 0)).date().isoformat()
