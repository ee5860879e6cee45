"""Table of wallets: a payee's balance with us."""

import sqlalchemy as sa

from paystate.machinery.db.schema import metadata, micros

wallets = sa.Table(
    "wallets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("payee_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column(
        "receivable", sa.Boolean, nullable=False, comment="the payee owes us; the balance may be negative"
    ),
    sa.Column("created_at", micros, nullable=False),
    sa.CheckConstraint("balance >= 0 OR receivable", name="floor"),
    sa.UniqueConstraint("merchant_id", "payee_id", "currency"),
)
