"""The whole schema as the rooms declare it: what migrations must arrive at, and tests compare with."""

import importlib

import sqlalchemy as sa

from paystate.machinery.db.schema import ddl, metadata

MODELS = (
    "paystate.machinery.idempotency",
    "paystate.machinery.jobs.model",
    "paystate.machinery.pacing",
    "paystate.domain.merchants.model",
    "paystate.domain.customers.model",
    "paystate.domain.connections.model",
    "paystate.domain.access.model",
    "paystate.domain.payments.model",
    "paystate.domain.payments.proof_model",
    "paystate.domain.ledger.model",
    "paystate.domain.cases.model",
    "paystate.domain.alerts.model",
    "paystate.domain.audit.model",
    "paystate.domain.webhooks.model",
    "paystate.domain.orders.model",
    "paystate.domain.escrow.model",
    "paystate.domain.wallets.model",
)


def whole_metadata() -> sa.MetaData:
    """The metadata after every room has declared its tables."""
    for name in MODELS:
        importlib.import_module(name)
    return metadata


def create_schema(engine: sa.Engine) -> None:
    """Create every table and trigger in an empty database, without history."""
    whole_metadata()
    with engine.begin() as conn:
        metadata.create_all(conn)
        for item in ddl:
            for statement in item.sqlite if engine.dialect.name == "sqlite" else item.postgresql:
                conn.exec_driver_sql(
                    statement.replace("%", "%%") if engine.dialect.name != "sqlite" else statement
                )
        conn.exec_driver_sql("INSERT INTO clock (id, offset_us) VALUES (1, 0)")
