"""The published answer of the status lane (requirement A2): exactly these fields, as bytes."""

import msgspec

from paystate.domain.payments import State
from paystate.domain.payments.glance import Glance
from paystate.domain.payments.states import valid_transitions
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.money import major_units

MESSAGES = {
    State.DRAFT: "This payment is not open yet.",
    State.OPEN: "Awaiting payment.",
    State.PENDING_VERIFICATION: "We are checking the payment with the provider.",
    State.PAID: "The payment was successful.",
    State.FAILED: "The payment failed; it can be tried again.",
    State.EXPIRED: "The payment link has expired.",
    State.CANCELED: "The payment was canceled.",
    State.REVIEW: "The payment is being reviewed by the merchant.",
}
PAST_MESSAGE = "The payment link has expired; we are checking for a last payment."
_TRANSITIONS = {state: [to.value for to in valid_transitions(state)] for state in State}


class _Transaction(msgspec.Struct, rename="camel"):
    transaction_id: str
    payment_method: str | None
    timestamp: str
    amount: str
    currency: str


class _Status(msgspec.Struct, rename="camel"):
    id: str
    short_code: str
    current_status: str
    status_message: str
    last_event_type: str
    last_event_timestamp: str
    payment_method: str | None
    valid_transitions: list[str]
    transaction_info: _Transaction | None
    expires_at: str | None
    is_expired: bool
    updated_at: str


_encode = msgspec.json.Encoder().encode


def rendered(glance: Glance, *, past: bool) -> bytes:
    """The answer; `past` says that its time is over although its state does not say so yet."""
    state = State(glance.state)
    return _encode(
        _Status(
            id=glance.id,
            short_code=glance.short_code,
            current_status=state.value,
            status_message=PAST_MESSAGE if past else MESSAGES[state],
            last_event_type=glance.last_event_type,
            last_event_timestamp=rfc3339(glance.last_event_at),
            payment_method=glance.payment_method,
            valid_transitions=_TRANSITIONS[state],
            transaction_info=_transaction(glance),
            expires_at=rfc3339_or_none(glance.deadline),
            is_expired=past or state is State.EXPIRED,
            updated_at=rfc3339(glance.updated_at),
        )
    )


def _transaction(glance: Glance) -> _Transaction | None:
    amount, currency = glance.transaction_amount, glance.transaction_currency
    if glance.transaction_id is None or amount is None or currency is None:
        return None
    return _Transaction(
        glance.transaction_id,
        glance.payment_method,
        rfc3339(glance.transaction_at or glance.last_event_at),
        major_units(amount, currency),
        currency,
    )
