"""From our errors to HTTP: the one table of status codes, and the problem document (RFC 9457)."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Scope, Send

from paystate.entrypoints.incoming import Incoming
from paystate.kit.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PaystateError,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
"""When nothing better is known: our own shortages pass quickly."""

STATUS_OF_CODE = {
    "malformed_json": 400,
    "invalid_host": 400,
    "unauthenticated": 401,
    "signature_invalid": 401,
    "csrf_failed": 403,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "version_conflict": 412,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
}
STATUS_OF_KIND: tuple[tuple[type[PaystateError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (Refused, 422),
    (TooMany, 429),
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 503),
    (PaystateError, 500),
)
_CLOSING = frozenset({"payload_too_large", "request_timeout"})
_SNAKE = re.compile(r"_([a-z])")


def status_of(error: PaystateError) -> int:
    """The HTTP status of an error: by its code where that has one of its own, else by its kind."""
    by_kind = next(status for kind, status in STATUS_OF_KIND if isinstance(error, kind))
    return STATUS_OF_CODE.get(error.code, by_kind)


def document(error: PaystateError, request_id: str) -> dict[str, Any]:
    """The body of a problem; an error we did not foresee says nothing but its request id."""
    status = status_of(error)
    told = status != 500
    body: dict[str, Any] = {_camel(name): value for name, value in error.help.items()} if told else {}
    code = error.code if told else "internal_error"
    body |= {
        "type": f"urn:paystate:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.detail
        if told
        else "Something went wrong on our side; the request id names it in our log.",
        "code": code,
        "requestId": request_id,
        "retryable": error.retryable,
    }
    if isinstance(error, Refused) and error.errors:
        body["errors"] = [{"pointer": e.pointer, "code": e.code, "detail": e.detail} for e in error.errors]
    return body


def problem(error: PaystateError, facts: Incoming) -> Response:
    """The answer to a request that ended in this error."""
    body = msgspec.json.encode(document(error, facts.request_id))
    return Response(body, status_of(error), headers_of(error), MEDIA_TYPE)


def headers_of(error: PaystateError) -> Mapping[str, str]:
    """What a client needs beside the body to act on this error."""
    status = status_of(error)
    found: dict[str, str] = {}
    if status == 401:
        found["WWW-Authenticate"] = 'Bearer realm="paystate"'
    if status in (429, 503) or "retry_after_seconds" in error.help:
        found["Retry-After"] = str(error.help.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    if "allow" in error.help:
        found["Allow"] = ", ".join(error.help["allow"])
    if error.code in _CLOSING:
        found["Connection"] = "close"
    return found


async def send_problem(error: PaystateError, scope: Scope, send: Send, facts: Incoming) -> None:
    """The same for a layer that has no framework around it."""

    async def receive() -> Any:
        raise AssertionError("a problem reads nothing")

    await problem(error, facts)(scope, receive, send)


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda match: match.group(1).upper(), name)
