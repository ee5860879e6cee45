"""What a decision about an answer depends on, and what it says to write: values only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from paystate.domain.payments.records import Attempt, Payment
from paystate.domain.payments.schedule import Patience
from paystate.domain.payments.states import AttemptState, State
from paystate.kit.clock import Instant

Disposition = Literal["PROOF", "UNAPPLIED", "FOREIGN"]
ReceiptOwner = Literal["nobody", "this_payment", "other_payment"]
"""Nobody's is also a receipt that came without a payment: this one may adopt it."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision depends on, read under the payment's lock."""

    payment: Payment
    attempt: Attempt
    others: Sequence[AttemptState]
    account: str
    live: bool
    now: Instant
    patience: Patience
    slot_paid: bool = False
    """Another payment of the same slot is PAID."""
    receipt_owner: ReceiptOwner = "nobody"
    """Whose receipt the verdict's transaction already is."""
    pushes: bool = False
    """Customers of this provider send what they like, in as many transfers as they like."""
    received: int = 0
    """What such transfers have brought for this payment so far."""
    coming: int = 0
    """What the transfers bring that the same answer names after this one."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write. `label` is the word of the verification log; `case` the reason of a case to open."""

    label: str
    attempt_state: AttemptState
    move: State | None = None
    reason: str = ""
    flags: frozenset[str] = field(default_factory=frozenset)
    receipt: Disposition | None = None
    case: str | None = None
    suggest: str = ""
    prepare_refund: bool = False
    unpaid_answers: int = 0
    count_unpaid: bool = False
    """This PENDING answer starts a new interval of UNPAID_GAP."""
    close_next: bool = False
    """Look again at once, and end the checkout at the provider."""
