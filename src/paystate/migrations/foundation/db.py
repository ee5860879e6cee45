"""The first schema of: clock."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _clock()
    _triggers()


def _clock() -> None:
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("offset_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
        sa.CheckConstraint("id = 1", name=op.f("ck_clock_single")),
        comment="One row: what is added to the database's clock; refused in production",
    )


def _triggers() -> None:
    run_statements(
        sqlite=[],
        postgresql=[
            "CREATE FUNCTION paystate_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
        ],
    )
