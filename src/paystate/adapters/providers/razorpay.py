"""Razorpay: payment links with our reference, proved by the link and by the payments it lists."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    base_url,
    call,
    check_hex_signature,
    event_as,
    expect,
    key_mark,
    no_404,
    parsed_as,
    refuse_currency,
    text_or_none,
)
from paystate.adapters.razorpay_answers import (
    CURRENCIES,
    REFUND_KEY,
    Link,
    Links,
    Payment,
    Reason,
    Refund,
    Rows,
    expressible,
    link_verdict,
    listed_payments,
    paid_verdict,
    refund_answer,
    refusal,
)
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Identity,
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
from paystate.kit.clock import DAY, SECOND, Clock, Instant, SystemClock
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Answer, Http

BASE_URL = "https://api.razorpay.com/v1"
LIVE_KEY, TEST_KEY = "rzp_live_", "rzp_test_"
LINKS = "/payment_links"
REFERENCE = "reference"
"""Name in a link's notes, and perhaps in those of its payments."""

MINIMUMS = {"INR": 100}
DESCRIPTION_LIMIT = 2_048
NOTE_LIMIT = 255
PAGE_LIMIT, PAGES_READ = 100, 10
PAYMENTS_READ = 10

SHORTEST_SECONDS = 25 * 60
"""Razorpay takes 15 minutes and more from when it reads the call, which may be sent again some minutes later."""
LONGEST_SECONDS = 180 * DAY // SECOND
"""Six months are never shorter."""

REFUND_KEY_SHAPE = re.compile(r"[A-Za-z0-9_-]{10,64}")
PLINK = re.compile(r"#([A-Za-z0-9]{14})")
"""The description of a link's payment in Razorpay's examples: the link's id without its prefix."""


