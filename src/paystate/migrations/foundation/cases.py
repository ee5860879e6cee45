"""The first schema of: cases."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _cases()


def _cases_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "fingerprint", sa.Text(), nullable=False, comment="digest of its cause: one open case per cause"
        ),
        sa.Column(
            "lasting",
            sa.Boolean(),
            nullable=False,
            comment="its cause is a fact: once resolved it never opens again",
        ),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("suggested_action", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "snoozed_until",
            sa.BigInteger(),
            nullable=True,
            comment="a person chose to keep waiting; the case stays open",
        ),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("resolution_reason", sa.Text(), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_cases_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.CheckConstraint(
            "(state = 'OPEN' AND resolved_at IS NULL) OR (state = 'RESOLVED' AND resolution IS NOT NULL AND resolution_reason IS NOT NULL AND resolved_by IS NOT NULL AND resolved_at IS NOT NULL)",
            name=op.f("ck_cases_resolved_by_somebody"),
        ),
    ]


def _cases_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.CheckConstraint("state IN ('OPEN', 'RESOLVED')", name=op.f("ck_cases_state_known")),
    ]


def _cases() -> None:
    op.create_table("cases", *_cases_1_of_2(), *_cases_2_of_2())
    op.create_index("ix_cases_merchant_id", "cases", ["merchant_id", "state", "id"], unique=False)
    op.create_index("ix_cases_payment_id", "cases", ["payment_id"], unique=False)
    op.create_index(
        "uq_cases_fingerprint",
        "cases",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("state = 'OPEN' OR lasting"),
        postgresql_where=sa.text("state = 'OPEN' OR lasting"),
    )
