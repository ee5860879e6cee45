"""The first schema of: pacing."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _pacing()


def _pacing() -> None:
    op.create_table(
        "pacing",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "next_free_us",
            sa.BigInteger(),
            nullable=False,
            comment="By the database's clock: nothing is granted before",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_pacing")),
    )
