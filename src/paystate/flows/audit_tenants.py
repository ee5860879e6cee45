"""The invariant of tenants: whatever hangs on something belongs to the same merchant."""

from paystate.flows.audit_check import Fault, Rule

PARENTS = (
    ("payments", "customer_id", "customers"),
    ("payments", "order_id", "orders"),
    ("payment_moves", "payment_id", "payments"),
    ("payment_intents", "conflict_id", "payments"),
    ("payment_intents", "payment_id", "payments"),
    ("attempts", "payment_id", "payments"),
    ("attempts", "connection_id", "connections"),
    ("verifications", "payment_id", "payments"),
    ("verifications", "attempt_id", "attempts"),
    ("receipts", "connection_id", "connections"),
    ("receipts", "payment_id", "payments"),
    ("receipts", "attempt_id", "attempts"),
    ("proofs", "payment_id", "payments"),
    ("proofs", "attempt_id", "attempts"),
    ("proofs", "receipt_id", "receipts"),
    ("proof_parts", "payment_id", "payments"),
    ("proof_parts", "receipt_id", "receipts"),
    ("receipt_adoptions", "payment_id", "payments"),
    ("receipt_adoptions", "attempt_id", "attempts"),
    ("receipt_adoptions", "receipt_id", "receipts"),
    ("refunds", "payment_id", "payments"),
    ("refunds", "receipt_id", "receipts"),
    ("provider_events", "connection_id", "connections"),
    ("connection_tokens", "connection_id", "connections"),
    ("connection_breakers", "connection_id", "connections"),
    ("connection_listings", "connection_id", "connections"),
    ("provider_events", "attempt_id", "attempts"),
    ("cases", "payment_id", "payments"),
    ("cases", "attempt_id", "attempts"),
    ("journals", "reverses_id", "journals"),
    ("journal_entries", "journal_id", "journals"),
    ("journal_entries", "account_id", "ledger_accounts"),
    ("fulfilments", "order_id", "orders"),
    ("fulfilments", "payment_id", "payments"),
    ("tickets", "order_id", "orders"),
    ("escrows", "payment_id", "payments"),
    ("escrow_releases", "escrow_id", "escrows"),
)
"""(child, its column, parent): the parent exists, and both have one merchant."""

MENTIONS = (
    ("events", "resource_id", "payments"),
    ("idempotency_keys", "resource_id", "payments"),
    ("audit_log", "resource_id", "payments"),
)
"""The same where the column may name other things too."""


def _another_merchant(child: str, column: str, parent: str) -> Fault:
    return Fault(
        f"SELECT c.{column} AS subject, 'belongs to another merchant than a row of {child}, or to none' AS detail "
        f"FROM {child} c LEFT JOIN {parent} p ON p.id = c.{column} "
        f"WHERE c.{column} IS NOT NULL AND coalesce(p.merchant_id, '') <> c.merchant_id"
    )


def _mentioned(child: str, column: str, parent: str) -> Fault:
    return Fault(
        f"SELECT c.{column} AS subject, 'belongs to another merchant than a row of {child}' AS detail "
        f"FROM {child} c JOIN {parent} p ON p.id = c.{column} WHERE p.merchant_id <> c.merchant_id"
    )


INVARIANTS = (
    Rule(
        19,
        "A child's merchant is its parent's",
        (*(_another_merchant(*row) for row in PARENTS), *(_mentioned(*row) for row in MENTIONS)),
    ),
)
