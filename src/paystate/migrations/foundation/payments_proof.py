"""The first schema of: receipts, payment_intents, refunds, proofs, receipt_adoptions, verifications, proof_parts."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _receipts()
    _payment_intents()
    _refunds()
    _proofs()
    _receipt_adoptions()
    _verifications()
    _proof_parts()
    _triggers()


def _receipts_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("disposition", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("provider_at", sa.BigInteger(), nullable=True),
        sa.Column("raw_digest", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_receipts_connection_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_receipts_id_merchant_id")),
        sa.UniqueConstraint(
            "provider",
            "account",
            "live",
            "transaction_id",
            name=op.f("uq_receipts_provider_account_live_transaction_id"),
        ),
    ]


def _receipts_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.CheckConstraint(
            "disposition IN ('PROOF', 'UNAPPLIED', 'FOREIGN')", name=op.f("ck_receipts_disposition_known")
        ),
        sa.CheckConstraint(
            "amount > 0 AND amount <= 1000000000000000", name=op.f("ck_receipts_amount_range")
        ),
    ]


def _receipts() -> None:
    op.create_table("receipts", *_receipts_1_of_2(), *_receipts_2_of_2())
    op.create_index("ix_receipts_payment_id", "receipts", ["payment_id"], unique=False)


def _payment_intents() -> None:
    op.create_table(
        "payment_intents",
        sa.Column("id", sa.Text(), nullable=False, comment="random: it stands in the action's URL"),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("conflict_id", sa.Text(), nullable=False, comment="the payment that stood in the way"),
        sa.Column("body", sa.Text(), nullable=False, comment="the refused create"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True, comment="what it became"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conflict_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_payment_intents_conflict_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_intents")),
    )
    op.create_index(
        "ix_payment_intents_merchant_id", "payment_intents", ["merchant_id", "created_at"], unique=False
    )


def _refunds_1_of_1() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_refunds_payment_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["receipt_id", "merchant_id"],
            ["receipts.id", "receipts.merchant_id"],
            name=op.f("fk_refunds_receipt_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.CheckConstraint(
            "state IN ('PREPARED', 'SENDING', 'SUCCEEDED', 'FAILED')", name=op.f("ck_refunds_state_known")
        ),
        sa.CheckConstraint("amount > 0 AND amount <= 1000000000000000", name=op.f("ck_refunds_amount_range")),
    ]


def _refunds() -> None:
    op.create_table("refunds", *_refunds_1_of_1())
    op.create_index("ix_refunds_receipt_id", "refunds", ["receipt_id"], unique=False)
    op.create_index(
        "uq_refunds_prepared",
        "refunds",
        ["receipt_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('PREPARED', 'SENDING')"),
        postgresql_where=sa.text("state IN ('PREPARED', 'SENDING')"),
    )


def _proofs_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "pushed",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="its customer sent what they liked: the amount may be more, or less with its parts",
        ),
        sa.Column("raw_digest", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id", "merchant_id"],
            ["attempts.id", "attempts.merchant_id"],
            name=op.f("fk_proofs_attempt_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_proofs_payment_id_merchant_id"),
        ),
    ]


def _proofs_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.ForeignKeyConstraint(
            ["receipt_id", "merchant_id"],
            ["receipts.id", "receipts.merchant_id"],
            name=op.f("fk_proofs_receipt_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_proofs")),
        sa.UniqueConstraint(
            "provider",
            "account",
            "live",
            "transaction_id",
            name=op.f("uq_proofs_provider_account_live_transaction_id"),
        ),
        sa.UniqueConstraint("receipt_id", name=op.f("uq_proofs_receipt_id")),
        sa.CheckConstraint("amount > 0 AND amount <= 1000000000000000", name=op.f("ck_proofs_amount_range")),
    ]


def _proofs() -> None:
    op.create_table("proofs", *_proofs_1_of_2(), *_proofs_2_of_2())


def _receipt_adoptions() -> None:
    op.create_table(
        "receipt_adoptions",
        sa.Column("receipt_id", sa.Text(), nullable=False, comment="one that came without a payment"),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id", "merchant_id"],
            ["attempts.id", "attempts.merchant_id"],
            name=op.f("fk_receipt_adoptions_attempt_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_receipt_adoptions_payment_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["receipt_id", "merchant_id"],
            ["receipts.id", "receipts.merchant_id"],
            name=op.f("fk_receipt_adoptions_receipt_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_receipt_adoptions")),
    )
    op.create_index("ix_receipt_adoptions_payment_id", "receipt_adoptions", ["payment_id"], unique=False)


def _verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="the verdict's outcome, or NO_ANSWER"),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column(
            "detail", sa.Text(), nullable=False, comment="redacted; what the provider called it, or the error"
        ),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("raw_digest", sa.Text(), nullable=True),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id", "merchant_id"],
            ["attempts.id", "attempts.merchant_id"],
            name=op.f("fk_verifications_attempt_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
    )
    op.create_index("ix_verifications_payment_id", "verifications", ["payment_id", "id"], unique=False)


def _proof_parts() -> None:
    op.create_table(
        "proof_parts",
        sa.Column(
            "receipt_id", sa.Text(), nullable=False, comment="an earlier receipt that the proof counts"
        ),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id", "merchant_id"],
            ["payments.id", "payments.merchant_id"],
            name=op.f("fk_proof_parts_payment_id_merchant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["proofs.payment_id"], name=op.f("fk_proof_parts_payment_id")
        ),
        sa.ForeignKeyConstraint(
            ["receipt_id", "merchant_id"],
            ["receipts.id", "receipts.merchant_id"],
            name=op.f("fk_proof_parts_receipt_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_proof_parts")),
    )
    op.create_index("ix_proof_parts_payment_id", "proof_parts", ["payment_id"], unique=False)


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END",
            "CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER receipts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER proofs_no_update BEFORE UPDATE ON proofs BEGIN SELECT RAISE(ABORT, 'proofs is append-only'); END",
            "CREATE TRIGGER proofs_no_delete BEFORE DELETE ON proofs BEGIN SELECT RAISE(ABORT, 'proofs is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER proofs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON proofs FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER receipt_adoptions_no_update BEFORE UPDATE ON receipt_adoptions BEGIN SELECT RAISE(ABORT, 'receipt_adoptions is append-only'); END",
            "CREATE TRIGGER receipt_adoptions_no_delete BEFORE DELETE ON receipt_adoptions BEGIN SELECT RAISE(ABORT, 'receipt_adoptions is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER receipt_adoptions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt_adoptions FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER proof_parts_no_update BEFORE UPDATE ON proof_parts BEGIN SELECT RAISE(ABORT, 'proof_parts is append-only'); END",
            "CREATE TRIGGER proof_parts_no_delete BEFORE DELETE ON proof_parts BEGIN SELECT RAISE(ABORT, 'proof_parts is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER proof_parts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON proof_parts FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
