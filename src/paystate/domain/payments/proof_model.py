"""Tables of what providers said: verifications, receipts, proofs, refunds; and of creates that were refused."""

import sqlalchemy as sa

from paystate.machinery.db.schema import (
    amount_check,
    append_only,
    json_text,
    metadata,
    micros,
    one_of,
)

verifications = sa.Table(
    "verifications",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False, comment="the verdict's outcome, or NO_ANSWER"),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column(
        "detail", sa.Text, nullable=False, comment="redacted; what the provider called it, or the error"
    ),
    sa.Column("amount", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("raw_digest", sa.Text),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", micros, nullable=False),
    sa.Column("last_at", micros, nullable=False),
    sa.ForeignKeyConstraint(["attempt_id", "merchant_id"], ["attempts.id", "attempts.merchant_id"]),
    sa.Index("ix_verifications_payment_id", "payment_id", "id"),
)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("connection_id", sa.Text, nullable=False),
    sa.Column("attempt_id", sa.Text),
    sa.Column("payment_id", sa.Text),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("transaction_id", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column(
        "disposition", sa.Text, one_of("disposition", ("PROOF", "UNAPPLIED", "FOREIGN")), nullable=False
    ),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("provider_at", micros),
    sa.Column("raw_digest", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("provider", "account", "live", "transaction_id"),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.ForeignKeyConstraint(["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"]),
    sa.Index("ix_receipts_payment_id", "payment_id"),
)

receipt_adoptions = sa.Table(
    "receipt_adoptions",
    metadata,
    sa.Column("receipt_id", sa.Text, primary_key=True, comment="one that came without a payment"),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("at", micros, nullable=False),
    sa.ForeignKeyConstraint(["receipt_id", "merchant_id"], ["receipts.id", "receipts.merchant_id"]),
    sa.ForeignKeyConstraint(["payment_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.ForeignKeyConstraint(["attempt_id", "merchant_id"], ["attempts.id", "attempts.merchant_id"]),
    sa.Index("ix_receipt_adoptions_payment_id", "payment_id"),
)

proofs = sa.Table(
    "proofs",
    metadata,
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("receipt_id", sa.Text, nullable=False, unique=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("transaction_id", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column(
        "pushed",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="its customer sent what they liked: the amount may be more, or less with its parts",
    ),
    sa.Column("raw_digest", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("at", micros, nullable=False),
    # Over the whole installation: one provider transaction proves at most one payment (invariant 5).
    sa.UniqueConstraint("provider", "account", "live", "transaction_id"),
    sa.ForeignKeyConstraint(["payment_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.ForeignKeyConstraint(["attempt_id", "merchant_id"], ["attempts.id", "attempts.merchant_id"]),
    sa.ForeignKeyConstraint(["receipt_id", "merchant_id"], ["receipts.id", "receipts.merchant_id"]),
)

proof_parts = sa.Table(
    "proof_parts",
    metadata,
    sa.Column("receipt_id", sa.Text, primary_key=True, comment="an earlier receipt that the proof counts"),
    sa.Column("payment_id", sa.Text, sa.ForeignKey("proofs.payment_id"), nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["receipt_id", "merchant_id"], ["receipts.id", "receipts.merchant_id"]),
    sa.ForeignKeyConstraint(["payment_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.Index("ix_proof_parts_payment_id", "payment_id"),
)

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("receipt_id", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column(
        "state", sa.Text, one_of("state", ("PREPARED", "SENDING", "SUCCEEDED", "FAILED")), nullable=False
    ),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("updated_at", micros, nullable=False),
    sa.ForeignKeyConstraint(["payment_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.ForeignKeyConstraint(["receipt_id", "merchant_id"], ["receipts.id", "receipts.merchant_id"]),
    sa.Index("ix_refunds_receipt_id", "receipt_id"),
    sa.Index(
        "uq_refunds_prepared",
        "receipt_id",
        unique=True,
        sqlite_where=sa.text("state IN ('PREPARED', 'SENDING')"),
        postgresql_where=sa.text("state IN ('PREPARED', 'SENDING')"),
    ),
)

payment_intents = sa.Table(
    "payment_intents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="random: it stands in the action's URL"),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("conflict_id", sa.Text, nullable=False, comment="the payment that stood in the way"),
    sa.Column("body", json_text, nullable=False, comment="the refused create"),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, comment="what it became"),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("expires_at", micros, nullable=False),
    sa.ForeignKeyConstraint(["conflict_id", "merchant_id"], ["payments.id", "payments.merchant_id"]),
    sa.Index("ix_payment_intents_merchant_id", "merchant_id", "created_at"),
)

append_only("receipts")
append_only("proofs")
append_only("receipt_adoptions")
append_only("proof_parts")
