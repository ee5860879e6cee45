"""Table of customers: who pays, found by any of the merchant's identifiers."""

import sqlalchemy as sa

from paystate.machinery.db.schema import json_text, metadata, micros

customers = sa.Table(
    "customers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("external_id", sa.Text),
    sa.Column("phone", sa.Text, comment="E.164"),
    sa.Column("email", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("metadata", json_text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("updated_at", micros, nullable=False),
    sa.UniqueConstraint("merchant_id", "external_id"),
    sa.UniqueConstraint("merchant_id", "phone"),
    sa.UniqueConstraint("merchant_id", "email"),
    sa.UniqueConstraint("id", "merchant_id"),
)
