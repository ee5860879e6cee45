"""The first schema of: audit_blocks, audit_log."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _audit_blocks()
    _audit_log()
    _triggers()


def _audit_blocks() -> None:
    op.create_table(
        "audit_blocks",
        sa.Column(
            "id", sa.BigInteger(), autoincrement=False, nullable=False, comment="1, 2, 3 … without gaps"
        ),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_blocks")),
        sa.CheckConstraint(
            "id >= 1 AND first_position >= 1 AND last_position >= first_position",
            name=op.f("ck_audit_blocks_range"),
        ),
    )


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=True, comment="null for the installation itself"),
        sa.Column("actor", sa.Text(), nullable=False, comment="key:…, operator:…, customer, job:…"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column(
            "position", sa.BigInteger(), nullable=True, comment="given after the commit; the chain follows it"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("position", name=op.f("uq_audit_log_position")),
        sa.CheckConstraint("position >= 1", name=op.f("ck_audit_log_position_range")),
    )
    op.create_index("ix_audit_log_merchant_id", "audit_log", ["merchant_id", "id"], unique=False)
    op.create_index("ix_audit_log_resource_id", "audit_log", ["resource_id", "id"], unique=False)
    op.create_index(
        "ix_audit_log_unnumbered",
        "audit_log",
        ["id"],
        unique=False,
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER audit_log_fixed BEFORE UPDATE OF id, merchant_id, actor, action, resource_id, before, after, reason, address, request_id, commit_id, at ON audit_log WHEN NEW.id IS NOT OLD.id OR NEW.merchant_id IS NOT OLD.merchant_id OR NEW.actor IS NOT OLD.actor OR NEW.action IS NOT OLD.action OR NEW.resource_id IS NOT OLD.resource_id OR NEW.before IS NOT OLD.before OR NEW.after IS NOT OLD.after OR NEW.reason IS NOT OLD.reason OR NEW.address IS NOT OLD.address OR NEW.request_id IS NOT OLD.request_id OR NEW.commit_id IS NOT OLD.commit_id OR NEW.at IS NOT OLD.at BEGIN SELECT RAISE(ABORT, 'audit_log: id, merchant_id, actor, action, resource_id, before, after, reason, address, request_id, commit_id, at never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER audit_log_fixed BEFORE UPDATE OF id, merchant_id, actor, action, resource_id, before, after, reason, address, request_id, commit_id, at ON audit_log FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.merchant_id IS DISTINCT FROM OLD.merchant_id OR NEW.actor IS DISTINCT FROM OLD.actor OR NEW.action IS DISTINCT FROM OLD.action OR NEW.resource_id IS DISTINCT FROM OLD.resource_id OR NEW.before IS DISTINCT FROM OLD.before OR NEW.after IS DISTINCT FROM OLD.after OR NEW.reason IS DISTINCT FROM OLD.reason OR NEW.address IS DISTINCT FROM OLD.address OR NEW.request_id IS DISTINCT FROM OLD.request_id OR NEW.commit_id IS DISTINCT FROM OLD.commit_id OR NEW.at IS DISTINCT FROM OLD.at) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
            "CREATE TRIGGER audit_log_numbered_once BEFORE UPDATE OF position ON audit_log WHEN OLD.position IS NOT NULL BEGIN SELECT RAISE(ABORT, 'audit_log: a position never changes'); END",
        ],
        postgresql=[
            "CREATE TRIGGER audit_log_no_delete BEFORE DELETE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()",
            "CREATE TRIGGER audit_log_numbered_once BEFORE UPDATE OF position ON audit_log FOR EACH ROW WHEN (OLD.position IS NOT NULL) EXECUTE FUNCTION paystate_append_only()",
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER audit_blocks_no_update BEFORE UPDATE ON audit_blocks BEGIN SELECT RAISE(ABORT, 'audit_blocks is append-only'); END",
            "CREATE TRIGGER audit_blocks_no_delete BEFORE DELETE ON audit_blocks BEGIN SELECT RAISE(ABORT, 'audit_blocks is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER audit_blocks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_blocks FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
