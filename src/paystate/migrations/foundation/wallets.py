"""The first schema of: wallets."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _wallets()


def _wallets() -> None:
    op.create_table(
        "wallets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column(
            "receivable",
            sa.Boolean(),
            nullable=False,
            comment="the payee owes us; the balance may be negative",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_wallets_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
        sa.UniqueConstraint(
            "merchant_id", "payee_id", "currency", name=op.f("uq_wallets_merchant_id_payee_id_currency")
        ),
        sa.CheckConstraint("balance >= 0 OR receivable", name=op.f("ck_wallets_floor")),
    )
