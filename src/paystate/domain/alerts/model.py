"""The table of alerts."""

import sqlalchemy as sa

from paystate.domain.alerts.rules import AlertState, Severity
from paystate.machinery.db.schema import json_text, metadata, micros, one_of

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), comment="none: the installation's"),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="rule and subject: one open alert for each"),
    sa.Column("severity", sa.Text, one_of("severity", tuple(Severity)), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("detail", json_text, nullable=False),
    sa.Column("state", sa.Text, one_of("state", tuple(AlertState)), nullable=False),
    sa.Column("count", sa.Integer, sa.CheckConstraint("count > 0", name="count"), nullable=False),
    sa.Column("first_at", micros, nullable=False),
    sa.Column("last_at", micros, nullable=False),
    sa.Column("ended_by", sa.Text),
    sa.Column("ended_at", micros),
    sa.Index(
        "uq_alerts_fingerprint",
        "fingerprint",
        unique=True,
        sqlite_where=sa.text("state <> 'RESOLVED'"),
        postgresql_where=sa.text("state <> 'RESOLVED'"),
    ),
    sa.Index("ix_alerts_merchant_id", "merchant_id", "id"),
)
