"""Tables of events: what happened, for feeds and outgoing webhooks."""

import sqlalchemy as sa

from paystate.machinery.db.schema import declare_ddl, json_text, metadata, micros, refuse_update_of

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False, comment="resource.past_tense"),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, comment="the resource's version after the change"),
    sa.Column("data", json_text, nullable=False, comment="state before and after; never personal data"),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("created_at", micros, nullable=False),
    sa.Column(
        "position", sa.BigInteger, unique=True, comment="given after the commit; feeds page on it alone"
    ),
    sa.UniqueConstraint("resource_id", "version", "type"),
    sa.Index(
        "ix_events_unnumbered",
        "id",
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    ),
    sa.Index("ix_events_merchant_id", "merchant_id", "position"),
)

event_head = sa.Table(
    "event_head",
    metadata,
    sa.Column(
        "id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False
    ),
    sa.Column("position", sa.BigInteger, nullable=False),
    comment="One row: the last position given, so that none is given twice after old events were deleted",
)

refuse_update_of("events", "id", "merchant_id", "type", "resource_id", "version", "commit_id", "created_at")
declare_ddl(
    "events_numbered_once",
    sqlite=(
        "CREATE TRIGGER events_numbered_once BEFORE UPDATE OF position ON events WHEN OLD.position IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'events: a position never changes'); END",
    ),
    postgresql=(
        "CREATE TRIGGER events_numbered_once BEFORE UPDATE OF position ON events FOR EACH ROW "
        "WHEN (OLD.position IS NOT NULL) EXECUTE FUNCTION paystate_append_only()",
    ),
)
