"""The first schema of: alerts, alert_deliveries."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _alerts()
    _alert_deliveries()


def _alerts_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=True, comment="none: the installation's"),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column(
            "fingerprint", sa.Text(), nullable=False, comment="rule and subject: one open alert for each"
        ),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "told_at",
            sa.BigInteger(),
            nullable=False,
            comment="when the last telling or reminder was asked for",
        ),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "ended_by", sa.Text(), nullable=True, comment="a person, or the rule that saw the cause gone"
        ),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_alerts_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.CheckConstraint(
            "(state = 'RESOLVED') = (ended_at IS NOT NULL) AND (state = 'RESOLVED') = (ended_by IS NOT NULL)",
            name=op.f("ck_alerts_ended_by_somebody"),
        ),
        sa.CheckConstraint("severity IN ('WARNING', 'CRITICAL')", name=op.f("ck_alerts_severity_known")),
    ]


def _alerts_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.CheckConstraint(
            "state <> 'ACKNOWLEDGED' OR (acknowledged_by IS NOT NULL AND acknowledged_at IS NOT NULL)",
            name=op.f("ck_alerts_acknowledged_by_somebody"),
        ),
        sa.CheckConstraint(
            "state IN ('OPEN', 'ACKNOWLEDGED', 'RESOLVED')", name=op.f("ck_alerts_state_known")
        ),
        sa.CheckConstraint("count > 0", name=op.f("ck_alerts_count")),
    ]


def _alerts() -> None:
    op.create_table("alerts", *_alerts_1_of_2(), *_alerts_2_of_2())
    op.create_index("ix_alerts_merchant_id", "alerts", ["merchant_id", "id"], unique=False)
    op.create_index(
        "uq_alerts_fingerprint",
        "alerts",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("state <> 'RESOLVED'"),
        postgresql_where=sa.text("state <> 'RESOLVED'"),
    )


def _alert_deliveries_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column(
            "address", sa.Text(), nullable=False, comment="never a secret: of an address with one, its digest"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "round", sa.Integer(), nullable=False, comment="0: the telling; then one for each reminder"
        ),
        sa.Column("tries", sa.Integer(), nullable=False, comment="of this round"),
        sa.Column("sent_count", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.BigInteger(), nullable=True, comment="while PENDING"),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_alert_deliveries_alert_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_deliveries")),
        sa.UniqueConstraint(
            "alert_id", "channel", "address", name=op.f("uq_alert_deliveries_alert_id_channel_address")
        ),
        sa.CheckConstraint(
            "(state = 'PENDING') = (next_try_at IS NOT NULL)", name=op.f("ck_alert_deliveries_pending_is_due")
        ),
    ]


def _alert_deliveries_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.CheckConstraint(
            "state <> 'SENT' OR (sent_at IS NOT NULL AND sent_count > 0)",
            name=op.f("ck_alert_deliveries_sent_at_some_time"),
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'SENT', 'FAILED')", name=op.f("ck_alert_deliveries_state_known")
        ),
    ]


def _alert_deliveries() -> None:
    op.create_table("alert_deliveries", *_alert_deliveries_1_of_2(), *_alert_deliveries_2_of_2())
    op.create_index(
        "ix_alert_deliveries_due",
        "alert_deliveries",
        ["next_try_at"],
        unique=False,
        sqlite_where=sa.text("next_try_at IS NOT NULL"),
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
