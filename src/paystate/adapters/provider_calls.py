"""What adapters of providers do alike: send a call, expect a status, read a body, check a signature that carries its time."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from paystate.domain.payments.port import CredentialsRefused, NoAnswer, NotThere, SignatureInvalid
from paystate.kit.clock import SECOND, Instant, parse_rfc3339
from paystate.machinery import http as transport
from paystate.machinery.http import Answer, Http
from paystate.machinery.secrets import ct_eq

ASK_SECONDS = 10.0
START_SECONDS = 30.0
TOLERANCE_SECONDS = 300
"""How old a signature may be (Stripe, SumUp and Svix publish five minutes)."""

SIGNATURES_READ = 5
ANSWERED_LIMIT = 200
T = TypeVar("T")


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
