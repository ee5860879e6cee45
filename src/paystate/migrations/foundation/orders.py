"""The first schema of: orders, fulfilments, tickets."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _orders()
    _fulfilments()
    _tickets()


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False, comment="tickets to issue"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_orders_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_orders_id_merchant_id")),
        sa.CheckConstraint(
            "state IN ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'DECLINED', 'CANCELED')",
            name=op.f("ck_orders_state_known"),
        ),
        sa.CheckConstraint("amount > 0 AND amount <= 1000000000000000", name=op.f("ck_orders_amount_range")),
    )
    op.create_index(
        "ix_orders_pending",
        "orders",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    )


def _fulfilments() -> None:
    op.create_table(
        "fulfilments",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column(
            "order_id", sa.Text(), nullable=False, comment="one payment fulfils an order (invariant 6)"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["order_id", "merchant_id"],
            ["orders.id", "orders.merchant_id"],
            name=op.f("fk_fulfilments_order_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_fulfilments")),
        sa.UniqueConstraint("order_id", name=op.f("uq_fulfilments_order_id")),
        sa.CheckConstraint("state IN ('DUE', 'DONE')", name=op.f("ck_fulfilments_state_known")),
    )


def _tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id", "merchant_id"],
            ["orders.id", "orders.merchant_id"],
            name=op.f("fk_tickets_order_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
        sa.UniqueConstraint("code", name=op.f("uq_tickets_code")),
        sa.UniqueConstraint("order_id", "unit", name=op.f("uq_tickets_order_id_unit")),
    )
