"""JSON as strictly as money deserves: UTF-8 only, no key twice, no NaN, bounded depth, keys and digits."""

import json
from typing import Any

from paystate.kit.errors import Refused

MAX_DEPTH = 32
MAX_KEYS = 1_000
MAX_DIGITS = 100


class MalformedJson(Refused):
    """The body is no JSON that this API reads."""

    code = "malformed_json"


class _Reader:
    """Counts the keys of one document while it is parsed."""

    def __init__(self) -> None:
        self.keys = 0

    def member(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.keys += len(pairs)
        if self.keys > MAX_KEYS:
            raise MalformedJson(f"At most {MAX_KEYS} keys are read.")
        found = dict(pairs)
        if len(found) != len(pairs):
            raise MalformedJson("A key stands twice in one object (duplicate_key).")
        return found


def _number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise MalformedJson("A number has too many digits.")
    return int(text)


def _fraction(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise MalformedJson("A number has too many digits.")
    return float(text)  # no field of this API takes one; it is kept only to be refused by its type


def _constant(_text: str) -> Any:
    raise MalformedJson("NaN and Infinity are not JSON.")


def load(body: bytes) -> Any:
    """The value of a JSON document. Raises MalformedJson."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedJson("The body must be JSON in UTF-8.") from None
    if _may_be_deep(body) and _depth(text) > MAX_DEPTH:
        raise MalformedJson(f"At most {MAX_DEPTH} levels are read.")
    reader = _Reader()
    try:
        return json.loads(
            text,
            object_pairs_hook=reader.member,
            parse_int=_number,
            parse_float=_fraction,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        raise MalformedJson("The body is not valid JSON.") from None


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"{") + body.count(b"[") > MAX_DEPTH


def _depth(text: str) -> int:
    """How deep the document nests; brackets inside of strings do not count."""
    deepest = depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest
