"""The first schema of: event_head, events."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _event_head()
    _events()
    _triggers()


def _event_head() -> None:
    op.create_table(
        "event_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_head")),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_head_single")),
        comment="One row: the last position given, so that none is given twice after old events were deleted",
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="resource.past_tense"),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="the resource's version after the change"
        ),
        sa.Column("data", sa.Text(), nullable=False, comment="state before and after; never personal data"),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "position",
            sa.BigInteger(),
            nullable=True,
            comment="given after the commit; feeds page on it alone",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("position", name=op.f("uq_events_position")),
        sa.UniqueConstraint(
            "resource_id", "version", "type", name=op.f("uq_events_resource_id_version_type")
        ),
    )
    op.create_index("ix_events_merchant_id", "events", ["merchant_id", "position"], unique=False)
    op.create_index(
        "ix_events_unnumbered",
        "events",
        ["id"],
        unique=False,
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER events_fixed BEFORE UPDATE OF id, merchant_id, type, resource_id, version, commit_id, created_at ON events WHEN NEW.id IS NOT OLD.id OR NEW.merchant_id IS NOT OLD.merchant_id OR NEW.type IS NOT OLD.type OR NEW.resource_id IS NOT OLD.resource_id OR NEW.version IS NOT OLD.version OR NEW.commit_id IS NOT OLD.commit_id OR NEW.created_at IS NOT OLD.created_at BEGIN SELECT RAISE(ABORT, 'events: id, merchant_id, type, resource_id, version, commit_id, created_at never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER events_fixed BEFORE UPDATE OF id, merchant_id, type, resource_id, version, commit_id, created_at ON events FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.merchant_id IS DISTINCT FROM OLD.merchant_id OR NEW.type IS DISTINCT FROM OLD.type OR NEW.resource_id IS DISTINCT FROM OLD.resource_id OR NEW.version IS DISTINCT FROM OLD.version OR NEW.commit_id IS DISTINCT FROM OLD.commit_id OR NEW.created_at IS DISTINCT FROM OLD.created_at) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER events_numbered_once BEFORE UPDATE OF position ON events WHEN OLD.position IS NOT NULL BEGIN SELECT RAISE(ABORT, 'events: a position never changes'); END"
        ],
        postgresql=[
            "CREATE TRIGGER events_numbered_once BEFORE UPDATE OF position ON events FOR EACH ROW WHEN (OLD.position IS NOT NULL) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
