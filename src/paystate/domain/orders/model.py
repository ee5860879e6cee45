"""Tables of orders, their fulfilment and tickets."""

import sqlalchemy as sa

from paystate.machinery.db.schema import amount_check, metadata, micros, one_of

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column(
        "state",
        sa.Text,
        one_of("state", ("PENDING", "IN_PROGRESS", "COMPLETED", "DECLINED", "CANCELED")),
        nullable=False,
    ),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False, comment="tickets to issue"),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.Index(
        "ix_orders_pending",
        "id",
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    ),
)

fulfilments = sa.Table(
    "fulfilments",
    metadata,
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column(
        "order_id", sa.Text, nullable=False, unique=True, comment="one payment fulfils an order (invariant 6)"
    ),
    sa.Column("state", sa.Text, one_of("state", ("DUE", "DONE")), nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("done_at", micros),
    sa.ForeignKeyConstraint(["order_id", "merchant_id"], ["orders.id", "orders.merchant_id"]),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("unit", sa.Integer, nullable=False),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("order_id", "unit"),
    sa.ForeignKeyConstraint(["order_id", "merchant_id"], ["orders.id", "orders.merchant_id"]),
)
