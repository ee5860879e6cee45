"""What the public status of a payment link is made of: few columns, read by one statement that is never composed."""

from typing import NamedTuple

from paystate.domain.payments.records import Payment
from paystate.domain.payments.states import State
from paystate.kit.clock import Instant


class Glance(NamedTuple):
    """A payment as its public page may know it; field for field the columns of the statements below."""

    id: str
    version: int
    state: str
    deadline: Instant | None
    due_at: Instant | None
    short_code: str
    last_event_type: str
    last_event_at: Instant
    payment_method: str | None
    transaction_id: str | None
    transaction_at: Instant | None
    transaction_amount: int | None
    transaction_currency: str | None
    updated_at: Instant

    def is_past(self, now: int) -> bool:
        """Whether its own time is over while it still waits to be paid."""
        return self.deadline is not None and self.deadline <= now and self.state in WAITING

    def must_expire(self, now: int) -> bool:
        """Whether looking at it has to bring it to its end (A2)."""
        return self.due_at is not None and self.due_at <= now and self.state in WAITING


WAITING = frozenset({State.OPEN.value, State.PENDING_VERIFICATION.value, State.FAILED.value})
_COLUMNS = ", ".join(
    "coalesce(expires_at, stale_at)" if name == "deadline" else name for name in Glance._fields
)
BY_SHORT_CODE = f"SELECT {_COLUMNS} FROM payments WHERE short_code = ?"
BY_ID = f"SELECT {_COLUMNS} FROM payments WHERE id = ?"


def glance_of(payment: Payment) -> Glance:
    """The same from a payment that was read whole."""
    own = {"state": payment.state.value, "deadline": payment.own_deadline}
    return Glance._make(own[name] if name in own else getattr(payment, name) for name in Glance._fields)
