"""The foundation: every table, index and trigger of the first release."""

from alembic import op

from paystate.migrations.foundation import (
    access,
    alerts,
    audit,
    cases,
    connections,
    customers,
    db,
    escrow,
    idempotency,
    jobs,
    ledger,
    merchants,
    orders,
    pacing,
    payments,
    payments_proof,
    wallets,
    webhooks,
)

revision = "2026_11_20_foundation"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything in an empty database; a part refers to earlier ones only."""
    for part in (
        db,
        idempotency,
        jobs,
        pacing,
        merchants,
        customers,
        connections,
        access,
        payments,
        payments_proof,
        ledger,
        cases,
        alerts,
        audit,
        webhooks,
        orders,
        escrow,
        wallets,
    ):
        part.create()
    op.execute("INSERT INTO clock (id, offset_us) VALUES (1, 0)")
