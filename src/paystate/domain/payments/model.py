"""Tables of payments and their moves: what a customer is asked to pay, once."""

import sqlalchemy as sa

from paystate.domain.payments.states import FLAGS, MOVES, SLOTLESS, AttemptState, State
from paystate.machinery.db.schema import (
    amount_check,
    append_only,
    json_text,
    metadata,
    micros,
    one_of,
    refuse_update,
    refuse_update_of,
)

_slotless = ", ".join(f"'{s}'" for s in sorted(SLOTLESS))
_moves = ", ".join(f"'{a or ''}>{b}'" for a, b in sorted(MOVES, key=str))

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("short_code", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, one_of("state", tuple(State)), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="number of its last move"),
    sa.Column("version", sa.BigInteger, nullable=False, comment="grows with every change a client can see"),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("reference", sa.Text),
    sa.Column("customer_id", sa.Text),
    sa.Column("bundle_id", sa.Text),
    sa.Column("plan_name", sa.Text),
    sa.Column("order_id", sa.Text),
    sa.Column("invoice_id", sa.Text),
    sa.Column("providers", json_text, comment="null: every provider of the merchant"),
    sa.Column("slot", sa.Text, comment="what it pays for, for ever"),
    sa.Column("slot_key", sa.Text, comment="the same while it holds the slot"),
    sa.Column("expires_in_us", sa.BigInteger, comment="of a DRAFT: counts from opening"),
    sa.Column("expires_at", micros),
    sa.Column("stale_at", micros, comment="a bundle payment without expiresAt: 30 minutes after opening"),
    sa.Column("due_at", micros, comment="when the clock of its state runs out"),
    sa.Column("opened_at", micros),
    sa.Column("pending_since", micros, comment="entered PENDING_VERIFICATION"),
    sa.Column("cancel_requested_at", micros),
    sa.Column("review_reason", sa.Text),
    sa.Column("late_policy", sa.Text, one_of("late_policy", ("accept", "review", "refund")), nullable=False),
    *(sa.Column(flag, sa.Boolean, nullable=False, server_default=sa.false()) for flag in FLAGS),
    sa.Column(
        "payment_method", sa.Text, comment="provider of the last attempt, then of the proof; UPPERCASE"
    ),
    sa.Column("transaction_id", sa.Text),
    sa.Column("transaction_at", micros),
    sa.Column("transaction_amount", sa.BigInteger),
    sa.Column("transaction_currency", sa.Text),
    sa.Column("last_event_type", sa.Text, nullable=False),
    sa.Column("last_event_at", micros, nullable=False),
    sa.Column("return_url", sa.Text),
    sa.Column("cancel_url", sa.Text),
    sa.Column("metadata", json_text, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("updated_at", micros, nullable=False),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.UniqueConstraint("merchant_id", "reference"),
    sa.UniqueConstraint("merchant_id", "slot_key"),
    sa.CheckConstraint("slot_key IS NULL OR slot_key = slot", name="slot_key_is_slot"),
    sa.CheckConstraint(f"slot_key IS NULL OR state NOT IN ({_slotless})", name="slot_released"),
    sa.CheckConstraint(
        "state <> 'PAID' OR transaction_id IS NOT NULL OR resolved_by_hand", name="paid_by_proof"
    ),
    sa.ForeignKeyConstraint(["customer_id", "merchant_id"], ["customers.id", "customers.merchant_id"]),
    # The state is the last move's: no status can change without its move row (invariant 12).
    sa.ForeignKeyConstraint(
        ["id", "seq", "state"],
        ["payment_moves.payment_id", "payment_moves.seq", "payment_moves.to_state"],
        name="fk_payments_last_move",
    ),
    sa.Index(
        "ix_payments_due",
        "due_at",
        "id",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    ),
    sa.Index("ix_payments_list", "merchant_id", "id"),
    sa.Index(
        "ix_payments_order_id",
        "order_id",
        sqlite_where=sa.text("order_id IS NOT NULL"),
        postgresql_where=sa.text("order_id IS NOT NULL"),
    ),
    sa.Index("ix_payments_customer", "customer_id", "state"),
    sa.Index("ix_payments_slot", "merchant_id", "slot"),
)

