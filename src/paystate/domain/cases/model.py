"""Table of cases: what only a person can decide."""

import sqlalchemy as sa

from paystate.domain.cases.rules import CaseState
from paystate.machinery.db.schema import json_text, metadata, micros, one_of

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("payment_id", sa.Text),
    sa.Column("attempt_id", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="digest of its cause: one open case per cause"),
    sa.Column(
        "lasting",
        sa.Boolean,
        nullable=False,
        comment="its cause is a fact: once resolved it never opens again",
    ),
    sa.Column("evidence", json_text, nullable=False),
    sa.Column("suggested_action", sa.Text, nullable=False),
    sa.Column("state", sa.Text, one_of("state", tuple(CaseState)), nullable=False),
    sa.Column("snoozed_until", micros, comment="a person chose to keep waiting; the case stays open"),
    sa.Column("resolution", sa.Text),
    sa.Column("resolution_reason", sa.Text),
    sa.Column("resolved_by", sa.Text),
    sa.Column("created_at", micros, nullable=False),
    sa.Column("resolved_at", micros),
    sa.CheckConstraint(
        "(state = 'OPEN' AND resolved_at IS NULL) OR (state = 'RESOLVED' AND resolution IS NOT NULL "
        "AND resolution_reason IS NOT NULL AND resolved_by IS NOT NULL AND resolved_at IS NOT NULL)",
        name="resolved_by_somebody",
    ),
    sa.Index(
        "uq_cases_fingerprint",
        "fingerprint",
        unique=True,
        sqlite_where=sa.text("state = 'OPEN' OR lasting"),
        postgresql_where=sa.text("state = 'OPEN' OR lasting"),
    ),
    sa.Index("ix_cases_merchant_id", "merchant_id", "state", "id"),
    sa.Index("ix_cases_payment_id", "payment_id"),
)
