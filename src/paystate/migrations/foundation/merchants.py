"""The first schema of: merchants, api_keys."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _merchants()
    _api_keys()
    _triggers()


def _merchants() -> None:
    op.create_table(
        "merchants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("default_region", sa.Text(), nullable=True),
        sa.Column("late_policy", sa.Text(), nullable=False),
        sa.Column(
            "stale_after_us",
            sa.BigInteger(),
            nullable=False,
            comment="a bundle payment is stale so long after opening",
        ),
        sa.Column(
            "return_origins",
            sa.Text(),
            nullable=False,
            comment="origins allowed in returnUrl; empty: any https",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchants")),
        sa.UniqueConstraint("name", name=op.f("uq_merchants_name")),
        sa.CheckConstraint(
            "late_policy IN ('accept', 'review', 'refund')", name=op.f("ck_merchants_late_policy_known")
        ),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False, comment="SHA-256 of 256 random bits, hex"),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False, comment="networks it may be used from; empty: any"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_api_keys_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index("ix_api_keys_merchant_id", "api_keys", ["merchant_id", "id"], unique=False)


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER api_keys_fixed BEFORE UPDATE OF merchant_id, key_hash, scopes ON api_keys WHEN NEW.merchant_id IS NOT OLD.merchant_id OR NEW.key_hash IS NOT OLD.key_hash OR NEW.scopes IS NOT OLD.scopes BEGIN SELECT RAISE(ABORT, 'api_keys: merchant_id, key_hash, scopes never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER api_keys_fixed BEFORE UPDATE OF merchant_id, key_hash, scopes ON api_keys FOR EACH ROW WHEN (NEW.merchant_id IS DISTINCT FROM OLD.merchant_id OR NEW.key_hash IS DISTINCT FROM OLD.key_hash OR NEW.scopes IS DISTINCT FROM OLD.scopes) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
