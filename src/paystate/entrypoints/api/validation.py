"""From the framework's validation errors to ours: a pointer, a code and a sentence, never the input."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from paystate.kit.errors import FieldError, NotFound, PaystateError, Refused

MAX_ERRORS = 20
_OWN_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_CODES: Mapping[str, tuple[str, str]] = {
    "missing": ("required", "This field is required."),
    "extra_forbidden": ("unknown_field", "There is no such field."),
    "model_type": ("not_an_object", "A JSON object is expected."),
    "model_attributes_type": ("not_an_object", "A JSON object is expected."),
    "dict_type": ("not_an_object", "A JSON object is expected."),
    "string_unicode": ("invalid_characters", "The text has characters that cannot be stored."),
    "literal_error": ("invalid_value", "One of the listed values is expected."),
    "enum": ("invalid_value", "One of the listed values is expected."),
    "too_short": ("invalid_length", "Too few items."),
    "too_long": ("too_many", "Too many items."),
    "greater_than_equal": ("out_of_range", "The number is too small."),
    "less_than_equal": ("out_of_range", "The number is too large."),
}
_INVALID_TYPE = ("invalid_type", "The type of this value is not the one expected.")


def refusal(errors: Sequence[Mapping[str, Any]]) -> PaystateError:
    """One error for all of them: an id of the wrong shape in the path is simply not found."""
    told = [e for e in errors if e["loc"][:1] != ("path",)]
    if not told:
        return NotFound("There is nothing at this address.")
    found = {error.pointer + error.code: error for error in map(_field_error, told[:MAX_ERRORS])}
    return Refused("The request has fields that are not valid.", errors=tuple(found.values()))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    where, *path = error["loc"]
    pointer = _pointer(path, unknown=error["type"] == "extra_forbidden")
    if where == "query":
        return _query_error(error, pointer)
    if not path and where == "body" and error["type"] == "missing":
        return FieldError("", "not_an_object", "A JSON object is expected.")
    code, detail = _meaning(error)
    return FieldError(pointer, code, detail)


def _query_error(error: Mapping[str, Any], pointer: str) -> FieldError:
    code, detail = _meaning(error)
    return FieldError(pointer, "too_long" if code == "invalid_length" else "invalid_query", detail)


def _meaning(error: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(error["type"])
    if kind in _OURS and "ctx" not in error:  # the framework has a `too_long` too, of lists, with a context
        return kind, str(error["msg"])
    return _CODES.get(kind, _INVALID_TYPE)


_OURS = frozenset(
    {
        "amount_out_of_range",
        "unsupported_currency",
        "invalid_length",
        "too_long",
        "invalid_characters",
        "invalid_email",
        "invalid_metadata",
        "url_not_allowed",
        "invalid_expiry",
        "invalid_query",
        "invalid_combination",
        "invalid_value",
        "too_many",
        "nothing_to_change",
    }
)
"""Codes that validators of this API raise themselves."""


def _pointer(path: Sequence[Any], *, unknown: bool) -> str:
    """RFC 6901. The name of an unknown field is input: it is repeated only when it looks like a name."""
    parts = [str(part) for part in path]
    if unknown and parts and not _OWN_WORDS.match(parts[-1]):
        parts.pop()
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
