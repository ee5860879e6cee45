"""The database: one unit of work that owns commit, on SQLite and on PostgreSQL."""

from sqlalchemy.exc import IntegrityError as ConstraintRefused

from paystate.machinery.db.bulk import bulk_insert, bulk_update
from paystate.machinery.db.database import Database, open_database
from paystate.machinery.db.schema import Ddl, append_only, json_text, metadata, micros, refuse_update_of
from paystate.machinery.db.transaction import Tx

__all__ = [
    "ConstraintRefused",
    "Database",
    "Ddl",
    "Tx",
    "append_only",
    "bulk_insert",
    "bulk_update",
    "json_text",
    "metadata",
    "micros",
    "open_database",
    "refuse_update_of",
]
