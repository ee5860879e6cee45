"""Invariants of history: moves, the rows that share their commit, and what operators did."""

from paystate.domain.payments.states import EVENT_OF_MOVE, MOVES
from paystate.flows.audit_check import Fault, Rule, quoted
from paystate.flows.audit_money import CAPTURED, RECEIPT_KEY

_PUBLISHED = quoted(sorted(f"{before or ''}>{after}" for before, after in MOVES))
_TOLD_BY = quoted(sorted({kind for _, kind in EVENT_OF_MOVE.values()}))

MOVES_BROKEN = Fault(
    """
    WITH steps AS (
        SELECT payment_id, seq, prev_seq, from_state,
            coalesce(lag(seq) OVER one, 0) AS seq_before, coalesce(lag(to_state) OVER one, '') AS state_before
        FROM payment_moves WINDOW one AS (PARTITION BY payment_id ORDER BY seq)
    )
    SELECT payment_id AS subject, 'move ' || seq || ' does not continue the one before it' AS detail FROM steps
    WHERE seq <> seq_before + 1 OR coalesce(prev_seq, 0) <> seq_before OR coalesce(from_state, '') <> state_before
    """
)
STATE_WITHOUT_MOVE = Fault(
    """
    SELECT p.id AS subject, p.state || ' is not where move ' || p.seq || ' led' AS detail
    FROM payments p LEFT JOIN payment_moves m ON m.payment_id = p.id AND m.seq = p.seq
    WHERE coalesce(m.to_state, '') <> p.state
    """
)
MOVE_WITHOUT_STATE = Fault(
    """
    SELECT m.payment_id AS subject, 'move ' || m.seq || ' never reached the payment' AS detail
    FROM payment_moves m LEFT JOIN payments p ON p.id = m.payment_id WHERE p.id IS NULL OR m.seq > p.seq
    """
)

UNPUBLISHED = Fault(
    "SELECT payment_id AS subject, 'move ' || seq || ' from ' || coalesce(from_state, 'nothing') || ' to ' || to_state "
    "AS detail FROM payment_moves "
    f"WHERE coalesce(from_state, '') || '>' || to_state NOT IN ({_PUBLISHED})"
)

MOVE_WITHOUT_EVENT = Fault(
    f"""
    WITH kept AS (SELECT coalesce(min(created_at), 0) AS since FROM events)
    SELECT m.payment_id AS subject, 'move ' || m.seq || ' has ' || count(e.id) || ' events in its commit' AS detail
    FROM payment_moves m CROSS JOIN kept
    LEFT JOIN events e ON e.resource_id = m.payment_id AND e.version = m.seq AND e.type IN ({_TOLD_BY})
        AND e.commit_id = m.commit_id
    WHERE m.at >= kept.since GROUP BY m.payment_id, m.seq HAVING count(e.id) <> 1
    """
)
"""Events may be deleted, the oldest first: moves older than the oldest that is kept have none any more."""

EVENT_WITHOUT_MOVE = Fault(
    f"""
    SELECT e.id AS subject, e.type || ' of ' || e.resource_id || ' has no move in its commit' AS detail
    FROM events e LEFT JOIN payment_moves m ON m.payment_id = e.resource_id AND m.seq = e.version
    WHERE e.type IN ({_TOLD_BY}) AND coalesce(m.commit_id, '') <> e.commit_id
    """
)
PROOF_APART = Fault(
    """
    SELECT p.payment_id AS subject, 'its proof stands in another commit than its move or its receipt' AS detail
    FROM proofs p
    LEFT JOIN payment_moves m ON m.payment_id = p.payment_id AND m.to_state = 'PAID'
    LEFT JOIN receipts r ON r.id = p.receipt_id AND r.disposition = 'PROOF'
    WHERE coalesce(m.commit_id, p.commit_id) <> p.commit_id OR coalesce(r.commit_id, p.commit_id) <> p.commit_id
    """
)
CAPTURED_APART = Fault(
    f"""
    SELECT m.payment_id AS subject, 'is PAID and not booked in the same commit' AS detail
    FROM payment_moves m
    LEFT JOIN journals j ON j.merchant_id = m.merchant_id AND j.key = 'payment:' || m.payment_id || {CAPTURED}
    WHERE m.to_state = 'PAID' AND (
        j.commit_id <> m.commit_id
        OR (j.id IS NULL AND NOT EXISTS (SELECT 1 FROM proofs p WHERE p.payment_id = m.payment_id))
    )
    """
)
"""A proof that is not booked at all breaks invariant 3; a decision by hand that is not booked breaks this one."""

RECEIPT_APART = Fault(
    f"""
    SELECT r.id AS subject, 'is booked in another commit' AS detail
    FROM receipts r JOIN journals j ON j.merchant_id = r.merchant_id AND j.key = {RECEIPT_KEY}
    WHERE j.commit_id <> r.commit_id
    """
)
FULFILMENT_APART = Fault(
    """
    SELECT f.payment_id AS subject, 'its fulfilment stands in another commit than its move' AS detail
    FROM fulfilments f JOIN payment_moves m ON m.payment_id = f.payment_id AND m.to_state = 'PAID'
    WHERE f.commit_id <> m.commit_id
    """
)

MOVE_UNAUDITED = Fault(
    """
    SELECT m.payment_id AS subject, 'move ' || m.seq || ' by ' || m.actor || ' has no audit entry' AS detail
    FROM payment_moves m
    WHERE m.actor LIKE 'operator:%'
        AND NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.commit_id = m.commit_id AND l.actor = m.actor)
    """
)
CASE_UNAUDITED = Fault(
    """
    SELECT c.id AS subject, 'was resolved by ' || c.resolved_by || ' without an audit entry' AS detail FROM cases c
    WHERE c.resolved_by LIKE 'operator:%'
        AND NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.resource_id = c.id AND l.actor = c.resolved_by)
        AND NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.resource_id = c.payment_id AND l.actor = c.resolved_by)
    """
)
KEY_UNAUDITED = Fault(
    """
    SELECT k.id AS subject, 'was made without an audit entry' AS detail FROM api_keys k
    WHERE NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.resource_id = k.id)
    """
)

INVARIANTS = (
    Rule(
        12,
        "One move per change of state, without gaps, and the moves give the state",
        (MOVES_BROKEN, STATE_WITHOUT_MOVE, MOVE_WITHOUT_STATE),
    ),
    Rule(13, "Only published moves occur", (UNPUBLISHED,)),
    Rule(
        14,
        "Move, journal and effect rows share one transaction",
        (
            MOVE_WITHOUT_EVENT,
            EVENT_WITHOUT_MOVE,
            PROOF_APART,
            CAPTURED_APART,
            RECEIPT_APART,
            FULFILMENT_APART,
        ),
    ),
    Rule(21, "An operator's act has an audit entry", (MOVE_UNAUDITED, CASE_UNAUDITED, KEY_UNAUDITED)),
)
