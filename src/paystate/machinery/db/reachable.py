"""A database that cannot be reached, told in our language where no transaction of ours is under way."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from paystate.machinery.db.postgres import as_unavailable


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Inside, a server that does not answer is Unavailable; any other error stays what it is."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise as_unavailable(error) from error
