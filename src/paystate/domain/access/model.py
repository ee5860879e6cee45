"""Tables of how a provider may be called for a connection: its access token, its breaker, who lists it."""

import sqlalchemy as sa

from paystate.machinery.db.schema import metadata, micros

connection_tokens = sa.Table(
    "connection_tokens",
    metadata,
    sa.Column("connection_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("token", sa.Text, comment="sealed; AAD connection_tokens,token,connection,merchant"),
    sa.Column("credentials_version", sa.BigInteger, comment="the connection's version it was fetched with"),
    sa.Column("expires_at", micros, comment="by the time of the world, as the provider counts it"),
    sa.Column("claim_no", sa.BigInteger, nullable=False),
    sa.Column("lease_until", micros, comment="somebody is fetching a new one until then"),
    sa.Column("renewed_at", micros),
    sa.ForeignKeyConstraint(
        ["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"], ondelete="CASCADE"
    ),
)

connection_breakers = sa.Table(
    "connection_breakers",
    metadata,
    sa.Column("connection_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("trips", sa.Integer, sa.CheckConstraint("trips > 0", name="trips"), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", micros, nullable=False),
    sa.Column("open_until", micros, nullable=False, comment="then one question tries again"),
    sa.Column("probe_until", micros, comment="that question is out, and nobody else asks until then"),
    sa.ForeignKeyConstraint(
        ["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"], ondelete="CASCADE"
    ),
)

connection_listings = sa.Table(
    "connection_listings",
    metadata,
    sa.Column("connection_id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("claim_no", sa.BigInteger, nullable=False),
    sa.Column("lease_until", micros, comment="somebody reads the provider's list until then"),
    sa.Column("not_before", micros, nullable=False, comment="the next pass begins no earlier"),
    sa.ForeignKeyConstraint(
        ["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"], ondelete="CASCADE"
    ),
)
