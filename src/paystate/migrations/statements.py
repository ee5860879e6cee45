"""Runs statements that only one dialect understands, inside a migration."""

from collections.abc import Sequence

from alembic import op


def run_statements(*, sqlite: Sequence[str], postgresql: Sequence[str]) -> None:
    """Run the statements of the database at hand as they stand: no placeholder has a meaning in them."""
    conn = op.get_bind()
    if conn.dialect.name == "sqlite":
        for statement in sqlite:
            conn.exec_driver_sql(statement)
        return
    for statement in postgresql:
        conn.exec_driver_sql(statement.replace("%", "%%"))
