"""Gets a database ready for a process: migrated on SQLite, checked on PostgreSQL."""

import os
from pathlib import Path

from paystate.entrypoints.worker import load_flows
from paystate.kit.errors import PaystateError
from paystate.machinery import failpoints
from paystate.machinery.db.reachable import reachable
from paystate.machinery.settings import Settings
from paystate.migrations import run as migrations

PRIVATE = 0o600


class NotMigrated(PaystateError):
    """The PostgreSQL database does not have this release's schema; nobody changes it without being told to."""

    code = "not_migrated"

    def __init__(self) -> None:
        super().__init__("The database does not have the schema of this release. Run: paystate migrate")


def prepare_database(settings: Settings) -> None:
    """Migrate a SQLite file; only check a PostgreSQL database, for several versions may be at work.

    Arms the failpoints first, so that they also strike in a migration. Raises NotMigrated, Unavailable.
    """
    load_flows()
    if settings.failpoints:
        failpoints.arm(settings.failpoints, log=settings.failpoints_log)
    with reachable():
        if settings.is_sqlite:
            migrate_database(settings)
        elif not migrations.is_current(settings.database_url.reveal()):
            raise NotMigrated


def migrate_database(settings: Settings) -> None:
    """Bring the database to the schema of this release."""
    url = settings.database_url.reveal()
    if settings.is_sqlite:
        _make_private(Path(url.removeprefix("sqlite:///")))
    migrations.migrate(url)


def _make_private(database: Path) -> None:
    """The file is its owner's alone, and SQLite gives its companions the same rights (T36)."""
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, PRIVATE))
    database.chmod(PRIVATE)
