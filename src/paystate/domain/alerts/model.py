"""Tables of alerts and of their deliveries: who is told of one, how, and how often."""

import sqlalchemy as sa

from paystate.domain.alerts.rules import AlertState, DeliveryState, Severity
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
    sa.Column("told_at", micros, nullable=False, comment="when the last telling or reminder was asked for"),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("acknowledged_at", micros),
    sa.Column("ended_by", sa.Text, comment="a person, or the rule that saw the cause gone"),
    sa.Column("ended_reason", sa.Text),
    sa.Column("ended_at", micros),
    sa.CheckConstraint(
        "(state = 'RESOLVED') = (ended_at IS NOT NULL) AND (state = 'RESOLVED') = (ended_by IS NOT NULL)",
        name="ended_by_somebody",
    ),
    sa.CheckConstraint(
        "state <> 'ACKNOWLEDGED' OR (acknowledged_by IS NOT NULL AND acknowledged_at IS NOT NULL)",
        name="acknowledged_by_somebody",
    ),
    sa.Index(
        "uq_alerts_fingerprint",
        "fingerprint",
        unique=True,
        sqlite_where=sa.text("state <> 'RESOLVED'"),
        postgresql_where=sa.text("state <> 'RESOLVED'"),
    ),
    sa.Index("ix_alerts_merchant_id", "merchant_id", "id"),
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("alert_id", sa.Text, sa.ForeignKey("alerts.id"), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column(
        "address", sa.Text, nullable=False, comment="never a secret: of an address with one, its digest"
    ),
    sa.Column("state", sa.Text, one_of("state", tuple(DeliveryState)), nullable=False),
    sa.Column("round", sa.Integer, nullable=False, comment="0: the telling; then one for each reminder"),
    sa.Column("tries", sa.Integer, nullable=False, comment="of this round"),
    sa.Column("sent_count", sa.Integer, nullable=False),
    sa.Column("next_try_at", micros, comment="while PENDING"),
    sa.Column("lease_until", micros),
    sa.Column("claim_no", sa.BigInteger, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("sent_at", micros),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("alert_id", "channel", "address"),
    sa.CheckConstraint("(state = 'PENDING') = (next_try_at IS NOT NULL)", name="pending_is_due"),
    sa.CheckConstraint(
        "state <> 'SENT' OR (sent_at IS NOT NULL AND sent_count > 0)", name="sent_at_some_time"
    ),
    sa.Index(
        "ix_alert_deliveries_due",
        "next_try_at",
        sqlite_where=sa.text("next_try_at IS NOT NULL"),
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    ),
)
