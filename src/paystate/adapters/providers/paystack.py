"""Paystack: hosted checkouts that never expire, proved by our reference, in hundredths of every currency."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    Rows,
    base_url,
    call_json,
    check_hex_signature,
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
    Started,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.kit.clock import Instant, rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import Money, exponent
from paystate.machinery.http import Answer, Http

BASE_URL = "https://api.paystack.co"
SUBUNIT_PLACES = 2
"""Hundredths of every currency, of XOF too, which has no minor unit."""

MINIMUMS = {"NGN": 5_000, "USD": 200, "GHS": 10, "ZAR": 100, "KES": 300, "XOF": 1}
"""What Paystack takes and the least of it, in our minor units."""

LIVE_KEY, TEST_KEY = "sk_live_", "sk_test_"
LIST_LIMIT, PAGES_READ = 100, 10
WORD_LIMIT, CODE_LIMIT, TEXT_LIMIT = 40, 80, 255

OUTCOMES = {
    "abandoned": Outcome.PENDING,  # not paid so far: it can still be, at any time
    "ongoing": Outcome.PENDING,
    "pending": Outcome.PROCESSING,
    "processing": Outcome.PROCESSING,
    "queued": Outcome.PROCESSING,
    "success": Outcome.SUCCEEDED,
    "failed": Outcome.FAILED,
    "reversed": Outcome.REFUNDED,
}
"""Paystack's words; any other is UNKNOWN, never a failure."""

REFUND_OUTCOMES: Mapping[str, Literal["SUCCEEDED", "FAILED"]] = {"processed": "SUCCEEDED", "failed": "FAILED"}
"""Every other word (pending, processing, needs-attention) still waits for somebody."""

LOST_DISPUTE = frozenset({"merchant-accepted", "auto-accepted"})


class _Meta(msgspec.Struct):
    page_count: int = msgspec.field(name="pageCount", default=1)
    total: int = 0


class _Envelope(msgspec.Struct):
    """`status` is about the call; the payment's own is in `data`."""

    status: bool
    message: str = ""
    code: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    meta: _Meta | None = None


class _Offered(msgspec.Struct):
    reference: str
    authorization_url: str = ""


class _Transaction(msgspec.Struct):
    id: int
    domain: Literal["test", "live"]
    status: str
    reference: str
    amount: Decimal | None = None
    requested_amount: Decimal | None = None
    currency: str | None = None
    fees: Decimal | None = None
    channel: str | None = None
    paid_at: str | None = None


class _TransactionId(msgspec.Struct):
    id: int


class _Refund(msgspec.Struct):
    id: int
    status: str
    amount: Decimal
    currency: str
    transaction: int | _TransactionId
    merchant_note: str | None = None


class _Dispute(msgspec.Struct):
    status: str
    transaction: _TransactionId
    resolution: str | None = None


class _Event(msgspec.Struct):
    event: str
    data: dict[str, Any]


