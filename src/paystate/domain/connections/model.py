"""Tables of connections and of what their providers sent us."""

import sqlalchemy as sa

from paystate.domain.connections.rules import ConnectionState, EventState
from paystate.machinery.db.schema import json_text, metadata, micros, one_of, refuse_update_of

connections = sa.Table(
    "connections",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False, comment="the merchant's account at the provider"),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column(
        "shared", sa.Boolean, nullable=False, comment="several merchants may use this account (Hedera)"
    ),
    sa.Column("state", sa.Text, one_of("state", tuple(ConnectionState)), nullable=False),
    sa.Column("state_reason", sa.Text),
    sa.Column("settings", json_text, nullable=False, comment="public fields, such as the base URL"),
    sa.Column("secrets", sa.Text, nullable=False, comment="sealed JSON; AAD connections,secrets,id,merchant"),
    sa.Column(
        "rate_per_second", sa.Integer, sa.CheckConstraint("rate_per_second > 0", name="rate"), nullable=False
    ),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("updated_at", micros, nullable=False),
    sa.UniqueConstraint("id", "merchant_id"),
    sa.Index(
        "uq_connections_account",
        "provider",
        "account",
        "live",
        unique=True,
        sqlite_where=sa.text("NOT shared AND state <> 'DISABLED'"),
        postgresql_where=sa.text("NOT shared AND state <> 'DISABLED'"),
    ),
    sa.Index("ix_connections_merchant_id", "merchant_id", "id"),
)
# Its account is what proofs are bound to: another account is another connection.
refuse_update_of("connections", "merchant_id", "provider", "account", "live", "shared")

provider_events = sa.Table(
    "provider_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("connection_id", sa.Text, nullable=False),
    sa.Column(
        "provider_event_id", sa.Text, nullable=False, comment="the provider's id, else the digest of the body"
    ),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column(
        "body", sa.Text, nullable=False, comment="sealed raw bytes; AAD provider_events,body,id,merchant"
    ),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("authentic", sa.Boolean, nullable=False, comment="the signature was right"),
    sa.Column(
        "named", json_text, nullable=False, comment="what the message names: our references, their ids"
    ),
    sa.Column("state", sa.Text, one_of("state", tuple(EventState)), nullable=False),
    sa.Column("attempt_id", sa.Text),
    sa.Column("deliveries", sa.Integer, nullable=False, comment="how often the provider sent it"),
    sa.Column("retry_at", micros, comment="an unmatched one is looked at again then"),
    sa.Column("received_at", micros, nullable=False),
    sa.Column("handled_at", micros),
    sa.UniqueConstraint("connection_id", "provider_event_id"),
    sa.ForeignKeyConstraint(["connection_id", "merchant_id"], ["connections.id", "connections.merchant_id"]),
    sa.CheckConstraint("retry_at IS NULL OR state = 'UNMATCHED'", name="retry_of_unmatched"),
    sa.Index("ix_provider_events_merchant_id", "merchant_id", "id"),
    sa.Index(
        "ix_provider_events_attempt_id",
        "attempt_id",
        sqlite_where=sa.text("attempt_id IS NOT NULL"),
        postgresql_where=sa.text("attempt_id IS NOT NULL"),
    ),
    sa.Index(
        "ix_provider_events_retry",
        "retry_at",
        sqlite_where=sa.text("retry_at IS NOT NULL"),
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    ),
)
