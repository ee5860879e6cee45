"""The first schema of: escrows, escrow_releases."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _escrows()
    _escrow_releases()
    _triggers()


def _escrows() -> None:
    op.create_table(
        "escrows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_escrows_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_escrows")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_escrows_id_merchant_id")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_escrows_payment_id")),
        sa.CheckConstraint(
            "state IN ('PENDING', 'PARTIALLY_RELEASED', 'RELEASED', 'FROZEN', 'REFUNDED')",
            name=op.f("ck_escrows_state_known"),
        ),
        sa.CheckConstraint("held > 0 AND held <= 1000000000000000", name=op.f("ck_escrows_held_range")),
        sa.CheckConstraint("released + refunded + remaining = held", name=op.f("ck_escrows_conserved")),
        sa.CheckConstraint(
            "released >= 0 AND refunded >= 0 AND remaining >= 0", name=op.f("ck_escrows_positive")
        ),
    )


def _escrow_releases() -> None:
    op.create_table(
        "escrow_releases",
        sa.Column("escrow_id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["escrow_id", "merchant_id"],
            ["escrows.id", "escrows.merchant_id"],
            name=op.f("fk_escrow_releases_escrow_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("escrow_id", "release_id", name=op.f("pk_escrow_releases")),
        sa.CheckConstraint(
            "amount > 0 AND amount <= 1000000000000000", name=op.f("ck_escrow_releases_amount_range")
        ),
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER escrow_releases_no_update BEFORE UPDATE ON escrow_releases BEGIN SELECT RAISE(ABORT, 'escrow_releases is append-only'); END",
            "CREATE TRIGGER escrow_releases_no_delete BEFORE DELETE ON escrow_releases BEGIN SELECT RAISE(ABORT, 'escrow_releases is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER escrow_releases_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON escrow_releases FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
