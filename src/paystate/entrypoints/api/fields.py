"""The types of request fields: each refuses with a stable code of ours and never repeats what was sent."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from paystate.kit.clock import Instant, parse_rfc3339
from paystate.kit.errors import Refused
from paystate.kit.money import EXPONENTS
from paystate.kit.text import LengthCode, clean_text, parse_public_url

MAX_AMOUNT = 10**15
MAX_REFERENCE = 255
MAX_DESCRIPTION = 10_000
MAX_NAME = 200
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500
MAX_METADATA_BYTES = 16_384

T = TypeVar("T")


class In(BaseModel):
    """A request body: strict, nothing unknown, camelCase."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel, frozen=True)


class QueryIn(BaseModel):
    """Query parameters: texts that are read by the types below, nothing unknown."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)


class Out(BaseModel):
    """An answer as it is documented and written: camelCase, built by ourselves and so not validated again."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


def refused(code: str, detail: str) -> PydanticCustomError:
    """What a validator raises; `validation.py` turns it into one of our field errors."""
    return PydanticCustomError(code, detail.replace("{", "(").replace("}", ")"))


def ours(read: Callable[[str], T]) -> Callable[[str], T]:
    """A reader of the kit as a validator: its own code stays, its pointer comes from the model."""

    def check(value: str) -> T:
        try:
            return read(value)
        except Refused as error:
            first = error.errors[0]
            raise refused(first.code, first.detail) from None

    return check


def _text(
    max_length: int, *, lines: bool = False, code: LengthCode = "invalid_length", least: int = 1
) -> Any:
    def read(value: str) -> str:
        return clean_text(
            value,
            pointer="",
            max_length=max_length,
            min_length=least,
            single_line=not lines,
            length_code=code,
        )

    return AfterValidator(ours(read))


def _amount(value: int) -> int:
    if not 1 <= value <= MAX_AMOUNT:
        raise refused("amount_out_of_range", "A whole number of minor units from 1 to 10^15 is expected.")
    return value


def _currency(value: str) -> str:
    if value not in EXPONENTS:
        raise refused("unsupported_currency", "An ISO 4217 code in capitals, HBAR or USDC is expected.")
    return value


def _instant(value: Any) -> Instant:
    try:
        return parse_rfc3339(value if isinstance(value, str) else "")
    except ValueError:
        raise refused(
            "invalid_expiry", "A time of RFC 3339 with an offset is expected, such as 2030-01-31T12:00:00Z."
        ) from None


def _url(value: str) -> str:
    return parse_public_url(value, pointer="", allow_http_loopback=True)


def _metadata(value: Any) -> dict[str, str]:
    """Up to 50 texts by name, 16 KB in all; whatever else it is, the code is the same."""
    problem = refused(
        "invalid_metadata",
        f"At most {MAX_METADATA_KEYS} texts are expected: names up to {MAX_METADATA_KEY} characters, values up to "
        f"{MAX_METADATA_VALUE}, {MAX_METADATA_BYTES} bytes in all.",
    )
    if not isinstance(value, dict) or len(value) > MAX_METADATA_KEYS:
        raise problem
    size = 0
    for name, text in value.items():
        if not isinstance(text, str):
            raise problem
        try:
            clean_text(name, pointer="", max_length=MAX_METADATA_KEY, min_length=1)
            clean_text(text, pointer="", max_length=MAX_METADATA_VALUE, single_line=False)
        except Refused:
            raise problem from None
        size += len(name.encode()) + len(text.encode())
    if size > MAX_METADATA_BYTES:
        raise problem
    return value


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Amount = Annotated[
    int, AfterValidator(_amount), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT})
]
Currency = Annotated[str, AfterValidator(_currency), _schema(enum=sorted(EXPONENTS))]
Reference = Annotated[str, _text(MAX_REFERENCE), _schema(minLength=1, maxLength=MAX_REFERENCE)]
Description = Annotated[
    str, _text(MAX_DESCRIPTION, lines=True, code="too_long", least=0), _schema(maxLength=MAX_DESCRIPTION)
]
Name = Annotated[str, _text(MAX_NAME), _schema(minLength=1, maxLength=MAX_NAME)]
Phone = Annotated[str, _schema(minLength=2, maxLength=32, examples=["+27821234567"])]
Email = Annotated[str, _schema(format="email", maxLength=254)]
CustomerId = Annotated[str, _text(30), _schema(pattern="^cus_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
Moment = Annotated[Instant, PlainValidator(_instant), _schema(format="date-time")]
ReturnUrl = Annotated[str, AfterValidator(ours(_url)), _schema(format="uri", maxLength=2048)]
Metadata = Annotated[
    dict[str, str],
    PlainValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_METADATA_KEYS,
            "propertyNames": {"minLength": 1, "maxLength": MAX_METADATA_KEY},
            "additionalProperties": {"type": "string", "maxLength": MAX_METADATA_VALUE},
        }
    ),
]

_WHOLE = re.compile(r"[0-9]{1,9}\Z", re.ASCII)


def _limit(value: Any) -> int:
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not _WHOLE.match(value) or not 1 <= int(value) <= 100:
        raise refused("invalid_query", "A whole number from 1 to 100 is expected.")
    return int(value)


def _plain(value: str) -> str:
    """A text of a query: bounded, and without what a database cannot hold."""
    return clean_text(value, pointer="", max_length=MAX_REFERENCE, min_length=1)


Limit = Annotated[
    int, PlainValidator(_limit), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100})
]
Cursor = Annotated[str, _schema(maxLength=200)]
QueryText = Annotated[str, AfterValidator(ours(_plain)), _schema(minLength=1, maxLength=MAX_REFERENCE)]


class PageQuery(QueryIn):
    """What every list takes."""

    limit: Limit = 25
    cursor: Cursor | None = None
