"""The first schema of: connections, provider_events."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _connections()
    _provider_events()
    _triggers()


def _connections() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, comment="the merchant's account at the provider"),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column(
            "shared", sa.Boolean(), nullable=False, comment="several merchants may use this account (Hedera)"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False, comment="public fields, such as the base URL"),
        sa.Column(
            "secrets", sa.Text(), nullable=False, comment="sealed JSON; AAD connections,secrets,id,merchant"
        ),
        sa.Column("rate_per_second", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_connections_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
        sa.UniqueConstraint("id", "merchant_id", name=op.f("uq_connections_id_merchant_id")),
        sa.CheckConstraint(
            "state IN ('ACTIVE', 'PARKED', 'DISABLED')", name=op.f("ck_connections_state_known")
        ),
        sa.CheckConstraint("rate_per_second > 0", name=op.f("ck_connections_rate")),
    )
    op.create_index("ix_connections_merchant_id", "connections", ["merchant_id", "id"], unique=False)
    op.create_index(
        "uq_connections_account",
        "connections",
        ["provider", "account", "live"],
        unique=True,
        sqlite_where=sa.text("NOT shared AND state <> 'DISABLED'"),
        postgresql_where=sa.text("NOT shared AND state <> 'DISABLED'"),
    )


def _provider_events_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column(
            "provider_event_id",
            sa.Text(),
            nullable=False,
            comment="the provider's id, else the digest of the body",
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "body",
            sa.Text(),
            nullable=False,
            comment="sealed raw bytes; AAD provider_events,body,id,merchant",
        ),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("authentic", sa.Boolean(), nullable=False, comment="the signature was right"),
        sa.Column(
            "named", sa.Text(), nullable=False, comment="what the message names: our references, their ids"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("deliveries", sa.Integer(), nullable=False, comment="how often the provider sent it"),
        sa.Column(
            "retry_at", sa.BigInteger(), nullable=True, comment="an unmatched one is looked at again then"
        ),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("handled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_provider_events_connection_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_events")),
    ]


def _provider_events_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.UniqueConstraint(
            "connection_id",
            "provider_event_id",
            name=op.f("uq_provider_events_connection_id_provider_event_id"),
        ),
        sa.CheckConstraint(
            "retry_at IS NULL OR state = 'UNMATCHED'", name=op.f("ck_provider_events_retry_of_unmatched")
        ),
        sa.CheckConstraint(
            "state IN ('RECEIVED', 'HANDLED', 'UNMATCHED', 'IGNORED')",
            name=op.f("ck_provider_events_state_known"),
        ),
    ]


def _provider_events() -> None:
    op.create_table("provider_events", *_provider_events_1_of_2(), *_provider_events_2_of_2())
    op.create_index(
        "ix_provider_events_attempt_id",
        "provider_events",
        ["attempt_id"],
        unique=False,
        sqlite_where=sa.text("attempt_id IS NOT NULL"),
        postgresql_where=sa.text("attempt_id IS NOT NULL"),
    )
    op.create_index("ix_provider_events_merchant_id", "provider_events", ["merchant_id", "id"], unique=False)
    op.create_index(
        "ix_provider_events_retry",
        "provider_events",
        ["retry_at"],
        unique=False,
        sqlite_where=sa.text("retry_at IS NOT NULL"),
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER connections_fixed BEFORE UPDATE OF merchant_id, provider, account, live, shared ON connections WHEN NEW.merchant_id IS NOT OLD.merchant_id OR NEW.provider IS NOT OLD.provider OR NEW.account IS NOT OLD.account OR NEW.live IS NOT OLD.live OR NEW.shared IS NOT OLD.shared BEGIN SELECT RAISE(ABORT, 'connections: merchant_id, provider, account, live, shared never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER connections_fixed BEFORE UPDATE OF merchant_id, provider, account, live, shared ON connections FOR EACH ROW WHEN (NEW.merchant_id IS DISTINCT FROM OLD.merchant_id OR NEW.provider IS DISTINCT FROM OLD.provider OR NEW.account IS DISTINCT FROM OLD.account OR NEW.live IS DISTINCT FROM OLD.live OR NEW.shared IS DISTINCT FROM OLD.shared) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
