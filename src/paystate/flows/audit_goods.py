"""Invariants of what money buys and where it waits: orders, tickets, escrows, wallets."""

from paystate.flows.audit_check import Fault, Rule, repeated

FULFILLED_TWICE = repeated("fulfilments", ("order_id",))
FULFILLED_BY_ANOTHER = Fault(
    """
    SELECT f.order_id AS subject, 'is fulfilled by ' || f.payment_id || ', which is not PAID for it' AS detail
    FROM fulfilments f LEFT JOIN payments p ON p.id = f.payment_id
    WHERE coalesce(p.state, '') <> 'PAID' OR coalesce(p.order_id, '') <> f.order_id
    """
)

TICKETS_MISCOUNTED = Fault(
    """
    WITH issued AS (SELECT order_id, count(*) AS units FROM tickets GROUP BY order_id)
    SELECT o.id AS subject, coalesce(i.units, 0) || ' tickets of ' || o.quantity AS detail
    FROM fulfilments f
    JOIN orders o ON o.id = f.order_id
    LEFT JOIN issued i ON i.order_id = o.id
    WHERE (f.state = 'DONE' AND coalesce(i.units, 0) <> o.quantity) OR coalesce(i.units, 0) > o.quantity
    """
)
"""A fulfilment that is DUE may still have none, never more than were bought."""

TICKETS_UNPAID = Fault(
    """
    SELECT t.id AS subject, 'belongs to an order that nobody paid' AS detail FROM tickets t
    WHERE NOT EXISTS (
        SELECT 1 FROM fulfilments f JOIN payments p ON p.id = f.payment_id
        WHERE f.order_id = t.order_id AND p.state = 'PAID'
    )
    """
)
TICKET_CODES = Fault(
    """
    SELECT min(id) AS subject, count(*) || ' tickets share a code' AS detail FROM tickets
    GROUP BY code HAVING count(*) > 1
    """
)
"""The code itself opens the door, so it is not shown."""

ESCROW_LEAKS = Fault(
    """
    SELECT id AS subject, released || ' released + ' || refunded || ' refunded + ' || remaining || ' remaining, not '
        || held || ' held' AS detail
    FROM escrows WHERE released + refunded + remaining <> held OR released < 0 OR refunded < 0 OR remaining < 0
    """
)
RELEASED_TWICE = repeated("escrow_releases", ("escrow_id", "release_id"))
RELEASES_DIFFER = Fault(
    """
    WITH given AS (SELECT escrow_id, sum(amount) AS total FROM escrow_releases GROUP BY escrow_id)
    SELECT e.id AS subject, 'its releases sum to ' || coalesce(g.total, 0) || ', not ' || e.released AS detail
    FROM escrows e LEFT JOIN given g ON g.escrow_id = e.id WHERE coalesce(g.total, 0) <> e.released
    """
)

WALLET_BELOW_ZERO = Fault(
    """
    SELECT id AS subject, 'holds ' || balance || ' ' || currency AS detail FROM wallets
    WHERE balance < 0 AND NOT receivable
    """
)
ACCOUNT_BELOW_FLOOR = Fault(
    """
    SELECT id AS subject, code || ' holds ' || balance || ' ' || currency AS detail FROM ledger_accounts
    WHERE balance < 0 AND floored
    """
)

INVARIANTS = (
    Rule(6, "An order is fulfilled by at most one payment", (FULFILLED_TWICE, FULFILLED_BY_ANOTHER)),
    Rule(
        7,
        "Tickets equal what was bought, with codes of their own, and none without a proof",
        (TICKETS_MISCOUNTED, TICKETS_UNPAID, TICKET_CODES),
    ),
    Rule(
        9,
        "Released, refunded and remaining make what an escrow holds; each release happens once",
        (ESCROW_LEAKS, RELEASED_TWICE, RELEASES_DIFFER),
    ),
    Rule(11, "A wallet is below zero only as a receivable", (WALLET_BELOW_ZERO, ACCOUNT_BELOW_FLOOR)),
)
