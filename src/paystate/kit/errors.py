"""What can go wrong, in our language.

PaystateError
├── Refused            the request itself is wrong; `errors` names each field
│   └── Unauthenticated, Forbidden, TooMany
├── NotFound           there is no such thing, or it is another merchant's
├── Conflict           the thing exists, but not in a state (or version) that allows this
├── Unavailable        something we need does not answer; trying again later is right
└── OutcomeUnknown     a commit was sent and its answer lost; read by key, never repeat blindly

One table in `entrypoints/api/problems.py` maps these to HTTP; nothing below that floor knows a status code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: a JSON pointer, a stable code, a sentence that never repeats the input."""

    pointer: str
    code: str
    detail: str


class PaystateError(Exception):
    """A refusal or failure with a stable `code`, a sentence for people and, in `help`, what helps to act."""

    code = "internal_error"
    retryable = False

    def __init__(self, detail: str, *, code: str | None = None, **help_: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.help: Mapping[str, Any] = help_


class Refused(PaystateError):
    """The request is wrong as it stands; the same request will be refused again."""

    code = "validation_failed"

    def __init__(
        self, detail: str, *, code: str | None = None, errors: Sequence[FieldError] = (), **help_: Any
    ) -> None:
        super().__init__(detail, code=code, **help_)
        self.errors = tuple(errors)


def invalid(pointer: str, code: str, detail: str) -> Refused:
    """A refusal because of one field."""
    return Refused("The request has a field that is not valid.", errors=[FieldError(pointer, code, detail)])


class Unauthenticated(Refused):
    """Nobody we know sent this."""

    code = "unauthenticated"


class Forbidden(Refused):
    """The sender is known and may not do this."""

    code = "insufficient_scope"


class TooMany(PaystateError):
    """A rate limit is used up; `help["retry_after_seconds"]` says when to come back."""

    code = "rate_limited"
    retryable = True


class NotFound(PaystateError):
    """Unknown here, or another merchant's: both answer alike."""

    code = "not_found"


class Conflict(PaystateError):
    """The thing is in a state, or a version, that does not allow this."""

    code = "invalid_state"


class Unavailable(PaystateError):
    """The database, a provider or a full queue; nothing was done, trying again is right."""

    code = "database_unavailable"
    retryable = True


class OutcomeUnknown(Unavailable):
    """The connection was lost while COMMIT was under way: the rows may or may not stand. Read them by key."""
