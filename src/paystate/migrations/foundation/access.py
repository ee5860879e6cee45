"""The first schema of: connection_breakers, connection_listings, connection_tokens."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _connection_breakers()
    _connection_listings()
    _connection_tokens()


def _connection_breakers() -> None:
    op.create_table(
        "connection_breakers",
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=False, comment="then one question tries again"),
        sa.Column(
            "probe_until",
            sa.BigInteger(),
            nullable=True,
            comment="that question is out, and nobody else asks until then",
        ),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_connection_breakers_connection_id_merchant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connection_breakers")),
        sa.CheckConstraint("trips > 0", name=op.f("ck_connection_breakers_trips")),
    )


def _connection_listings() -> None:
    op.create_table(
        "connection_listings",
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column(
            "lease_until",
            sa.BigInteger(),
            nullable=True,
            comment="somebody reads the provider's list until then",
        ),
        sa.Column("not_before", sa.BigInteger(), nullable=False, comment="the next pass begins no earlier"),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_connection_listings_connection_id_merchant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connection_listings")),
    )


def _connection_tokens() -> None:
    op.create_table(
        "connection_tokens",
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column(
            "token",
            sa.Text(),
            nullable=True,
            comment="sealed; AAD connection_tokens,token,connection,merchant",
        ),
        sa.Column(
            "credentials_version",
            sa.BigInteger(),
            nullable=True,
            comment="the connection's version it was fetched with",
        ),
        sa.Column(
            "expires_at",
            sa.BigInteger(),
            nullable=True,
            comment="by the time of the world, as the provider counts it",
        ),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column(
            "lease_until", sa.BigInteger(), nullable=True, comment="somebody is fetching a new one until then"
        ),
        sa.Column("renewed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id", "merchant_id"],
            ["connections.id", "connections.merchant_id"],
            name=op.f("fk_connection_tokens_connection_id_merchant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connection_tokens")),
    )
