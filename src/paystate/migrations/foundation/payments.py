"""The first schema of: payment_moves, payments, attempts."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _payment_moves()
    _payments()
    _attempts()
    _triggers()


def _payment_moves() -> None:
    op.create_table(
        "payment_moves",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("prev_seq", sa.BigInteger(), nullable=True),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="key:…, customer, provider, job:…, operator:…"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id", "prev_seq", "from_state"],
            ["payment_moves.payment_id", "payment_moves.seq", "payment_moves.to_state"],
            name="fk_payment_moves_previous",
        ),
        sa.PrimaryKeyConstraint("payment_id", "seq", name=op.f("pk_payment_moves")),
        sa.UniqueConstraint(
            "payment_id", "seq", "to_state", name=op.f("uq_payment_moves_payment_id_seq_to_state")
        ),
        sa.CheckConstraint(
            "coalesce(from_state, '') || '>' || to_state IN ('CANCELED>PAID', 'CANCELED>REQUIRES_MANUAL_REVIEW', 'DRAFT>CANCELED', 'DRAFT>OPEN', 'EXPIRED>PAID', 'EXPIRED>REQUIRES_MANUAL_REVIEW', 'FAILED>CANCELED', 'FAILED>EXPIRED', 'FAILED>OPEN', 'FAILED>PAID', 'FAILED>REQUIRES_MANUAL_REVIEW', 'OPEN>CANCELED', 'OPEN>EXPIRED', 'OPEN>FAILED', 'OPEN>PAID', 'OPEN>PENDING_VERIFICATION', 'OPEN>REQUIRES_MANUAL_REVIEW', 'PENDING_VERIFICATION>CANCELED', 'PENDING_VERIFICATION>EXPIRED', 'PENDING_VERIFICATION>FAILED', 'PENDING_VERIFICATION>OPEN', 'PENDING_VERIFICATION>PAID', 'PENDING_VERIFICATION>REQUIRES_MANUAL_REVIEW', 'REQUIRES_MANUAL_REVIEW>CANCELED', 'REQUIRES_MANUAL_REVIEW>EXPIRED', 'REQUIRES_MANUAL_REVIEW>FAILED', 'REQUIRES_MANUAL_REVIEW>PAID', '>DRAFT', '>OPEN')",
            name=op.f("ck_payment_moves_published"),
        ),
        sa.CheckConstraint(
            "(seq = 1 AND prev_seq IS NULL AND from_state IS NULL) OR (seq > 1 AND prev_seq = seq - 1 AND from_state IS NOT NULL)",
            name=op.f("ck_payment_moves_gapless"),
        ),
    )


def _payments_1_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("short_code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="number of its last move"),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="grows with every change a client can see"
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("bundle_id", sa.Text(), nullable=True),
        sa.Column("plan_name", sa.Text(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("invoice_id", sa.Text(), nullable=True),
        sa.Column("providers", sa.Text(), nullable=True, comment="null: every provider of the merchant"),
        sa.Column("slot", sa.Text(), nullable=True, comment="what it pays for, for ever"),
        sa.Column("slot_key", sa.Text(), nullable=True, comment="the same while it holds the slot"),
        sa.Column("expires_in_us", sa.BigInteger(), nullable=True, comment="of a DRAFT: counts from opening"),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "stale_at",
            sa.BigInteger(),
            nullable=True,
            comment="a bundle payment without expiresAt: 30 minutes after opening",
        ),
        sa.Column("due_at", sa.BigInteger(), nullable=True, comment="when the clock of its state runs out"),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("pending_since", sa.BigInteger(), nullable=True, comment="entered PENDING_VERIFICATION"),
        sa.Column("cancel_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("review_reason", sa.Text(), nullable=True),
        sa.Column("late_policy", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("partial", sa.Boolean(), server_default=sa.false(), nullable=False),
    ]


def _payments_2_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("over", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("duplicate", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("resolved_by_hand", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("disputed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column(
            "payment_method",
            sa.Text(),
            nullable=True,
            comment="provider of the last attempt, then of the proof; UPPERCASE",
        ),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("transaction_at", sa.BigInteger(), nullable=True),
        sa.Column("transaction_amount", sa.BigInteger(), nullable=True),
        sa.Column("transaction_currency", sa.Text(), nullable=True),
        sa.Column("last_event_type", sa.Text(), nullable=False),
        sa.Column("last_event_at", sa.BigInteger(), nullable=False),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("cancel_url", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id", "merchant_id"],
            ["customers.id", "customers.merchant_id"],
            name=op.f("fk_payments_customer_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["id", "seq", "state"],
            ["payment_moves.payment_id", "payment_moves.seq", "payment_moves.to_state"],
            name="fk_payments_last_move",
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_payments_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_payments_id_merchant_id")),
    ]


def _payments_3_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_payments_merchant_id_reference")),
        sa.UniqueConstraint("merchant_id", "slot_key", name=op.f("uq_payments_merchant_id_slot_key")),
        sa.UniqueConstraint("short_code", name=op.f("uq_payments_short_code")),
        sa.CheckConstraint(
            "late_policy IN ('accept', 'review', 'refund')", name=op.f("ck_payments_late_policy_known")
        ),
        sa.CheckConstraint(
            "slot_key IS NULL OR state NOT IN ('CANCELED', 'DRAFT', 'EXPIRED', 'FAILED', 'PAID')",
            name=op.f("ck_payments_slot_released"),
        ),
        sa.CheckConstraint(
            "state <> 'PAID' OR transaction_id IS NOT NULL OR resolved_by_hand",
            name=op.f("ck_payments_paid_by_proof"),
        ),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'OPEN', 'PENDING_VERIFICATION', 'PAID', 'FAILED', 'EXPIRED', 'CANCELED', 'REQUIRES_MANUAL_REVIEW')",
            name=op.f("ck_payments_state_known"),
        ),
        sa.CheckConstraint(
            "amount > 0 AND amount <= 1000000000000000", name=op.f("ck_payments_amount_range")
        ),
        sa.CheckConstraint("slot_key IS NULL OR slot_key = slot", name=op.f("ck_payments_slot_key_is_slot")),
    ]


def _payments() -> None:
    op.create_table("payments", *_payments_1_of_3(), *_payments_2_of_3(), *_payments_3_of_3())
    op.create_index("ix_payments_customer", "payments", ["customer_id", "state"], unique=False)
    op.create_index(
        "ix_payments_due",
        "payments",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_payments_list", "payments", ["merchant_id", "id"], unique=False)
    op.create_index(
        "ix_payments_order_id",
        "payments",
        ["order_id"],
        unique=False,
        sqlite_where=sa.text("order_id IS NOT NULL"),
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index("ix_payments_slot", "payments", ["merchant_id", "slot"], unique=False)


def _attempts_1_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column(
            "request",
            sa.LargeBinary(),
            nullable=False,
            comment="the exact bytes sent, and sent again after a crash",
        ),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column(
            "start_failures",
            sa.SmallInteger(),
            nullable=False,
            comment="equal server errors in a row to the start",
        ),
        sa.Column(
            "start_until",
            sa.BigInteger(),
            nullable=False,
            comment="until then the stored start may be resent",
        ),
        sa.Column("checkout_id", sa.Text(), nullable=True, comment="the provider's id"),
        sa.Column(
            "checkout",
            sa.Text(),
            nullable=True,
            comment="what the customer is sent to: redirect, form or instructions",
        ),
    ]


def _attempts_2_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column(
            "close_wanted",
            sa.Boolean(),
            nullable=False,
            comment="end it at the provider when it is next looked at",
        ),
        sa.Column("next_check_at", sa.BigInteger(), nullable=True),
        sa.Column("check_band", sa.SmallInteger(), nullable=False, comment="0 fresh, 1 older, 2 long tail"),
        sa.Column(
            "check_trigger",
            sa.Text(),
            nullable=False,
            comment="why it is due: poll, webhook, return, manual …",
        ),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("hint_no", sa.BigInteger(), nullable=False),
        sa.Column("hinted_at", sa.BigInteger(), nullable=True),
        sa.Column("last_asked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_answer_at", sa.BigInteger(), nullable=True),
        sa.Column("last_outcome", sa.Text(), nullable=True),
        sa.Column(
            "unpaid_answers",
            sa.SmallInteger(),
            nullable=False,
            comment="PENDING answers ≥ 60 s apart since the last hint",
        ),
        sa.Column("unpaid_answer_at", sa.BigInteger(), nullable=True),
        sa.Column("silent_since", sa.BigInteger(), nullable=True, comment="no answer since then"),
        sa.Column("silent_count", sa.Integer(), nullable=False),
        sa.Column(
            "watched_until",
            sa.BigInteger(),
            nullable=True,
            comment="after local expiry: how long money may still come",
        ),
    ]


def _attempts_3_of_3() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("verification_id", sa.Text(), nullable=True),
        sa.Column("verification_key", sa.Text(), nullable=True),
        sa.Column(
            "unwritten",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="answers in a row that could not be applied",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_attempts_connection_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_attempts_payment_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_attempts_id_merchant_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_attempts_idempotency_key")),
        sa.UniqueConstraint("provider_reference", name=op.f("uq_attempts_provider_reference")),
        sa.CheckConstraint(
            "state IN ('CREATED', 'LIVE', 'PROCESSING', 'WATCHED', 'SUCCEEDED', 'FAILED', 'EXPIRED', 'CANCELED')",
            name=op.f("ck_attempts_state_known"),
        ),
    ]


def _attempts() -> None:
    op.create_table("attempts", *_attempts_1_of_3(), *_attempts_2_of_3(), *_attempts_3_of_3())
    op.create_index("ix_attempts_checkout_id", "attempts", ["connection_id", "checkout_id"], unique=False)
    op.create_index(
        "ix_attempts_due",
        "attempts",
        ["connection_id", "check_band", "next_check_at"],
        unique=False,
        sqlite_where=sa.text("next_check_at IS NOT NULL"),
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_index("ix_attempts_payment_id", "attempts", ["payment_id"], unique=False)
    op.create_index(
        "uq_attempts_live",
        "attempts",
        ["payment_id", "connection_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('CREATED', 'LIVE', 'PROCESSING')"),
        postgresql_where=sa.text("state IN ('CREATED', 'LIVE', 'PROCESSING')"),
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER payment_moves_no_update BEFORE UPDATE ON payment_moves BEGIN SELECT RAISE(ABORT, 'payment_moves is append-only'); END",
            "CREATE TRIGGER payment_moves_no_delete BEFORE DELETE ON payment_moves BEGIN SELECT RAISE(ABORT, 'payment_moves is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER payment_moves_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_moves FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER payments_seq_falls BEFORE UPDATE OF seq ON payments WHEN NEW.seq < OLD.seq BEGIN SELECT RAISE(ABORT, 'payments: seq_falls'); END"
        ],
        postgresql=[
            "CREATE TRIGGER payments_seq_falls BEFORE UPDATE OF seq ON payments FOR EACH ROW WHEN (NEW.seq < OLD.seq) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER payments_money_after_opening BEFORE UPDATE OF amount, currency ON payments WHEN OLD.state NOT IN ('DRAFT', 'OPEN') AND (NEW.amount <> OLD.amount OR NEW.currency <> OLD.currency) BEGIN SELECT RAISE(ABORT, 'payments: money_after_opening'); END"
        ],
        postgresql=[
            "CREATE TRIGGER payments_money_after_opening BEFORE UPDATE OF amount, currency ON payments FOR EACH ROW WHEN (OLD.state NOT IN ('DRAFT', 'OPEN') AND (NEW.amount <> OLD.amount OR NEW.currency <> OLD.currency)) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER attempts_fixed BEFORE UPDATE OF payment_id, provider_reference, idempotency_key, request, request_hash ON attempts WHEN NEW.payment_id IS NOT OLD.payment_id OR NEW.provider_reference IS NOT OLD.provider_reference OR NEW.idempotency_key IS NOT OLD.idempotency_key OR NEW.request IS NOT OLD.request OR NEW.request_hash IS NOT OLD.request_hash BEGIN SELECT RAISE(ABORT, 'attempts: payment_id, provider_reference, idempotency_key, request, request_hash never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER attempts_fixed BEFORE UPDATE OF payment_id, provider_reference, idempotency_key, request, request_hash ON attempts FOR EACH ROW WHEN (NEW.payment_id IS DISTINCT FROM OLD.payment_id OR NEW.provider_reference IS DISTINCT FROM OLD.provider_reference OR NEW.idempotency_key IS DISTINCT FROM OLD.idempotency_key OR NEW.request IS DISTINCT FROM OLD.request OR NEW.request_hash IS DISTINCT FROM OLD.request_hash) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER payments_by_hand_for_ever BEFORE UPDATE OF resolved_by_hand ON payments WHEN OLD.resolved_by_hand AND NOT NEW.resolved_by_hand BEGIN SELECT RAISE(ABORT, 'payments: by_hand_for_ever'); END"
        ],
        postgresql=[
            "CREATE TRIGGER payments_by_hand_for_ever BEFORE UPDATE OF resolved_by_hand ON payments FOR EACH ROW WHEN (OLD.resolved_by_hand AND NOT NEW.resolved_by_hand) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
