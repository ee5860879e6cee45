"""What the audit tells besides safety: what is stuck, and whether the storage itself is sound."""

from collections.abc import Iterator

import sqlalchemy as sa

from paystate.domain.payments import Patience
from paystate.flows.audit_check import Checked, Fault, Finding, Rule, check
from paystate.flows.audit_secrets import Known
from paystate.kit.clock import MINUTE
from paystate.machinery.db import Tx

GRACE = 15 * MINUTE
"""Due work may wait so long before anybody calls it stuck: three times the longest interval of the sweeps."""

NUMBERING_GRACE = 1 * MINUTE
STORAGE_PROBLEMS_SHOWN = 100

LAPSED_LEASES = Fault(
    f"""
    SELECT id AS subject, 'attempt was claimed and its lease is over' AS detail FROM attempts
    WHERE lease_until < :now - {GRACE} AND next_check_at IS NOT NULL
    UNION ALL
    SELECT id, job || ' runs under a lease that is over' FROM job_runs
    WHERE state = 'RUNNING' AND lease_until < :now - {GRACE}
    """
)
LATE_CHECKS = Fault(
    f"""
    SELECT a.id AS subject, 'was due to be asked about and is not' AS detail
    FROM attempts a JOIN connections c ON c.id = a.connection_id
    WHERE a.next_check_at < :now - {GRACE} AND c.state = 'ACTIVE'
    """
)
PAST_ITS_CLOCK = Fault(
    f"""
    SELECT p.id AS subject, p.state || ' past its time' AS detail FROM payments p
    WHERE p.state IN ('OPEN', 'PENDING_VERIFICATION') AND p.due_at < :now - {GRACE}
        AND (p.state = 'OPEN' OR coalesce(p.expires_at, 0) < :now - {GRACE})
        AND NOT EXISTS (
            SELECT 1 FROM attempts a WHERE a.payment_id = p.id
            AND (a.state = 'PROCESSING' OR (a.state IN ('CREATED', 'LIVE') AND a.silent_since > :silent_after))
        )
    """
)
"""A silent provider is waited for; then the payment goes to review."""

REVIEW_WITHOUT_CASE = Fault(
    """
    SELECT p.id AS subject, 'in review without an open case' AS detail FROM payments p
    WHERE p.state = 'REQUIRES_MANUAL_REVIEW'
        AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.payment_id = p.id AND c.state = 'OPEN')
    """
)
UNNUMBERED = Fault(
    f"""
    SELECT id AS subject, 'event without a position' AS detail FROM events
    WHERE position IS NULL AND created_at < :now - {NUMBERING_GRACE}
    UNION ALL
    SELECT id, 'audit entry without a position' FROM audit_log
    WHERE position IS NULL AND at < :now - {NUMBERING_GRACE}
    """
)
UNFULFILLED = Fault(
    f"""
    SELECT order_id AS subject, 'is paid and not fulfilled' AS detail FROM fulfilments
    WHERE state = 'DUE' AND created_at < :now - {GRACE}
    """
)
UNREAD_MESSAGES = Fault(
    f"""
    SELECT id AS subject, 'message of a provider that nobody looked at' AS detail FROM provider_events
    WHERE (state = 'RECEIVED' AND received_at < :now - {GRACE}) OR retry_at < :now - {GRACE}
    """
)

RULES = (
    Rule(None, "Nothing is held under a lease that is long over", (LAPSED_LEASES,)),
    Rule(None, "Every check that is due is made", (LATE_CHECKS,)),
    Rule(None, "No payment waits past its time", (PAST_ITS_CLOCK,)),
    Rule(None, "Every review has an open case", (REVIEW_WITHOUT_CASE,)),
    Rule(None, "Events and audit entries are numbered", (UNNUMBERED,)),
    Rule(None, "What is paid is fulfilled", (UNFULFILLED,)),
    Rule(None, "Every message of a provider is looked at", (UNREAD_MESSAGES,)),
)


def check_liveness(tx: Tx, patience: Patience, known: Known) -> list[Checked]:
    """What should have happened by now; under load or in a short outage some of it may be late."""
    values = {"silent_after": tx.now - patience.silent_limit - GRACE}
    unopened = tuple(Finding(one, "its secrets open with no key on the ring") for one in known.unopened)
    sealed = Checked(None, "Every connection's secrets can be opened", len(unopened), unopened, 0.0)
    return [*(check(tx, rule, values) for rule in RULES), sealed]


def storage_problems(tx: Tx) -> list[str]:
    """What SQLite says about its own file (F2), at most so many; PostgreSQL has its own tools."""
    return list(_sqlite_problems(tx)) if tx.on_sqlite else []


def _sqlite_problems(tx: Tx) -> Iterator[str]:
    integrity = tx.conn.exec_driver_sql(f"PRAGMA integrity_check({STORAGE_PROBLEMS_SHOWN})")
    yield from (f"integrity_check: {text}" for (text,) in integrity if text != "ok")
    try:
        orphans = tx.conn.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(STORAGE_PROBLEMS_SHOWN)
    except sa.exc.OperationalError as error:  # a parent lost its unique key: the check itself cannot go on
        yield f"foreign_key_check: {error.orig}"
        return
    yield from (
        f"foreign_key_check: a row of {child} has no parent in {parent}" for child, _, parent, _ in orphans
    )