payment_moves = sa.Table(
    "payment_moves",
    metadata,
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("prev_seq", sa.BigInteger),
    sa.Column("from_state", sa.Text),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False, comment="key:…, customer, provider, job:…, operator:…"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt_id", sa.Text),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("at", micros, nullable=False),
    sa.UniqueConstraint("payment_id", "seq", "to_state"),
    sa.CheckConstraint(f"coalesce(from_state, '') || '>' || to_state IN ({_moves})", name="published"),
    sa.CheckConstraint(
        "(seq = 1 AND prev_seq IS NULL AND from_state IS NULL) OR (seq > 1 AND prev_seq = seq - 1 AND from_state IS NOT NULL)",
        name="gapless",
    ),
    # Each move starts where the one before it ended.
    sa.ForeignKeyConstraint(
        ["payment_id", "prev_seq", "from_state"],
        ["payment_moves.payment_id", "payment_moves.seq", "payment_moves.to_state"],
        name="fk_payment_moves_previous",
    ),
)
append_only("payment_moves")

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("connection_id", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("state", sa.Text, one_of("state", tuple(AttemptState)), nullable=False),
    sa.Column("provider_reference", sa.Text, nullable=False, unique=True),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column(
        "request",
        sa.LargeBinary,
        nullable=False,
        comment="the exact bytes sent, and sent again after a crash",
    ),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column(
        "start_failures", sa.SmallInteger, nullable=False, comment="equal server errors in a row to the start"
    ),
    sa.Column("start_until", micros, nullable=False, comment="until then the stored start may be resent"),
    sa.Column("checkout_id", sa.Text, comment="the provider's id"),
    sa.Column("checkout", json_text, comment="what the customer is sent to: redirect, form or instructions"),
    sa.Column(
        "close_wanted", sa.Boolean, nullable=False, comment="end it at the provider when it is next looked at"
    ),
    sa.Column("next_check_at", micros),
    sa.Column("check_band", sa.SmallInteger, nullable=False, comment="0 fresh, 1 older, 2 long tail"),
    sa.Column(
        "check_trigger", sa.Text, nullable=False, comment="why it is due: poll, webhook, return, manual …"
    ),
    sa.Column("lease_until", micros),
    sa.Column("claim_no", sa.BigInteger, nullable=False),
    sa.Column("hint_no", sa.BigInteger, nullable=False),
    sa.Column("hinted_at", micros),
    sa.Column("last_asked_at", micros),
    sa.Column("last_answer_at", micros),
    sa.Column("last_outcome", sa.Text),
    sa.Column(
        "unpaid_answers",
        sa.SmallInteger,
        nullable=False,
        comment="PENDING answers ≥ 60 s apart since the last hint",
    ),
    sa.Column("unpaid_answer_at", micros),
    sa.Column("silent_since", micros, comment="no answer since then"),
    sa.Column("silent_count", sa.Integer, nullable=False),
    sa.Column("watched_until", micros, comment="after local expiry: how long money may still come"),
    sa.Column("verification_id", sa.Text),
    sa.Column("verification_key", sa.Text),
    sa.Column(
        "unwritten",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment="answers in a row that could not be applied",
    ),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("ended_at", micros),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.ForeignKeyConstraint(["payment_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.ForeignKeyConstraint(["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"]),
    sa.Index(
        "uq_attempts_live",
        "payment_id",
        "connection_id",
        unique=True,
        sqlite_where=sa.text("state IN ('CREATED', 'LIVE', 'PROCESSING')"),
        postgresql_where=sa.text("state IN ('CREATED', 'LIVE', 'PROCESSING')"),
    ),
    sa.Index(
        "ix_attempts_due",
        "connection_id",
        "check_band",
        "next_check_at",
        sqlite_where=sa.text("next_check_at IS NOT NULL"),
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    ),
    sa.Index("ix_attempts_payment_id", "payment_id"),
    sa.Index("ix_attempts_checkout_id", "connection_id", "checkout_id"),
)
refuse_update("payments", "seq_falls", of=("seq",), when="NEW.seq < OLD.seq")
refuse_update(
    "payments",
    "money_after_opening",
    of=("amount", "currency"),
    when="OLD.state NOT IN ('DRAFT', 'OPEN') AND (NEW.amount <> OLD.amount OR NEW.currency <> OLD.currency)",
)
refuse_update_of("attempts", "payment_id", "provider_reference", "idempotency_key", "request", "request_hash")
refuse_update(
    "payments",
    "by_hand_for_ever",
    of=("resolved_by_hand",),
    when="OLD.resolved_by_hand AND NOT NEW.resolved_by_hand",
)
