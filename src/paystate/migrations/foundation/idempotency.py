"""The first schema of: idempotency_keys."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _idempotency_keys()


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False, comment="Method and path template"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("input_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "resource_id",
            sa.Text(),
            nullable=True,
            comment="What the request made; a retry continues from it",
        ),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True, comment="The answer, without secrets shown once"),
        sa.Column("body_hash", sa.Text(), nullable=True, comment="SHA-256 of body, for the audit"),
        sa.Column(
            "locked_until",
            sa.BigInteger(),
            nullable=False,
            comment="Whoever set it holds the key; a later value fences it off",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "route", "key", name=op.f("pk_idempotency_keys")),
        sa.CheckConstraint(
            "state = 'IN_PROGRESS' OR (status IS NOT NULL AND body IS NOT NULL AND body_hash IS NOT NULL)",
            name=op.f("ck_idempotency_keys_done_answered"),
        ),
        sa.CheckConstraint("state IN ('IN_PROGRESS', 'DONE')", name=op.f("ck_idempotency_keys_state_known")),
        sa.CheckConstraint("status BETWEEN 200 AND 299", name=op.f("ck_idempotency_keys_status_success")),
    )
    op.create_index(op.f("ix_idempotency_keys_expires_at"), "idempotency_keys", ["expires_at"], unique=False)
