"""What adapters of providers do alike: send a call, expect a status, read a body, check a signature that carries its time."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    CredentialsRefused,
    NoAnswer,
    NotThere,
    RefundAnswer,
    SignatureInvalid,
    Verdict,
)
from paystate.kit.clock import SECOND, Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import Money, UnknownCurrency, exponent
from paystate.machinery import http as transport
from paystate.machinery.http import Answer, Http
from paystate.machinery.secrets import ct_eq

ASK_SECONDS = 10.0
START_SECONDS = 30.0
TOLERANCE_SECONDS = 300
"""How old a signature may be (Stripe, SumUp and Svix publish five minutes)."""

SIGNATURES_READ = 5
ANSWERED_LIMIT = 200
NUMBER_DIGITS = 24
KEY_MARK_DIGITS = 16
PAGES_READ = 1_000
MOST_ROWS = 1_000_000
CHASES = 5
"""So often a page is looked for again that new rows push to the back meanwhile."""

T = TypeVar("T")


class Rows(NamedTuple):
    """One page of a numbered list, and how many pages and rows there are in all."""

    rows: list[msgspec.Raw]
    pages: int
    total: int


Page = Callable[[int], Awaitable[Rows]]
"""Reads the page of this number."""


async def call(
    http: Http,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    seconds: float = ASK_SECONDS,
) -> Answer:
    """One request within a total deadline. Raises the port's NoAnswer, with `sent` as the transport knows it."""
    try:
        return await http.request(method, url, headers=headers, body=body, deadline_seconds=seconds)
    except transport.NoAnswer as error:
        raise NoAnswer(error.reason, sent=error.sent) from error


async def call_json(
    http: Http, method: str, url: str, token: str, *, body: bytes = b"", seconds: float = ASK_SECONDS
) -> Answer:
    """`call` with a bearer token and, if any, a body of JSON."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if body else {})
    return await call(http, method, url, headers=headers, body=body, seconds=seconds)


def expect(answer: Answer, *statuses: int, credential: str | None = None) -> bytes:
    """The body of an answer with one of these statuses; every other answer is no answer.

    `credential` is the connection's field that a 401 or 403 speaks about.
    """
    if answer.status in statuses:
        return answer.body
    if answer.status in (401, 403):
        raise CredentialsRefused(field=credential, answered=said(answer))
    if answer.status == 404:
        raise NotThere
    if answer.status == 429:
        raise NoAnswer("rate_limited", retry_after_seconds=transport.retry_after_seconds(answer))
    raise NoAnswer(f"status_{answer.status}", server_error=answer.status >= 500)


def parsed(read: Callable[[bytes], T], body: bytes) -> T:
    """The body as its type; one that is no such thing is no answer."""
    try:
        return read(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoAnswer("unreadable") from None


def parsed_as(kind: type[T], body: bytes | msgspec.Raw) -> T:
    """The body, or a part of one, as this type; see `parsed`."""

    def read(raw: bytes) -> T:
        return msgspec.json.decode(raw, type=kind)

    return parsed(read, bytes(body))


def event_as(kind: type[T], body: bytes) -> T:
    """A webhook's body as this type. Raises ValueError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("not an event of this provider") from None


def readable(rows: Sequence[msgspec.Raw], read: Callable[[bytes], T]) -> list[T]:
    """The rows of a list that can be read; one of another shape says nothing, and must not hide the others."""
    found = []
    for row in rows:
        try:
            found.append(read(bytes(row)))
        except NoAnswer:
            continue
    return found


async def last_page_first(page: Page, cursor: str | None) -> tuple[list[msgspec.Raw], str | None]:
    """A page of a numbered list that begins with its newest row, oldest row first, and the cursor of the next one.

    Read backwards, each row once: a cursor says how many rows were unread, of how many in all, and how many make a
    page; what came in since then pushed the unread ones that far to the back. Without a cursor the first page is read
    only to learn how many there are. Raises ValueError for a cursor that is none, NoAnswer.
    """
    if cursor is None:
        first = await page(1)
        if first.pages <= 1:
            return first.rows[::-1], None
        page_number(str(first.pages))
        unread, total, size = first.total, first.total, len(first.rows)
    else:
        unread, total, size = (page_number(part, MOST_ROWS) for part in cursor.split("."))
    for _ in range(CHASES):
        if unread < 1 or size < 1:
            raise NoAnswer("unreadable")
        number = -(-unread // size)
        found = await page(number)
        unread, total = unread + found.total - total, found.total
        before = (number - 1) * size
        if before < unread <= before + size:
            following = f"{before}.{total}.{size}" if before else None
            return found.rows[: unread - before][::-1], following
    raise NoAnswer("list_in_motion")


async def every_page(page: Page, limit: int) -> list[msgspec.Raw]:
    """All rows of a numbered list. Raises NoAnswer for one with more pages than `limit`."""
    found: list[msgspec.Raw] = []
    for number in range(1, limit + 1):
        rows, pages, _ = await page(number)
        found += rows
        if number >= pages:
            return found
    raise NoAnswer("too_many_pages")


def with_refunds(verdict: Verdict, refunds: Sequence[RefundAnswer]) -> Verdict:
    """The verdict of a transaction with what was given back: all of it makes it REFUNDED."""
    back = sum(r.money.amount for r in refunds if r.outcome == "SUCCEEDED" and r.money is not None)
    amount = verdict.amount or 0
    whole = verdict.outcome is Outcome.REFUNDED or 0 < amount <= back
    outcome = Outcome.REFUNDED if whole else verdict.outcome
    return replace(verdict, outcome=outcome, amount_refunded=amount if whole else back)


def page_number(text: str, limit: int = PAGES_READ) -> int:
    """A page of a numbered list, from our cursor or the provider's count. Raises ValueError, NoAnswer for too many."""
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS):
        raise ValueError("not the number of a page")
    if int(text) > limit:
        raise NoAnswer("too_many_pages")
    return int(text)


