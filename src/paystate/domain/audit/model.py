"""Tables of the audit log: who did what and why, sealed into a chain of hashes."""

import sqlalchemy as sa

from paystate.machinery.db.schema import (
    append_only,
    declare_ddl,
    json_text,
    metadata,
    micros,
    refuse_update_of,
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, comment="null for the installation itself"),
    sa.Column("actor", sa.Text, nullable=False, comment="key:…, operator:…, customer, job:…"),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("before", json_text, nullable=False),
    sa.Column("after", json_text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("address", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("at", micros, nullable=False),
    sa.Column("position", sa.BigInteger, unique=True, comment="given after the commit; the chain follows it"),
    sa.CheckConstraint("position >= 1", name="position_range"),
    sa.Index(
        "ix_audit_log_unnumbered",
        "id",
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    ),
    sa.Index("ix_audit_log_resource_id", "resource_id", "id"),
    sa.Index("ix_audit_log_merchant_id", "merchant_id", "id"),
)

audit_blocks = sa.Table(
    "audit_blocks",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3 … without gaps"),
    sa.Column("first_position", sa.BigInteger, nullable=False),
    sa.Column("last_position", sa.BigInteger, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("closed_at", micros, nullable=False),
    sa.CheckConstraint("id >= 1 AND first_position >= 1 AND last_position >= first_position", name="range"),
)

refuse_update_of(
    "audit_log",
    *(
        "id",
        "merchant_id",
        "actor",
        "action",
        "resource_id",
        "before",
        "after",
        "reason",
        "address",
        "request_id",
    ),
    *("commit_id", "at"),
)
declare_ddl(
    "audit_log_kept",
    sqlite=(
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
        "CREATE TRIGGER audit_log_numbered_once BEFORE UPDATE OF position ON audit_log WHEN OLD.position IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'audit_log: a position never changes'); END",
    ),
    postgresql=(
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()",
        "CREATE TRIGGER audit_log_numbered_once BEFORE UPDATE OF position ON audit_log FOR EACH ROW "
        "WHEN (OLD.position IS NOT NULL) EXECUTE FUNCTION paystate_append_only()",
    ),
)
append_only("audit_blocks")