class Paystack:
    """A checkout's id at Paystack is our reference: nothing else can be asked about before it is paid."""

    name = "paystack"
    fields: Mapping[str, str] = {
        "secretKey": "The secret key (sk_live_… or sk_test_…). It signs the webhooks too.",
        "payerEmail": "The e-mail address Paystack gets for every payer; without one each payment gets its own.",
        "baseUrl": "Where Paystack's API is.",
    }
    secret_fields = frozenset({"secretKey"})
    optional_fields: Mapping[str, str] = {"payerEmail": "", "baseUrl": BASE_URL}

    def __init__(self, http: Http) -> None:
        self._http = http

    def check(self, money: Money) -> None:
        """Paystack's currencies and its published minimums."""
        least = MINIMUMS.get(money.currency)
        if least is None:
            raise refuse_currency(self.name, money)
        if money.amount < least:
            raise Refused("Paystack takes no amount as small as this.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The body of the initialize call. A checkout of Paystack cannot be given an end."""
        self.check(order.money)
        metadata: dict[str, Any] = {"cancel_action": order.cancel_url}
        if order.description:
            said = {"display_name": "Description", "variable_name": "description"}
            metadata["custom_fields"] = [said | {"value": order.description[:TEXT_LIMIT]}]
        return msgspec.json.encode(
            {
                "email": payer_address(account.settings, order.reference, order.return_url),
                "amount": _subunits(order.money),
                "currency": order.money.currency,
                "reference": order.reference,
                "callback_url": order.return_url,
                "metadata": metadata,
            }
        )

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /transaction/initialize; the unique reference inside is the key.

        Where it exists already an answer was lost: that address is never told again, so the reference is asked about.
        """
        del idempotency_key
        path = "/transaction/initialize"
        answer = await self._call(account, "POST", path, body=request, seconds=START_SECONDS)
        if answer.status in (400, 422):
            raise _refusal(answer.body)
        offered = parsed_as(_Offered, _envelope(expect(answer, 200, 201, credential="secretKey")).data)
        if not offered.authorization_url or offered.reference != parsed_as(_Offered, request).reference:
            raise NoAnswer("unreadable")
        return Started(offered.reference, Offer("redirect", offered.authorization_url))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET /transaction/verify/{reference}; where money was taken, also what was given back or is disputed."""
        answer = await self._call(account, "GET", f"/transaction/verify/{quote(subject.reference, safe='')}")
        if answer.status == 400 and "not found" in _envelope(answer.body, ok=False).message.lower():
            raise NotThere
        raw = expect(answer, 200, credential="secretKey")
        verdict = _verdict(account, parsed_as(_Transaction, _envelope(raw).data), raw)
        if verdict.outcome in (Outcome.SUCCEEDED, Outcome.REFUNDED):
            return await self._with_returns(account, verdict)
        return verdict

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """GET /transaction, whose newest rows are on page 1: read from the last page to the first.

        Rows that cannot be read are left out, and refunds and disputes are only found by asking.
        """
        window = {"from": rfc3339(since), "to": rfc3339(until)}
        rows, following = await last_page_first(partial(self._page, account, "/transaction", window), cursor)
        found = readable(rows, lambda row: _verdict(account, parsed_as(_Transaction, row), row))
        return Listed(found, following)

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST /refund, queued there. It has no key: ours goes into the merchant's note, to be found again."""
        fields = {
            "transaction": order.transaction_id,
            "amount": _subunits(order.money),
            "currency": order.money.currency,
            "merchant_note": order.idempotency_key,
        }
        if order.reason:
            fields["customer_note"] = order.reason[:TEXT_LIMIT]
        body = msgspec.json.encode(fields)
        answer = await self._call(account, "POST", "/refund", body=body, seconds=START_SECONDS)
        if answer.status in (400, 422):
            raise _refusal(answer.body)
        raw = expect(answer, 200, 201, credential="secretKey")
        return _refund_answer(parsed_as(_Refund, _envelope(raw).data))

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """GET /refund of a transaction."""
        del checkout_id
        page = partial(self._page, account, "/refund", {"transaction": transaction_id})
        found = [parsed_as(_Refund, row) for row in await every_page(page, PAGES_READ)]
        own = [refund for refund in found if _transaction_of(refund) == transaction_id]
        return [_refund_answer(refund) for refund in sorted(own, key=lambda refund: refund.id)]

    async def identify(self, account: Account) -> Identity:
        """GET /balance proves the key. No call names the account, so a mark of the key stands for it."""
        key = account.secrets.get("secretKey", "")
        if not key.startswith((LIVE_KEY, TEST_KEY)):
            said = f"A secret key begins with {LIVE_KEY} or {TEST_KEY}."
            raise CredentialsRefused(field="secretKey", answered=said)
        answer = await self._call(account, "GET", "/balance")
        _envelope(expect(answer, 200, credential="secretKey"))
        return Identity(key_mark(key), key.startswith(LIVE_KEY), "Paystack")

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`x-paystack-signature` over the raw body, with the secret key; it carries neither time nor event id."""
        del now
        given = headers.get("x-paystack-signature", "")
        check_hex_signature([given], body, [account.secrets.get("secretKey", "")], "sha512")
        event = event_as(_Event, body)
        reference = _named(event)
        return Message("", event.event, [Named(reference)] if reference else [], authentic=True)

    async def _with_returns(self, account: Account, verdict: Verdict) -> Verdict:
        """The verdict with the money that went back and whether somebody disputes it."""
        transaction_id = verdict.transaction_id or ""
        refunds = await self.refunds_of(account, transaction_id, None)
        page = partial(self._page, account, "/dispute", {"transaction": transaction_id})
        disputes = [parsed_as(_Dispute, row) for row in await every_page(page, PAGES_READ)]
        own = [dispute for dispute in disputes if str(dispute.transaction.id) == transaction_id]
        return replace(with_refunds(verdict, refunds), disputed=any(_holds(dispute) for dispute in own))

    async def _page(self, account: Account, path: str, query: Mapping[str, str], number: int) -> Rows:
        wanted = urlencode({**query, "page": str(number), "perPage": str(LIST_LIMIT)})
        answer = await self._call(account, "GET", f"{path}?{wanted}")
        envelope = _envelope(expect(no_404(answer), 200, credential="secretKey"))
        meta = envelope.meta or _Meta()
        return Rows(parsed_as(list[msgspec.Raw], envelope.data), meta.page_count, meta.total)

    async def _call(
        self, account: Account, method: str, path: str, *, body: bytes = b"", seconds: float = ASK_SECONDS
    ) -> Answer:
        url = base_url(account.settings, BASE_URL) + path
        key = account.secrets.get("secretKey", "")
        return await call_json(self._http, method, url, key, body=body, seconds=seconds)


def make(http: Http) -> Paystack:
    """The adapter as `load_providers` finds it."""
    return Paystack(http)


def _subunits(money: Money) -> int:
    return int(money.amount * 10 ** (SUBUNIT_PLACES - exponent(money.currency)))  # none has more than two


def _envelope(body: bytes, *, ok: bool = True) -> _Envelope:
    """The body's envelope, if it says of the call what the HTTP status said."""
    envelope = parsed_as(_Envelope, body)
    if envelope.status is not ok:
        raise NoAnswer("unreadable")
    return envelope


def _refusal(body: bytes) -> Exception:
    envelope = _envelope(body, ok=False)
    if envelope.code == "duplicate_reference" or "duplicate" in envelope.message.lower():
        return NoAnswer("conflict", server_error=True)
    return StartRefused((envelope.code or envelope.message or "refused")[:CODE_LIMIT])


def _verdict(account: Account, transaction: _Transaction, raw: bytes) -> Verdict:
    verdict = Verdict(
        outcome=OUTCOMES.get(transaction.status, Outcome.UNKNOWN),
        reference=transaction.reference,
        account=account.account,  # the answer does not name it: only the key of this account could ask
        live=transaction.domain == "live",
        detail=transaction.status[:WORD_LIMIT],
        raw_digest=hashlib.sha256(raw).hexdigest(),
        checkout_id=transaction.reference,
        transaction_id=str(transaction.id),
        method=text_or_none(transaction.channel),
        provider_at=time_or_none(transaction.paid_at),
    )
    if verdict.outcome not in (Outcome.SUCCEEDED, Outcome.REFUNDED):
        return verdict
    if transaction.amount is None or not transaction.currency:
        raise NoAnswer("unreadable")
    currency = transaction.currency.upper()
    fee = transaction.fees
    return replace(
        verdict,
        amount=minor_units(_collected(transaction, transaction.amount), currency, places=SUBUNIT_PLACES),
        currency=currency,
        fee=None if fee is None else fee_units(fee, currency, places=SUBUNIT_PLACES),
    )


def _collected(transaction: _Transaction, charged: Decimal) -> Decimal:
    """What was paid for the order: without the fee where exactly the fee came on top, else all that was charged.

    Less than was asked for, or more for another reason, stays visible.
    """
    asked, fees = transaction.requested_amount, transaction.fees
    return asked if asked is not None and fees is not None and charged == asked + fees else charged


def _holds(dispute: _Dispute) -> bool:
    return dispute.status != "resolved" or dispute.resolution in LOST_DISPUTE


def _transaction_of(refund: _Refund) -> str:
    return str(refund.transaction if isinstance(refund.transaction, int) else refund.transaction.id)


def _refund_answer(refund: _Refund) -> RefundAnswer:
    currency = refund.currency.upper()
    return RefundAnswer(
        str(refund.id),
        REFUND_OUTCOMES.get(refund.status, "PENDING"),
        Money(minor_units(refund.amount, currency, places=SUBUNIT_PLACES), currency),
        text_or_none(refund.merchant_note),
    )


def _named(event: _Event) -> str | None:
    """Our reference in an event about a charge, a refund or a dispute; transfers are not about checkouts."""
    if event.event.startswith("refund."):
        return text_or_none(event.data.get("transaction_reference"))
    if event.event.startswith("charge.dispute."):
        disputed = event.data.get("transaction")
        return text_or_none(disputed.get("reference")) if isinstance(disputed, dict) else None
    return text_or_none(event.data.get("reference")) if event.event.startswith("charge.") else None
