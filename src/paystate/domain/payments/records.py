"""Rows of payments and attempts as values."""

import msgspec

from paystate.domain.payments.states import AttemptState, State
from paystate.kit.clock import Instant
from paystate.kit.money import Money


class Payment(msgspec.Struct, frozen=True):
    """A payment as it stands; field for field its row, times in microseconds."""

    id: str
    merchant_id: str
    short_code: str
    state: State
    seq: int
    version: int
    amount: int
    currency: str
    description: str
    reference: str | None
    customer_id: str | None
    bundle_id: str | None
    plan_name: str | None
    order_id: str | None
    invoice_id: str | None
    providers: str | None
    slot: str | None
    slot_key: str | None
    expires_in_us: int | None
    expires_at: Instant | None
    stale_at: Instant | None
    due_at: Instant | None
    opened_at: Instant | None
    pending_since: Instant | None
    cancel_requested_at: Instant | None
    review_reason: str | None
    late_policy: str
    late: bool
    partial: bool
    over: bool
    duplicate: bool
    resolved_by_hand: bool
    disputed: bool
    payment_method: str | None
    transaction_id: str | None
    transaction_at: Instant | None
    transaction_amount: int | None
    transaction_currency: str | None
    last_event_type: str
    last_event_at: Instant
    return_url: str | None
    cancel_url: str | None
    metadata: str
    created_at: Instant
    updated_at: Instant

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def own_deadline(self) -> Instant | None:
        """The payment's own time: `expiresAt`, else the staleness of its bundle."""
        return self.expires_at if self.expires_at is not None else self.stale_at


class Attempt(msgspec.Struct, frozen=True):
    """One checkout at one provider, without its request bytes."""

    id: str
    payment_id: str
    merchant_id: str
    connection_id: str
    provider: str
    state: AttemptState
    provider_reference: str
    idempotency_key: str
    start_failures: int
    start_until: Instant
    checkout_id: str | None
    checkout: str | None
    close_wanted: bool
    next_check_at: Instant | None
    check_band: int
    check_trigger: str
    lease_until: Instant | None
    claim_no: int
    hint_no: int
    hinted_at: Instant | None
    last_asked_at: Instant | None
    last_answer_at: Instant | None
    last_outcome: str | None
    unpaid_answers: int
    unpaid_answer_at: Instant | None
    silent_since: Instant | None
    silent_count: int
    watched_until: Instant | None
    verification_id: str | None
    verification_key: str | None
    created_at: Instant
    ended_at: Instant | None
    unwritten: int = 0


TransactionKey = tuple[str, str, bool, str]
"""(provider, account, live, provider's transaction id)"""


class Received(msgspec.Struct, frozen=True):
    """Money that a provider told of, and whose it is. `unmatched`: it came without a payment, perhaps adopted since."""

    id: str
    merchant_id: str
    payment_id: str | None
    unmatched: bool
    provider: str
    account: str
    live: bool
    transaction_id: str
    amount: int
    currency: str
    disposition: str
    reason: str
    provider_at: Instant | None
    given_back: int
    """By refunds that are prepared, under way or done."""

    @property
    def key(self) -> TransactionKey:
        return (self.provider, self.account, self.live, self.transaction_id)

    @property
    def left(self) -> int:
        """What of it was not given back."""
        return self.amount - self.given_back
