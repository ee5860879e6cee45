"""How a customer is named: phones become E.164, and of several names the first that is known wins."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

from paystate.kit.errors import Conflict, Refused, invalid
from paystate.kit.ids import is_id
from paystate.kit.text import clean_email, clean_text

MAX_EXTERNAL_ID_LENGTH = 255
MAX_PHONE_LENGTH = 32
IDENTIFIERS = ("external_id", "phone", "email")
"""In the order in which they are believed (docs/reference/payment-states.md); our own id comes before them."""

_PHONE = re.compile(r"\+?[0-9 ()./-]+\Z")
_LIKE_A_PHONE = re.compile(r"[+0]")
_WIRE_NAMES = {"id": "customerId", "external_id": "externalId", "phone": "phone", "email": "email"}


class Named(Protocol):
    """Anything that carries a customer's identifiers."""

    @property
    def id(self) -> str: ...
    @property
    def external_id(self) -> str | None: ...
    @property
    def phone(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a request says about who pays, in the form in which it is stored and compared."""

    customer_id: str | None = None
    external_id: str | None = None
    phone: str | None = None
    email: str | None = None

    @classmethod
    def read(
        cls,
        *,
        customer_id: str | None = None,
        external_id: str | None = None,
        phone: str | None = None,
        email: str | None = None,
        region: str | None = None,
        pointer: str = "",
    ) -> "Identity":
        """Clean the texts of a request; `region` reads national phones, `pointer` is where the fields stand.

        Raises Refused: `invalid_length`, `invalid_characters`, `invalid_phone`, `invalid_email`.
        """
        return cls(
            customer_id,
            None if external_id is None else _clean_external_id(external_id, f"{pointer}/externalId"),
            None if phone is None else read_phone(phone, region, pointer=f"{pointer}/phone"),
            None if email is None else clean_email(email, pointer=f"{pointer}/email"),
        )

    def identifiers(self) -> Mapping[str, str]:
        """The names that are given, the strongest first; column → value."""
        named = {
            "id": self.customer_id,
            "external_id": self.external_id,
            "phone": self.phone,
            "email": self.email,
        }
        return {column: value for column, value in named.items() if value is not None}


def _clean_external_id(value: str, pointer: str) -> str:
    return clean_text(value, pointer=pointer, max_length=MAX_EXTERNAL_ID_LENGTH, min_length=1)


def read_phone(text: str, region: str | None, *, pointer: str = "/phone") -> str:
    """The number in E.164. National forms are read with the merchant's default region (C3).

    Raises Refused `invalid_phone`: no number, an extension, a national form without a region, or digits that are a
    valid number both in the region and, with a plus before them, abroad.
    """
    if len(text) > MAX_PHONE_LENGTH or not _PHONE.match(text):
        raise _invalid_phone(pointer)
    if text.startswith("+"):
        number = _parse(text, None)
    elif region is None:
        raise _invalid_phone(pointer)
    else:
        number = _read_national(text, region, pointer)
    if number is None or not _is_possible(number):
        raise _invalid_phone(pointer)
    return _e164(number)


def _read_national(text: str, region: str, pointer: str) -> PhoneNumber | None:
    """A trunk zero or brackets mark a national form; bare digits may also lack their plus."""
    national = _parse(text, region)
    abroad = None if "(" in text or text.startswith("0") else _parse(f"+{text}", None)
    valid = [n for n in (national, abroad) if n is not None and phonenumbers.is_valid_number(n)]
    if len({_e164(n) for n in valid}) > 1:
        raise invalid(
            pointer, "invalid_phone", "The number can be read in two ways; write it with + and the country."
        )
    return valid[0] if valid else national


def _parse(text: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException:
        return None


def _is_possible(number: PhoneNumber) -> bool:
    """By length only: new number ranges open faster than any table of them is updated."""
    return bool(phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE)


def _e164(number: PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def _invalid_phone(pointer: str) -> Refused:
    return invalid(pointer, "invalid_phone", "A phone number with + and the country code is expected.")


def readings(text: str, region: str | None) -> Identity:
    """Everything that one text from a path could name: our id, the merchant's id, a phone, an e-mail address."""
    return Identity(
        text if is_id("cus", text) else None,
        _or_none(lambda: _clean_external_id(text, "")),
        _or_none(lambda: read_phone(text, region)),
        _or_none(lambda: clean_email(text)),
    )


def refuse_unreadable_phone(text: str, identity: Identity) -> None:
    """Say that a phone was not understood rather than that its customer is unknown (BI91)."""
    if identity.phone is None and _PHONE.match(text) and _LIKE_A_PHONE.match(text):
        raise _invalid_phone("/customer")


def _or_none(read: "Reading") -> str | None:
    try:
        return read()
    except Refused:
        return None


class Reading(Protocol):
    """Reads a text, or refuses it."""

    def __call__(self) -> str: ...


def first_match(identity: Identity, candidates: Sequence[N]) -> N | None:
    """The candidate named by the strongest identifier that anybody has; nobody else is looked at."""
    for column, value in identity.identifiers().items():
        for candidate in candidates:
            if getattr(candidate, column) == value:
                return candidate
    return None


def choose(identity: Identity, candidates: Sequence[N]) -> N | None:
    """The first match. Raises Conflict `customer_conflict` when another customer owns a further identifier."""
    chosen = first_match(identity, candidates)
    if chosen is not None:
        refuse_other_owner(chosen.id, identity, candidates)
    return chosen


def refuse_other_owner(customer_id: str | None, identity: Identity, candidates: Sequence[Named]) -> None:
    """Raises Conflict `customer_conflict` when somebody else owns one of the identifiers: customers never merge."""
    for column, value in identity.identifiers().items():
        for candidate in candidates:
            if candidate.id != customer_id and getattr(candidate, column) == value:
                conflict = {
                    "customerId": candidate.id,
                    "field": _WIRE_NAMES[column],
                    "matchedCustomerId": customer_id,
                }
                raise Conflict(
                    "Another customer already has one of these identifiers.",
                    code="customer_conflict",
                    conflict={key: value for key, value in conflict.items() if value is not None},
                )


def missing(identity: Identity, known: Named) -> dict[str, str]:
    """What the match lacks and the request tells; what it has already is never overwritten by a match."""
    return {
        column: value for column, value in identity.identifiers().items() if getattr(known, column) is None
    }
