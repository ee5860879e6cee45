"""Stripe: Checkout Sessions on its hosted page; the session and its charge are the proof."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    START_SECONDS,
    base_url,
    call,
    check_timed_signature,
    expect,
    parsed_as,
    readable,
    refuse_currency,
    text_or_none,
)
from paystate.adapters.stripe_answers import (
    REFERENCE,
    REFUND_KEY,
    Balance,
    Owner,
    Page,
    Refund,
    Session,
    read_page,
    read_session,
    refund_answer,
    stripe_units,
    verdict,
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
from paystate.kit.clock import SECOND, Clock, Instant, SystemClock
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Answer, Http

BASE_URL = "https://api.stripe.com"
API_VERSION = "2026-10-28.endive"
EXPAND = "payment_intent.latest_charge.balance_transaction"
PAGE_LIMIT = 100
SEARCH_PAGES = 20
REFUND_PAGES = 10
REFUND_KEY_SECONDS = 24 * 3_600

SHORTEST_SECONDS = 40 * 60
"""Stripe takes 30 minutes and more from when it reads the call, which may be sent again some minutes later."""
LONGEST_SECONDS = 24 * 3_600 - 60

SEARCHED_SECONDS = ((-300, 900), (900, 24 * 3_600))
"""Where a start is found by its time: mostly at once, else as long as its key holds and it may be sent again."""

SLICE_SECONDS = 3_600
NAME_LIMIT = 250
TEXT_LIMIT = 500
CODE_LIMIT = 80

MINIMUMS = {"EUR": 50, "GBP": 30, "USD": 50}
REFUSALS = frozenset({400, 402})
IN_USE = frozenset({409, 424})
"""Another call with our key is under way, or something Stripe itself needs is away: ask, never give up."""


class Stripe:
    """One connection is one secret (or restricted) key; test and live keys see different worlds.

    `webhookSecret` may hold several secrets, apart by a comma or a space, while one is being rolled.
    """

    name = "stripe"
    fields: Mapping[str, str] = {
        "secretKey": "The secret key (sk_…) or a restricted one (rk_…) that may write Checkout Sessions and refunds "
        "and read charges, balance and account.",
        "webhookSecret": "The signing secret of the webhook endpoint (whsec_…); several while one is being rolled.",
        "baseUrl": "Where Stripe's API is; only for a simulator.",
    }
    secret_fields = frozenset({"secretKey", "webhookSecret"})
    optional_fields: Mapping[str, str] = {"webhookSecret": "", "baseUrl": BASE_URL}
    refund_key_seconds = REFUND_KEY_SECONDS

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    def check(self, money: Money) -> None:
        """Stripe's units, in which the last of three decimals must be 0, and its published minimums."""
        if stripe_units(replace(money, amount=0)) is None:
            raise refuse_currency("Stripe", money)
        if stripe_units(money) is None:
            raise Refused(
                f"Stripe cannot express this amount of {money.currency} exactly.",
                code="currency_not_supported_by_provider",
            )
        if money.amount < MINIMUMS.get(money.currency, 1):
            raise Refused("Stripe takes no amount as small as this.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The form of the create call; a deadline outside Stripe's 30 minutes to 24 hours is moved inside."""
        del account
        self.check(order.money)
        price = "line_items[0][price_data]"
        fields = {
            "mode": "payment",
            "client_reference_id": order.reference,
            f"metadata[{REFERENCE}]": order.reference,
            f"payment_intent_data[metadata][{REFERENCE}]": order.reference,
            "line_items[0][quantity]": "1",
            f"{price}[currency]": order.money.currency.lower(),
            f"{price}[unit_amount]": str(stripe_units(order.money)),
            f"{price}[product_data][name]": order.description.strip()[:NAME_LIMIT] or order.reference,
            "success_url": order.return_url,
            "cancel_url": order.cancel_url,
        }
        if order.expires_at is not None:
            fields["expires_at"] = str(self._deadline(order.expires_at))
        return urlencode(fields).encode()

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """POST /v1/checkout/sessions with the stored bytes and key."""
        answer = await self._post(account, "/v1/checkout/sessions", request, key=idempotency_key)
        session = read_session(_accepted(answer))
        if not session.url:
            raise NoAnswer("unreadable")
        return Started(session.id, Offer("redirect", session.url))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET the session by its id; without one, look through the sessions made around the start."""
        if subject.checkout_id is None:
            session, raw = await self._search(account, subject)
            return verdict(session, account.account, raw)
        return await self._ask_by_id(account, subject.checkout_id)

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """POST …/expire; one that is no longer open (400) is asked about again."""
        checkout_id = subject.checkout_id
        if checkout_id is None:
            checkout_id = (await self._search(account, subject))[0].id
        path = f"/v1/checkout/sessions/{quote(checkout_id, safe='')}/expire"
        answer = await self._post(account, path, urlencode({"expand[]": EXPAND}).encode())
        if answer.status == 400:
            return await self._ask_by_id(account, checkout_id)
        body = expect(answer, 200, credential="secretKey")
        said = verdict(read_session(body), account.account, body)
        # Stripe has one word for both; here it was us.
        return replace(said, outcome=Outcome.CANCELED) if said.outcome is Outcome.EXPIRED else said

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """GET /v1/checkout/sessions in slices of time small enough for one page, for Stripe lists the newest first.

        A cursor is where the next slice begins and how long it may be, in seconds.
        """
        end = -(-until // SECOND)
        start, width = _slice(cursor) if cursor is not None else (since // SECOND, SLICE_SECONDS)
        while True:
            stop = min(start + width, end)
            page = await self._sessions(account, start, stop)
            if not page.has_more or stop - start <= 1:
                break
            width = max(1, (stop - start) // 2)
        if page.has_more:
            # More than a page within one second is above the limit of calls Stripe allows.
            raise NoAnswer("too_many_in_a_second")
        rows = readable(page.data, lambda raw: verdict(read_session(raw), account.account, raw))
        more = f"{stop}.{min(width * 2, SLICE_SECONDS)}" if stop < end else None
        return Listed(rows[::-1], more)

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """POST /v1/refunds, once per key; our key is kept in the metadata too, which outlives Stripe's memory of it."""
        amount = stripe_units(order.money)
        if amount is None:
            raise StartRefused("amount_not_expressible")
        fields = {
            "payment_intent": order.transaction_id,
            "amount": str(amount),
            f"metadata[{REFUND_KEY}]": order.idempotency_key,
        }
        if order.reason:
            fields["metadata[reason]"] = order.reason[:TEXT_LIMIT]
        request = urlencode(fields).encode()
        answer = await self._post(account, "/v1/refunds", request, key=order.idempotency_key)
        return refund_answer(parsed_as(Refund, _accepted(answer)))

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """GET /v1/refunds of a payment intent."""
        del checkout_id
        found: list[Refund] = []
        for _ in range(REFUND_PAGES):
            query = {"payment_intent": transaction_id, "limit": str(PAGE_LIMIT)}
            if found:
                query["starting_after"] = found[-1].id
            page = read_page(await self._get(account, "/v1/refunds", query))
            # Here no row may be missing: what was given back already decides what may still go.
            found += [parsed_as(Refund, raw) for raw in page.data]
            if not page.has_more or not page.data:
                return [refund_answer(refund) for refund in reversed(found)]
        raise NoAnswer("too_many_pages")

    async def identify(self, account: Account) -> Identity:
        """GET /v1/account says who, GET /v1/balance whether it is real money."""
        owner = parsed_as(Owner, await self._get(account, "/v1/account", {}))
        balance = parsed_as(Balance, await self._get(account, "/v1/balance", {}))
        return Identity(owner.id, balance.livemode, owner.name)

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """`Stripe-Signature: t=…,v1=…` over the raw body; the secrets are used as they are, `whsec_` included."""
        check_timed_signature(
            headers.get("stripe-signature", ""),
            lambda at: at.encode() + b"." + body,
            account.secrets.get("webhookSecret", "").replace(",", " ").split(),
            "sha256",
            now,
        )
        try:
            event = msgspec.json.decode(body, type=_Event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ValueError("not an event of Stripe") from None
        named = _named(event.data.object)
        return Message(event.id, event.type, [named] if named is not None else [], authentic=True)

    def _deadline(self, wanted: Instant) -> int:
        now = self._clock.now() // SECOND
        return min(max(wanted // SECOND, now + SHORTEST_SECONDS), now + LONGEST_SECONDS)

    async def _ask_by_id(self, account: Account, checkout_id: str) -> Verdict:
        path = f"/v1/checkout/sessions/{quote(checkout_id, safe='')}"
        body = await self._get(account, path, {"expand[]": EXPAND})
        return verdict(read_session(body), account.account, body)

    async def _search(self, account: Account, subject: Subject) -> tuple[Session, bytes]:
        """The session of our reference; a paid one before others, should there be several.

        Raises NotThere only when every session of the time was seen.
        """
        if subject.created_at <= 0:
            raise NoAnswer("no_time_to_search")
        made, all_read = subject.created_at // SECOND, True
        for back, ahead in SEARCHED_SECONDS:
            found, complete = await self._search_in(account, subject.reference, made + back, made + ahead)
            if found:
                return max(found, key=lambda row: (row[0].status == "complete", -row[0].created))
            all_read = all_read and complete
        if all_read:
            raise NotThere
        raise NoAnswer("unreadable")

    async def _search_in(
        self, account: Account, reference: str, start: int, stop: int
    ) -> tuple[list[tuple[Session, bytes]], bool]:
        """The sessions of our reference in a window, and whether every session there could be read."""
        found: list[tuple[Session, bytes]] = []
        after, complete = None, True
        for _ in range(SEARCH_PAGES):
            page = await self._sessions(account, start, stop, after=after)
            rows = readable(page.data, lambda raw: (read_session(raw), raw))
            found += [row for row in rows if row[0].client_reference_id == reference]
            complete = complete and len(rows) == len(page.data)
            if not page.has_more or not rows:
                return found, complete and not page.has_more
            after = rows[-1][0].id
        return found, False

    async def _sessions(self, account: Account, start: int, stop: int, *, after: str | None = None) -> Page:
        """One page of the sessions made in ``start ≤ time < stop`` (seconds), newest first."""
        query = {
            "created[gte]": str(start),
            "created[lt]": str(stop),
            "limit": str(PAGE_LIMIT),
            "expand[]": f"data.{EXPAND}",
        }
        if after is not None:
            query["starting_after"] = after
        return read_page(await self._get(account, "/v1/checkout/sessions", query))

    async def _get(self, account: Account, path: str, query: Mapping[str, str]) -> bytes:
        asked = f"{path}?{urlencode(query)}" if query else path
        answer = await call(
            self._http, "GET", _url(account, asked), headers=_headers(account), seconds=ASK_SECONDS
        )
        return expect(answer, 200, credential="secretKey")

    async def _post(self, account: Account, path: str, request: bytes, *, key: str | None = None) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | (
            {} if key is None else {"Idempotency-Key": key}
        )
        return await call(
            self._http,
            "POST",
            _url(account, path),
            headers=_headers(account) | headers,
            body=request,
            seconds=START_SECONDS,
        )


def make(http: Http) -> Stripe:
    """The adapter as `load_providers` finds it."""
    return Stripe(http, SystemClock())


class _Data(msgspec.Struct):
    object: dict[str, object]


class _Event(msgspec.Struct):
    id: str
    type: str
    data: _Data


class _Error(msgspec.Struct):
    type: str
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


def _url(account: Account, path: str) -> str:
    return base_url(account.settings, BASE_URL) + path


def _headers(account: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.secrets['secretKey']}", "Stripe-Version": API_VERSION}


def _accepted(answer: Answer) -> bytes:
    """The body of a POST that was carried out. Raises StartRefused for a refusal for good."""
    if answer.status in REFUSALS:
        error = parsed_as(_Refusal, answer.body).error
        if error.type == "idempotency_error":
            # Something was made under this key before: to be asked about, never a refusal.
            raise NoAnswer("conflict", server_error=True)
        raise StartRefused((error.code or error.type)[:CODE_LIMIT])
    if answer.status in IN_USE:
        raise NoAnswer("conflict", server_error=True)
    return expect(answer, 200, credential="secretKey")


def _slice(cursor: str) -> tuple[int, int]:
    """Raises ValueError for a cursor that is none of ours."""
    start, _, width = cursor.partition(".")
    return int(start), max(1, min(int(width), SLICE_SECONDS))


def _named(item: Mapping[str, object]) -> Named | None:
    """Sessions carry our reference themselves; payment intents and charges in their metadata; others name nothing of ours."""
    if item.get("object") == "checkout.session":
        named = Named(text_or_none(item.get("client_reference_id")), text_or_none(item.get("id")))
        return named if named.reference or named.checkout_id else None
    metadata = item.get("metadata")
    reference = text_or_none(metadata.get(REFERENCE)) if isinstance(metadata, Mapping) else None
    return Named(reference) if reference else None
