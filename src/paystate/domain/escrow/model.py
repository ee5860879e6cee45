"""Tables of escrows: money held for a payee until the order completes."""

import sqlalchemy as sa

from paystate.machinery.db.schema import amount_check, append_only, metadata, micros, one_of

escrows = sa.Table(
    "escrows",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False, unique=True),
    sa.Column(
        "state",
        sa.Text,
        one_of("state", ("PENDING", "PARTIALLY_RELEASED", "RELEASED", "FROZEN", "REFUNDED")),
        nullable=False,
    ),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("held", sa.BigInteger, amount_check("held"), nullable=False),
    sa.Column("released", sa.BigInteger, nullable=False),
    sa.Column("refunded", sa.BigInteger, nullable=False),
    sa.Column("remaining", sa.BigInteger, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.CheckConstraint("released + refunded + remaining = held", name="conserved"),
    sa.CheckConstraint("released >= 0 AND refunded >= 0 AND remaining >= 0", name="positive"),
)

escrow_releases = sa.Table(
    "escrow_releases",
    metadata,
    sa.Column("escrow_id", sa.Text, primary_key=True),
    sa.Column("release_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("at", micros, nullable=False),
    sa.ForeignKeyConstraint(["escrow_id", "merchant_id"], ["escrows.id", "escrows.merchant_id"]),
)
append_only("escrow_releases")
