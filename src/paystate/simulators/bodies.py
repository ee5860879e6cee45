"""Reads the bodies of calls: a JSON object, or a form whose names carry brackets."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

MAX_FIELDS = 1_000
MAX_DEPTH = 8


class ClashError(ValueError):
    """A name of a form is both a value and an object or a list."""


def read_json(raw: bytes) -> dict[str, Any] | None:
    """A JSON object; nothing at all is an empty one; None for everything else."""
    try:
        body = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) else None


def read_form(raw: bytes) -> dict[str, Any] | None:
    """``a[b][0]=x&c[]=y`` → ``{"a": {"b": {"0": "x"}}, "c": ["y"]}``; None for what is no such form."""
    try:
        return nested(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return None


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Names with brackets as objects in objects; a name that ends in ``[]`` gathers a list. Raises ValueError."""
    whole: dict[str, Any] = {}
    for name, value in pairs:
        plain = name.removesuffix("[]")
        *way, last = plain.replace("]", "").split("[", MAX_DEPTH)
        place = whole
        for step in way:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ClashError(name)
        if plain == name:
            place[last] = value
        else:
            _gather(place, last, value)
    return whole


def _gather(place: dict[str, Any], name: str, value: str) -> None:
    found = place.setdefault(name, [])
    if not isinstance(found, list):
        raise ClashError(name)
    found.append(value)
