"""The words and the published table of moves of payments and attempts."""

from enum import StrEnum


class State(StrEnum):
    """States of a payment; PAID never leaves PAID."""

    DRAFT = "DRAFT"
    OPEN = "OPEN"
    PENDING_VERIFICATION = "PENDING_VERIFICATION"
    PAID = "PAID"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    REVIEW = "REQUIRES_MANUAL_REVIEW"


class AttemptState(StrEnum):
    """States of one checkout at one provider."""

    CREATED = "CREATED"
    LIVE = "LIVE"
    PROCESSING = "PROCESSING"
    WATCHED = "WATCHED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"


class Outcome(StrEnum):
    """What a provider's API said when it was asked."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    REFUNDED = "REFUNDED"
    UNKNOWN = "UNKNOWN"


class Trigger(StrEnum):
    """Why an attempt is looked at."""

    POLL = "poll"
    WEBHOOK = "webhook"
    RETURN = "return"
    MANUAL = "manual"
    EXPIRY = "expiry"
    CANCEL = "cancel"
    CREATE = "create"
    START = "start"


_S = State

MOVES: frozenset[tuple[State | None, State]] = frozenset(
    {(None, to) for to in (_S.DRAFT, _S.OPEN)}
    | {(_S.DRAFT, to) for to in (_S.OPEN, _S.CANCELED)}
    | {
        (_S.OPEN, to)
        for to in (_S.PENDING_VERIFICATION, _S.PAID, _S.REVIEW, _S.FAILED, _S.EXPIRED, _S.CANCELED)
    }
    | {
        (_S.PENDING_VERIFICATION, to)
        for to in (_S.OPEN, _S.PAID, _S.REVIEW, _S.FAILED, _S.EXPIRED, _S.CANCELED)
    }
    | {(_S.FAILED, to) for to in (_S.PAID, _S.REVIEW, _S.OPEN, _S.EXPIRED, _S.CANCELED)}
    | {(_S.EXPIRED, to) for to in (_S.PAID, _S.REVIEW)}
    | {(_S.CANCELED, to) for to in (_S.PAID, _S.REVIEW)}
    | {(_S.REVIEW, to) for to in (_S.PAID, _S.FAILED, _S.CANCELED, _S.EXPIRED)}
)
"""Every move there is; the database refuses any other (invariant 13)."""

FINAL = frozenset({_S.PAID, _S.EXPIRED, _S.CANCELED})
"""Final for clients: a page may stop looking."""

SLOTLESS = frozenset({_S.DRAFT, _S.PAID, _S.FAILED, _S.EXPIRED, _S.CANCELED})
"""States that hold no slot."""

PENDING = frozenset({_S.OPEN, _S.PENDING_VERIFICATION})
"""States in which a customer's payment is pending."""

OFFERED = frozenset({AttemptState.CREATED, AttemptState.LIVE, AttemptState.PROCESSING})
"""Attempt states that occupy (payment, connection)."""

ENDED = frozenset({AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.EXPIRED, AttemptState.CANCELED})

FLAGS = ("late", "partial", "over", "duplicate", "resolved_by_hand", "disputed")
"""Independent facts about a payment's money."""


EVENT_OF_MOVE: dict[State, tuple[str, str]] = {
    _S.DRAFT: ("CREATED", "payment.created"),
    _S.OPEN: ("OPENED", "payment.opened"),
    _S.PENDING_VERIFICATION: ("RETURNED", "payment.verification_pending"),
    _S.PAID: ("PAID", "payment.paid"),
    _S.FAILED: ("FAILED", "payment.failed"),
    _S.EXPIRED: ("EXPIRED", "payment.expired"),
    _S.CANCELED: ("CANCELED", "payment.canceled"),
    _S.REVIEW: ("REVIEW", "payment.review_required"),
}
"""For each state reached: the word of the status answer (A2), and the type of the event."""


def valid_transitions(state: State) -> list[State]:
    """The published targets of a state, in the order the states are listed."""
    return [to for to in State if (state, to) in MOVES]