def no_404(answer: Answer) -> Answer:
    """The answer, unless it is a 404 of a call that is not about a checkout: that one says nothing of any."""
    if answer.status == 404:
        raise NoAnswer("status_404")
    return answer


def said(answer: Answer) -> str:
    """What the provider answered, short and printable, for a person who looks for the wrong field."""
    text = answer.body[:ANSWERED_LIMIT].decode("utf-8", "replace")
    return f"{answer.status} " + "".join(c if c.isprintable() else " " for c in text)


def text_or_none(value: Any) -> str | None:
    """A string that says something."""
    return value if isinstance(value, str) and value else None


def time_or_none(text: str | None) -> Instant | None:
    """An RFC 3339 time, if it is one."""
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        return None


def refuse_currency(name: str, money: Money) -> Refused:
    """``raise refuse_currency("Acme", money)`` for one that this provider does not take."""
    return Refused(f"{name} does not take {money.currency}.", code="currency_not_supported_by_provider")


def minor_units(number: Decimal, currency: str, *, places: int = 0) -> int:
    """Whole minor units from a provider's number: major units, or units of so many decimal `places`.

    Raises NoAnswer for a currency we do not know and for a number that is no whole count of its minor units.
    """
    scaled = _scaled(number, currency, places)
    if scaled != scaled.to_integral_value():
        raise NoAnswer("unreadable")
    return int(scaled)


def fee_units(number: Decimal, currency: str, *, places: int = 0) -> int:
    """As `minor_units`, to the nearest one: a percentage seldom is a whole count, and a fee proves nothing."""
    return int(_scaled(number, currency, places).to_integral_value(ROUND_HALF_UP))


def _scaled(number: Decimal, currency: str, places: int) -> Decimal:
    if not number.is_finite() or max(len(number.as_tuple().digits), abs(number.adjusted())) > NUMBER_DIGITS:
        raise NoAnswer("unreadable")
    try:
        return number.scaleb(exponent(currency) - places)
    except UnknownCurrency:
        raise NoAnswer("unreadable") from None


def key_mark(key: str) -> str:
    """What stands for an account whose provider never names it: the same for the same key, and useless without it."""
    return hashlib.sha256(key.encode()).hexdigest()[:KEY_MARK_DIGITS]


def payer_address(settings: Mapping[str, str], reference: str, return_url: str) -> str:
    """The e-mail address for providers that insist on one: the connection's own, else one that reaches nobody."""
    if settings.get("payerEmail"):
        return settings["payerEmail"]
    host = urlsplit(return_url).hostname or ""
    named = "." in host and not host.replace(".", "").isdigit()
    return f"{reference}@{host if named else 'example.com'}"


def base_url(settings: Mapping[str, str], default: str) -> str:
    """Where the connection's API is; without a setting of its own the provider's real address."""
    return (settings.get("baseUrl") or default).rstrip("/")


def check_timed_signature(
    header: str, signed: Callable[[str], bytes], secrets: Sequence[str], algorithm: str, now: Instant
) -> None:
    """`t=…,v1=…`: hex HMAC over `signed(t)`, several v1 values and several secrets while one is being rotated.

    Raises SignatureInvalid for one that is missing, wrong, or too old.
    """
    parts = [part.strip().partition("=") for part in header.split(",")[: SIGNATURES_READ + 1]]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not given or not (times[0].isascii() and times[0].isdigit()):
        raise SignatureInvalid
    if len(times[0]) > 12 or abs(int(times[0]) - now // SECOND) > TOLERANCE_SECONDS:
        raise SignatureInvalid
    check_hex_signature(given, signed(times[0]), secrets, algorithm)


def check_hex_signature(given: Sequence[str], signed: bytes, secrets: Sequence[str], algorithm: str) -> None:
    """One of the given hex signatures is the HMAC of these bytes under one of the secrets; an empty secret signs nothing.

    Raises SignatureInvalid.
    """
    expected = [hmac.new(s.encode(), signed, algorithm).hexdigest().encode() for s in secrets if s]
    matches = [ct_eq(value.encode(), one) for value in given[:SIGNATURES_READ] for one in expected]
    if not any(matches):
        raise SignatureInvalid
