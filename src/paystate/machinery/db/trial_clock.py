"""The row that moves an installation's clock: what is added to the database's time, so that deadlines can be tried."""

import sqlalchemy as sa

from paystate.machinery.db.schema import clock_row
from paystate.machinery.db.transaction import Tx


def offset(tx: Tx) -> int:
    """How many microseconds are added; 0 in every real installation."""
    return int(tx.execute(sa.select(clock_row.c.offset_us)).scalar_one())


def advance(tx: Tx, microseconds: int) -> int:
    """Add so many more; answers the new sum. Whoever calls this has made sure that no real money is here."""
    moved = clock_row.update().values(offset_us=clock_row.c.offset_us + microseconds)
    return int(tx.execute(moved.returning(clock_row.c.offset_us)).scalar_one())
