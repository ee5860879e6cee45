"""What may be seen of a value that leaves the process by a log line: allowlisted fields, masked patterns, bounded sizes."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from paystate.kit.text import looks_like_card

HIDDEN: Final = "***"
MAX_TEXT: Final = 4_096
MAX_EXCEPTION: Final = 16_384
_MAX_DEPTH: Final = 4
_MAX_ITEMS: Final = 50
_SHORTEST_CARD: Final = 10**12

_SECRET_PART = re.compile(
    r"key|secret|token|authorization|cookie|password|passwd|credential|signature|short_?code|ticket_?code|otp",
    re.IGNORECASE,
)
_SECRET_WORDS: Final = frozenset(
    {"email", "mail", "name", "phone", "iban", "card", "pan", "cvc", "cvv", "pin"}
)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")

_ALLOWED: Final = frozenset({
    "action", "adapter", "amount", "attempt", "attempts", "batch", "channel", "code", "component", "count",
    "currency", "data_dir", "database", "deadline", "decision", "detail", "duration", "endpoint", "entity", "env",
    "error", "errors", "event", "exception", "exit", "failed", "failpoint", "file", "found", "from_status",
    "host", "id", "ids", "job", "kind", "level", "live", "logger", "merchant", "method", "mode", "operation",
    "order", "outcome", "owner", "page", "path", "payment", "pid", "policy", "pool", "port", "problem",
    "process", "progress", "provider", "queue", "reason", "reference", "refund", "release", "request_id",
    "result", "retryable", "role", "route", "run_id", "schedule", "scheme", "scope", "shard", "sent",
    "simulator", "size", "source", "stage", "state", "status", "step", "table", "target", "task", "template",
    "time", "timestamp", "to_status", "transaction", "trigger", "type", "url", "version", "worker",
})  # fmt: skip
_ALLOWED_ENDINGS: Final = (
    "_id", "_ids", "_at", "_code", "_count", "_status", "_state", "_type", "_kind", "_reason", "_seconds", "_ms",
    "_minutes", "_bytes", "_version", "_host", "_port", "_path", "_url",
)  # fmt: skip

_PATTERNS: Final = (
    (re.compile(r"(?<![A-Za-z0-9])(psk|sk|rk|pk|whsec|FLWSECK|re)_[A-Za-z0-9_\-]{6,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^\s/@]{1,200}@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(https?://[^\s?#\"'<>]{1,300})[?#][^\s\"'<>]*"), rf"\1?{HIDDEN}"),
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), HIDDEN),
    (re.compile(r"(?s)\[parameters: .*?\](?=\n|\Z)"), f"[parameters: {HIDDEN}]"),  # SQLAlchemy
    (re.compile(r"(?s)input_value=.*?(?=, input_type=)"), f"input_value={HIDDEN}"),  # pydantic
    (
        re.compile(
            r"(?i)((?:secret|token|password|authorization|api[_-]?key|signature)[\w-]{0,30}[\"']?\s*[:=]\s*)"
            r"(?!\*\*\*)(?:\"[^\"\n]{1,500}\"|'[^'\n]{1,500}'|[^\s,;&\"'}\]]{4,500})"
        ),
        rf"\1{HIDDEN}",
    ),
)
_PLAIN = re.compile(
    r"(?!(?:psk|sk|rk|pk|whsec|re)_|FLWSECK)"
    r"(?:[a-z]{3}_[0-9a-z]{26}|[A-Za-z]{1,40}|[a-z]+(?:_[a-z]+){1,6}|[A-Z]+(?:_[A-Z]+){1,6})\Z"
)
"""Our ids, single words, names of states and decisions: nothing below could hide in them, and logs are full of them."""

_CARDS = re.compile(r"\d(?:[ \u00a0\u2010-\u2015-]{0,3}\d){12,}")


def redact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a log line as they may be written. Numbers and truth values pass under any harmless name."""
    return {str(name)[:100]: _field(str(name), value) for name, value in fields.items()}


def redact_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text with keys, tokens, passwords, e-mail addresses and card numbers masked."""
    if _PLAIN.match(text):
        return text
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-limit // 2 :]}"
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return _CARDS.sub(lambda digits: HIDDEN if looks_like_card(digits.group()) else digits.group(), text)


def _field(name: str, value: Any) -> Any:
    if _is_secret(name):
        return HIDDEN
    if isinstance(value, bool | int | float) or value is None:
        return _number(value)
    if name not in _ALLOWED and not name.endswith(_ALLOWED_ENDINGS):
        return "(field not allowed in logs)"
    return _value(value, _MAX_DEPTH)


@lru_cache(maxsize=2_048)  # the names come from our own code, so they are few
def _is_secret(name: str) -> bool:
    if _SECRET_PART.search(name):
        return True
    return any(word.lower() in _SECRET_WORDS for word in _WORDS.findall(name))


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= _SHORTEST_CARD and looks_like_card(str(value)[:40]):
        return HIDDEN
    return value


def _value(value: Any, depth: int) -> Any:
    """A JSON value: texts redacted, nested names judged like fields, everything else by its `str`."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bool | int | float) or value is None:
        return _number(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        some = list(value.items())[:_MAX_ITEMS]
        return {str(k)[:100]: HIDDEN if _is_secret(str(k)) else _value(v, depth - 1) for k, v in some}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item, depth - 1) for item in list(value)[:_MAX_ITEMS]]
    return redact_text(str(value))
