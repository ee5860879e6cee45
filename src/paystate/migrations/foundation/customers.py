"""The first schema of: customers."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _customers()


def _customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True, comment="E.164"),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_customers_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_customers_id_merchant_id")),
        sa.UniqueConstraint("merchant_id", "email", name=op.f("uq_customers_merchant_id_email")),
        sa.UniqueConstraint("merchant_id", "external_id", name=op.f("uq_customers_merchant_id_external_id")),
        sa.UniqueConstraint("merchant_id", "phone", name=op.f("uq_customers_merchant_id_phone")),
    )
