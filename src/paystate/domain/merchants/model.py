"""Tables of merchants and their API keys."""

import sqlalchemy as sa

from paystate.domain.merchants.rules import LatePolicy
from paystate.machinery.db.schema import json_text, metadata, micros, one_of, refuse_update_of

merchants = sa.Table(
    "merchants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("default_region", sa.Text),
    sa.Column("late_policy", sa.Text, one_of("late_policy", tuple(LatePolicy)), nullable=False),
    sa.Column(
        "stale_after_us",
        sa.BigInteger,
        nullable=False,
        comment="a bundle payment is stale so long after opening",
    ),
    sa.Column(
        "return_origins", json_text, nullable=False, comment="origins allowed in returnUrl; empty: any https"
    ),
    sa.Column("created_at", micros, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False, unique=True, comment="SHA-256 of 256 random bits, hex"),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("last4", sa.Text, nullable=False),
    sa.Column("scopes", json_text, nullable=False),
    sa.Column("addresses", json_text, nullable=False, comment="networks it may be used from; empty: any"),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("expires_at", micros),
    sa.Column("revoked_at", micros),
    sa.Column("last_used_at", micros),
    sa.Index("ix_api_keys_merchant_id", "merchant_id", "id"),
)
# A key never changes hands and never gains rights: another one is made instead.
refuse_update_of("api_keys", "merchant_id", "key_hash", "scopes")
