"""Answers as bytes: JSON of our own models, pages with cursors, ETags, and replays of kept answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from pydantic import SerializeAsAny
from starlette.requests import Request
from starlette.responses import Response

from paystate.entrypoints.api.fields import Out, PageQuery
from paystate.entrypoints.api.guard import Call
from paystate.entrypoints.incoming import headers
from paystate.kit.errors import Conflict
from paystate.kit.paging import Page, PageRequest, decode_cursor, encode_cursor
from paystate.machinery.idempotency import Stored

JSON = "application/json"
NO_VERSION = -1
"""What an If-Match that names no version of ours is compared with: it never matches."""

_ETAG = re.compile(r'(?:W/)?"v?([0-9]{1,15})"\Z', re.ASCII)
T = TypeVar("T")
O = TypeVar("O", bound=Out)  # noqa: E741 -- what is shown


class PageOut(Out, Generic[O]):
    """One page of a list, newest first."""

    data: Sequence[O]
    has_more: bool
    next_cursor: str | None


def text_of(value: Out) -> str:
    """The model as the JSON that is sent, and kept for replays."""
    return value.model_dump_json(by_alias=True)


def answer(value: Out, status: int = 200, extra: Mapping[str, str] | None = None) -> Response:
    """The model as an answer."""
    return Response(text_of(value), status, dict(extra or {}), JSON)


def replayable(stored: Stored) -> Response:
    """The answer of a POST, and whether it is an old one."""
    extra = {"Idempotency-Replayed": "true"} if stored.replayed else {}
    return Response(stored.body, stored.status, extra, JSON)


def versioned(request: Request, value: Out, version: int) -> Response:
    """The model with a weak ETag of its row's version, or 304 when the client has that one."""
    etag = f'W/"{version}"'
    known = [tag.strip() for line in headers(request.scope, b"if-none-match") for tag in line.split(b",")]
    if b"*" in known or etag.encode() in known or etag[2:].encode() in known:
        return Response(status_code=304, headers={"ETag": etag})
    return answer(value, extra={"ETag": etag})


def expected_version(request: Request) -> int | None:
    """The version that If-Match names; None without one. Nonsense names a version that no row has (BI94)."""
    given = headers(request.scope, b"if-match")
    if not given:
        return None
    text = given[0].decode("latin-1").strip() if len(given) == 1 else ""
    if text == "*":
        return None
    match = _ETAG.match(text)
    return int(match[1]) if match else NO_VERSION


def refuse_other_version(current: int, expected: int | None) -> None:
    """Raise Conflict `version_conflict` unless the row is as the client saw it."""
    if expected is not None and current != expected:
        raise Conflict("It has changed since it was read.", code="version_conflict", version=current)


def page_request(call: Call, name: str, query: PageQuery) -> PageRequest:
    """The page that is asked for. Raises Refused `invalid_cursor`."""
    if query.cursor is None:
        return PageRequest(query.limit)
    return PageRequest(
        query.limit, decode_cursor(query.cursor, scope=_scope(call, name), key=call.desk.cursor_key)
    )


def page_answer(call: Call, name: str, page: Page[T], show: Callable[[T], Out]) -> Response:
    """A page as an answer; its cursor belongs to this list of this merchant."""
    position = page.next_position
    shown = PageOut[SerializeAsAny[Out]].model_construct(
        data=[show(row) for row in page.rows],
        has_more=position is not None,
        next_cursor=None
        if position is None
        else encode_cursor(position, scope=_scope(call, name), key=call.desk.cursor_key),
    )
    return answer(shown)


def _scope(call: Call, name: str) -> str:
    return f"{name}:{call.caller.merchant_id or ''}"
