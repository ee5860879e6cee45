"""Reads what was sent: content type, strict JSON, no card numbers, no query parameter that means nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request

from paystate.entrypoints.api import strict_json
from paystate.entrypoints.incoming import headers
from paystate.kit.errors import FieldError, Refused, invalid
from paystate.kit.text import looks_like_card

NOT_TEXT = frozenset({"phone", "returnUrl", "cancelUrl", "fields", "args"})
"""Members whose digits are not a person's text: E.164 numbers, addresses, credentials."""

SHORTEST_CARD = 13


class JsonRequest(Request):
    """A request whose body was read and parsed before the framework asks for it."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw, self._value = raw, value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


@dataclass(frozen=True, slots=True)
class Expected:
    """What a route takes."""

    writes: bool
    has_model: bool
    required: bool
    query: frozenset[str]


@dataclass(frozen=True, slots=True)
class Read:
    """The request to go on with, and the value of its body (None without one)."""

    request: Request
    value: Any


def expectation(route: APIRoute) -> Expected:
    """What the signature of the endpoint says about body and query."""
    field = route.body_field
    names: set[str] = set()
    for parameter in route.dependant.query_params:
        model = getattr(parameter.field_info.annotation, "model_fields", None)
        names |= {f.alias or n for n, f in model.items()} if model else {parameter.alias}
    return Expected(
        writes=bool((route.methods or set()) & {"POST", "PATCH", "PUT", "DELETE"}),
        has_model=field is not None,
        required=field is not None and field.field_info.is_required(),
        query=frozenset(names),
    )


async def read(request: Request, expects: Expected, *, refuse_cards: bool) -> Read:
    """Read and parse the body. Raises Refused: 413, 408, 415, malformed_json, not_an_object, card_data_forbidden."""
    if not expects.writes:
        return Read(request, None)
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise strict_json.MalformedJson("The sender left before the body was complete.") from None
    if not raw:
        if expects.required:
            raise strict_json.MalformedJson("A JSON body is required.")
        return Read(JsonRequest(request, b"", None), None)
    _refuse_media_type(request)
    value = strict_json.load(raw)
    if not isinstance(value, dict):
        raise invalid("", "not_an_object", "A JSON object is expected.")
    if not expects.has_model and value:
        raise invalid("", "unknown_field", "This operation takes no fields.")
    if refuse_cards:
        _refuse_cards(value)
    return Read(JsonRequest(request, raw, value), value)


def refuse_unknown_query(request: Request, expects: Expected) -> None:
    """A parameter that is unknown, or given twice, is a mistake of the sender's. Raises Refused `invalid_query`."""
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in expects.query or name in seen:
            pointer = f"/{name}" if name in expects.query else ""
            raise invalid(pointer, "invalid_query", "Each query parameter is a known one and given once.")
        seen.add(name)


def _refuse_media_type(request: Request) -> None:
    kinds, encodings = headers(request.scope, b"content-type"), headers(request.scope, b"content-encoding")
    kind, _, parameters = (kinds[0] if len(kinds) == 1 else b"").decode("latin-1").lower().partition(";")
    charset = parameters.strip().replace(" ", "").replace('"', "")
    if kind.strip() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Refused("The body must be application/json in UTF-8.", code="unsupported_media_type")
    if any(encoding.strip().lower() not in (b"", b"identity") for encoding in encodings):
        raise Refused("A compressed body is not read.", code="unsupported_media_type")


def _refuse_cards(value: dict[str, Any]) -> None:
    """BI33: what may be a card number never enters the house (PCI)."""
    errors = [
        FieldError(pointer, "card_data_forbidden", "This looks like a card number; do not send one.")
        for pointer, text in _texts(value, "")
        if looks_like_card(text)
    ]
    if errors:
        raise Refused("The request holds what looks like a card number.", errors=errors)


def _texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Every long enough text with where it stands; the depth is bounded by the loader."""
    if isinstance(value, str):
        if len(value) >= SHORTEST_CARD:
            yield pointer, value
    elif isinstance(value, dict):
        for name, member in value.items():
            if name not in NOT_TEXT:
                yield from _texts(member, f"{pointer}/{name}" if name.isidentifier() else pointer)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{pointer}/{place}")