class Razorpay:
    """One connection is one key pair; the prefix of the key's id says whether the money is real.

    `webhookSecret` may hold several secrets, apart by a comma or a space: after a change older events keep the old one.
    """

    name = "razorpay"
    fields: Mapping[str, str] = {
        "keyId": "The key's id (rzp_live_… or rzp_test_…).",
        "keySecret": "The secret of this key.",
        "webhookSecret": "The secret given to the webhook in the dashboard; several while one is being changed.",
        "baseUrl": "Where Razorpay's API is; only for a simulator.",
    }
    secret_fields = frozenset({"keySecret", "webhookSecret"})
    optional_fields: Mapping[str, str] = {"webhookSecret": "", "baseUrl": BASE_URL}

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    def check(self, money: Money) -> None:
        """Razorpay's published currencies, of which the last of three decimals must be 0, and its minimum."""
        if money.currency not in CURRENCIES:
            raise refuse_currency("Razorpay", money)
        if not expressible(money):
            raise Refused(
                f"Razorpay cannot express this amount of {money.currency} exactly.",
                code="currency_not_supported_by_provider",
            )
        if money.amount < MINIMUMS.get(money.currency, 1):
            raise Refused("Razorpay takes no amount as small as this.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The body of the create call; a deadline outside Razorpay's 15 minutes to six months is moved inside."""
        del account
        self.check(order.money)
        body: dict[str, Any] = {
            "amount": order.money.amount,
            "currency": order.money.currency,
            "accept_partial": False,
            "reference_id": order.reference,
            "description": order.description[:DESCRIPTION_LIMIT],
            "notify": {"sms": False, "email": False},
            "reminder_enable": False,
            "notes": {REFERENCE: order.reference},
            "callback_url": order.return_url,
            "callback_method": "get",
        }
        if order.expires_at is not None:
            now = self._clock.now() // SECOND
            earliest, latest = now + SHORTEST_SECONDS, now + LONGEST_SECONDS
            body["expire_by"] = min(max(order.expires_at // SECOND, earliest), latest)
        return msgspec.json.encode(body)

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /payment_links; the unique reference inside is the key.

        Whatever it was refused for: an earlier sending may have made the link, so the reference is asked about.
        """
        del idempotency_key
        wanted = str(msgspec.json.decode(request)["reference_id"])
        answer = await self._call(account, "POST", LINKS, body=request, seconds=START_SECONDS)
        if answer.status == 400:
            link = await self._made_before(account, wanted, refusal(answer.body))
        elif answer.status == 409:
            raise NoAnswer("conflict", server_error=True)
        else:
            link = parsed_as(Link, _body(answer))
        if not link.short_url or link.reference_id != wanted:
            raise NoAnswer("unreadable")
        return Started(link.id, Offer("redirect", link.short_url))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET the link by its id, found by our reference where there is none, then each payment that it lists."""
        return await self._ask_by_id(account, await self._id_of(account, subject))

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """POST …/cancel; one that is paid, expired or cancelled (400) is asked about again."""
        checkout_id = await self._id_of(account, subject)
        path = f"{_path(checkout_id)}/cancel"
        answer = await self._call(account, "POST", path, seconds=START_SECONDS)
        if answer.status == 400:
            return await self._ask_by_id(account, checkout_id)
        raw = _body(answer)
        return await self._proved(account, parsed_as(Link, raw), raw)

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST /payments/{id}/refund, once per key; how long a key holds is not published, so ours is in the notes too."""
        notes = {REFUND_KEY: order.idempotency_key}
        if order.reason:
            notes["reason"] = order.reason[:NOTE_LIMIT]
        body = msgspec.json.encode({"amount": order.money.amount, "notes": notes})
        path = f"/payments/{quote(order.transaction_id, safe='')}/refund"
        headers = {"X-Refund-Idempotency": _refund_key(order.idempotency_key)}
        answer = await self._call(account, "POST", path, body=body, headers=headers, seconds=START_SECONDS)
        if answer.status == 409:
            raise NoAnswer("conflict", server_error=True)
        if answer.status != 400:
            return refund_answer(parsed_as(Refund, _body(answer)))
        reason = refusal(answer.body)
        for made in await self.refunds_of(account, order.transaction_id, order.checkout_id):
            if made.key == order.idempotency_key:
                return made
        if "idempotency key" in reason.description.lower():
            raise NoAnswer("conflict", server_error=True)
        raise StartRefused(reason.words)

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """GET /payments/{id}/refunds, all pages; one that new rows push back is seen twice and counted once."""
        del checkout_id
        path = f"/payments/{quote(transaction_id, safe='')}/refunds"
        found: dict[str, Refund] = {}
        for number in range(PAGES_READ):
            query = urlencode({"count": str(PAGE_LIMIT), "skip": str(number * PAGE_LIMIT)})
            answer = await self._call(account, "GET", f"{path}?{query}")
            rows = [parsed_as(Refund, row) for row in parsed_as(Rows, _body(answer)).items]
            found.update((row.id, row) for row in rows)
            if len(rows) < PAGE_LIMIT:
                own = [row for row in found.values() if row.payment_id == transaction_id]
                return [refund_answer(row) for row in sorted(own, key=lambda row: (row.created_at, row.id))]
        raise NoAnswer("too_many_pages")

    async def identify(self, account: Account) -> Identity:
        """GET /payments proves the keys. No call names the account, so a mark of the key's id stands for it."""
        key_id = account.settings.get("keyId", "")
        if not key_id.startswith((LIVE_KEY, TEST_KEY)):
            told = f"A key's id begins with {LIVE_KEY} or {TEST_KEY}."
            raise CredentialsRefused(field="keyId", answered=told)
        answer = await self._call(account, "GET", "/payments?count=1")
        parsed_as(Rows, _body(answer))
        return Identity(key_mark(key_id), key_id.startswith(LIVE_KEY), "Razorpay")

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`X-Razorpay-Signature` over the raw body, which carries no time; the event's id is a header of its own."""
        del now
        secrets = account.secrets.get("webhookSecret", "").replace(",", " ").split()
        check_hex_signature([headers.get("x-razorpay-signature", "")], body, secrets, "sha256")
        event = event_as(_Event, body)
        named = _named(event.payload)
        event_id = headers.get("x-razorpay-event-id", "")
        return Message(event_id, event.event, [] if named is None else [named], authentic=True)

    async def _ask_by_id(self, account: Account, checkout_id: str) -> Verdict:
        answer = await self._call(account, "GET", _path(checkout_id))
        if answer.status == 400 and "does not exist" in refusal(answer.body).description.lower():
            raise NotThere
        raw = _body(answer)
        return await self._proved(account, parsed_as(Link, raw), raw)

    async def _proved(self, account: Account, link: Link, raw: bytes) -> Verdict:
        """The link's own word, or where it lists payments what each of them says of itself."""
        verdict = link_verdict(account, link, raw)
        payment_ids = listed_payments(link)
        if len(payment_ids) > PAYMENTS_READ:
            raise NoAnswer("too_many_payments")
        payments = [await self._payment(account, payment_id) for payment_id in payment_ids]
        return paid_verdict(verdict, link, payments) if payments else verdict

    async def _payment(self, account: Account, payment_id: str) -> Payment:
        answer = await self._call(account, "GET", f"/payments/{quote(payment_id, safe='')}")
        payment = parsed_as(Payment, _body(answer))
        if payment.id != payment_id:
            raise NoAnswer("unreadable")
        return payment

    async def _id_of(self, account: Account, subject: Subject) -> str:
        """Raises NotThere when no link has our reference; a single link that answers to it is compared later."""
        if subject.checkout_id is not None:
            return subject.checkout_id
        links = await self._of_reference(account, subject.reference)
        own = [link for link in links if link.reference_id == subject.reference] or links
        if not own:
            raise NotThere
        if len(own) > 1:
            raise NoAnswer("ambiguous")
        return own[0].id

    async def _made_before(self, account: Account, reference: str, reason: Reason) -> Link:
        """The link of our reference. Raises StartRefused when there is none and the refusal was about something else."""
        for link in await self._of_reference(account, reference):
            if link.reference_id == reference:
                return link
        if "reference" in reason.description.lower():
            raise NoAnswer("conflict", server_error=True)
        raise StartRefused(reason.words)

    async def _of_reference(self, account: Account, reference: str) -> list[Link]:
        answer = await self._call(account, "GET", f"{LINKS}?{urlencode({'reference_id': reference})}")
        return parsed_as(Links, _body(answer)).payment_links

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
        pair = f"{account.settings.get('keyId', '')}:{account.secrets.get('keySecret', '')}"
        sent = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", **(headers or {})}
        if body:
            sent["Content-Type"] = "application/json"
        url = base_url(account.settings, BASE_URL) + path
        return await call(self._http, method, url, headers=sent, body=body, seconds=seconds)


def make(http: Http) -> Razorpay:
    """The adapter as `load_providers` finds it."""
    return Razorpay(http, SystemClock())


class _Event(msgspec.Struct):
    event: str
    payload: dict[str, Any]


def _path(checkout_id: str) -> str:
    return f"{LINKS}/{quote(checkout_id, safe='')}"


def _body(answer: Answer) -> bytes:
    """The body of a call that was carried out.

    A 404 speaks of the address, never of a checkout; a 401 of the pair, and it is the secret that is mistyped.
    """
    return expect(no_404(answer), 200, 201, credential="keySecret")


def _refund_key(key: str) -> str:
    """Our key as it is, or where Razorpay would not take its letters a digest of it."""
    return key if REFUND_KEY_SHAPE.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


def _named(payload: Mapping[str, Any]) -> Named | None:
    """A link names itself; a payment names it by its notes or its description, if at all."""
    link, payment = _entity(payload, "payment_link"), _entity(payload, "payment")
    notes = payment.get("notes")
    described = PLINK.fullmatch(text_or_none(payment.get("description")) or "")
    reference = link.get("reference_id") or (notes.get(REFERENCE) if isinstance(notes, dict) else None)
    checkout_id = link.get("id") or (f"plink_{described[1]}" if described else None)
    named = Named(text_or_none(reference), text_or_none(checkout_id))
    return named if named.reference or named.checkout_id else None


def _entity(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = payload.get(name)
    entity = part.get("entity") if isinstance(part, dict) else None
    return entity if isinstance(entity, dict) else {}
