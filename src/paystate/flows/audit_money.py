"""Invariants of money: journals, balances, receipts, proofs, refunds, amounts."""

from paystate.flows.audit_check import Fault, Rule, quoted, repeated
from paystate.kit.money import EXPONENTS, MAX_AMOUNT

CLEARING = "'1100', '1150'"
"""Accounts that a provider's transaction debits: clearing, and crypto operating."""

RECEIPT_KEY = (
    "'receipt:' || r.provider || ':' || replace(replace(r.account, '%', '%25'), ':', '%3A') || ':' || "
    "CASE WHEN r.live THEN 'live' ELSE 'test' END || ':' || r.transaction_id"
)
"""The key under which a receipt `r` is booked; see docs/reference/payment-states.md."""

# Spelled in two pieces: a colon before a letter would be a bound value.
CAPTURED = "':' || 'captured'"
"""The end of the key under which a payment is booked."""

UNBALANCED = Fault(
    "SELECT journal_id AS subject, 'off by ' || sum(side * amount) || ' ' || currency AS detail "
    "FROM journal_entries GROUP BY journal_id, currency HAVING sum(side * amount) <> 0"
)
EMPTY_JOURNALS = Fault(
    "SELECT j.id AS subject, 'has no entries' AS detail FROM journals j "
    "WHERE NOT EXISTS (SELECT 1 FROM journal_entries e WHERE e.journal_id = j.id)"
)
UNSEALED = Fault(
    "SELECT j.id AS subject, 'has no seal' AS detail FROM journals j "
    "WHERE NOT EXISTS (SELECT 1 FROM journal_seals s WHERE s.journal_id = j.id)",
    only="sqlite",
)

_DRIFT = (
    "SELECT a.id AS subject, a.code || ' holds ' || a.balance || ', its entries sum to ' || "
    "a.normal * coalesce(t.total, 0) AS detail FROM ledger_accounts a LEFT JOIN "
    "(SELECT account_id, sum(side * amount) AS total FROM journal_entries {sealed} GROUP BY account_id) AS t "
    "ON t.account_id = a.id WHERE a.balance <> a.normal * coalesce(t.total, 0)"
)
DRIFT = (
    Fault(_DRIFT.format(sealed="JOIN journal_seals USING (journal_id)"), only="sqlite"),
    Fault(_DRIFT.format(sealed=""), only="postgresql"),
)

RECEIPTS_BOOKED = Fault(
    f"""
    WITH expected AS MATERIALIZED (
        SELECT r.id, r.merchant_id, CAST({RECEIPT_KEY} AS TEXT) AS key FROM receipts r
        UNION
        SELECT r.id, r.merchant_id, CAST('payment:' || p.payment_id || {CAPTURED} AS TEXT)
        FROM proofs p JOIN receipts r ON r.id = p.receipt_id
    ), debits AS MATERIALIZED (
        SELECT j.merchant_id, j.key, count(*) AS times, min(e.amount) AS amount, min(e.currency) AS currency
        FROM journals j
        JOIN journal_entries e ON e.journal_id = j.id AND e.side = 1
        JOIN ledger_accounts a ON a.id = e.account_id AND a.code IN ({CLEARING})
        GROUP BY j.merchant_id, j.key
    ), booked AS (
        SELECT x.id, sum(d.times) AS times, min(d.amount) AS amount, min(d.currency) AS currency
        FROM expected x JOIN debits d ON d.merchant_id = x.merchant_id AND d.key = x.key
        GROUP BY x.id
    )
    SELECT r.id AS subject, r.disposition || ' over ' || r.amount || ' ' || r.currency || ' debits its clearing account '
        || coalesce(b.times, 0) || ' times, with ' || coalesce(b.amount || ' ' || b.currency, 'nothing') AS detail
    FROM receipts r LEFT JOIN booked b ON b.id = r.id
    WHERE coalesce(b.times, 0) <> CASE r.disposition WHEN 'FOREIGN' THEN 0 ELSE 1 END
        OR b.amount <> r.amount OR b.currency <> r.currency
    """
)
"""As a proof's captured journal, or as an unapplied receipt; accepted later, it is moved on and not debited again.

The casts let SQLite index the built keys for the join; without them it takes the square of the time.
"""

CAPTURED_FROM_NOTHING = Fault(
    f"""
    SELECT j.id AS subject, j.key || ' debits a clearing account without a proof' AS detail
    FROM journals j
    WHERE j.key LIKE 'payment:%' AND j.key LIKE '%' || {CAPTURED}
        AND NOT EXISTS (SELECT 1 FROM proofs p WHERE p.payment_id = substr(j.key, 9, length(j.key) - 17))
        AND EXISTS (
            SELECT 1 FROM journal_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.journal_id = j.id AND e.side = 1 AND a.code IN ({CLEARING})
        )
    """
)
RECEIVED_FROM_NOTHING = Fault(
    f"""
    SELECT key AS subject, 'is booked without a receipt' AS detail FROM (
        SELECT merchant_id, key FROM journals WHERE key LIKE 'receipt:%'
        EXCEPT SELECT r.merchant_id, {RECEIPT_KEY} FROM receipts r
    ) AS unknown
    """
)
FOREIGN_WITHOUT_CASE = Fault(
    """
    SELECT r.id AS subject, 'foreign money without a case' AS detail FROM receipts r
    WHERE r.disposition = 'FOREIGN'
        AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.payment_id = r.payment_id)
        AND NOT EXISTS (
            SELECT 1 FROM cases c WHERE r.payment_id IS NULL AND c.merchant_id = r.merchant_id
            AND c.evidence LIKE '%' || r.transaction_id || '%'
        )
    """
)
SUCCESS_WITHOUT_RECEIPT = Fault(
    """
    SELECT a.id AS subject, 'SUCCEEDED without a receipt of its own, a case, or a second look at a known one' AS detail
    FROM attempts a
    WHERE a.state = 'SUCCEEDED'
        AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.payment_id = a.payment_id AND r.attempt_id = a.id)
        AND NOT EXISTS (SELECT 1 FROM receipt_adoptions o WHERE o.attempt_id = a.id)
        AND NOT EXISTS (
            SELECT 1 FROM cases c
            WHERE c.payment_id = a.payment_id AND c.attempt_id = a.id AND c.reason = 'transaction_reused'
        )
        AND NOT EXISTS (
            SELECT 1 FROM verifications v WHERE v.payment_id = a.payment_id AND v.attempt_id = a.id
            AND v.decision IN ('already_settled', 'paid_and_refunded')
        )
    """
)
RECEIVED_TWICE = repeated(
    "receipts", ("provider", "account", "live", "transaction_id"), subject="transaction_id"
)

PAID_WITHOUT_REASON = Fault(
    """
    SELECT p.id AS subject, 'PAID without a proof and without a decision of a person' AS detail FROM payments p
    WHERE p.state = 'PAID'
        AND NOT EXISTS (SELECT 1 FROM proofs x WHERE x.payment_id = p.id)
        AND NOT EXISTS (
            SELECT 1 FROM payment_moves m
            WHERE m.payment_id = p.id AND m.to_state = 'PAID' AND p.resolved_by_hand
            AND (m.actor LIKE 'operator:%' OR m.actor LIKE 'key:%') AND trim(m.reason) <> ''
        )
    """
)
PROOF_DIFFERS = Fault(
    """
    WITH compared AS (
        SELECT p.payment_id AS subject, CASE
            WHEN pay.state <> 'PAID' THEN 'the payment is ' || pay.state
            WHEN pay.resolved_by_hand THEN NULL
            WHEN a.id IS NULL OR a.payment_id <> p.payment_id THEN 'attempt'
            WHEN p.currency <> pay.currency THEN 'currency'
            WHEN p.reference <> a.provider_reference THEN 'reference'
            WHEN c.id IS NULL OR p.provider <> c.provider OR p.account <> c.account THEN 'account'
            WHEN p.live <> c.live THEN 'live flag'
            WHEN NOT p.pushed AND p.amount <> pay.amount THEN 'amount'
            WHEN p.amount + coalesce((
                SELECT sum(r.amount) FROM proof_parts x JOIN receipts r ON r.id = x.receipt_id
                LEFT JOIN receipt_adoptions o ON o.receipt_id = r.id
                WHERE x.payment_id = p.payment_id AND r.currency = p.currency
                AND coalesce(r.payment_id, o.payment_id) = p.payment_id
            ), 0) < pay.amount THEN 'amount'
        END AS fact
        FROM proofs p
        LEFT JOIN payments pay ON pay.id = p.payment_id
        LEFT JOIN attempts a ON a.id = p.attempt_id
        LEFT JOIN connections c ON c.id = a.connection_id
    )
    SELECT subject, 'its proof differs: ' || fact AS detail FROM compared WHERE fact IS NOT NULL
    """
)
"""A person may accept money that differs; then the decision counts and not the proof's facts.

Where customers send what they like (`pushed`), the proof and its parts come to at least what was asked for.
"""

ADOPTED_FROM_ANOTHER = Fault(
    """
    SELECT o.receipt_id AS subject, 'is adopted by ' || o.payment_id || ' and belongs to ' || r.payment_id AS detail
    FROM receipt_adoptions o JOIN receipts r ON r.id = o.receipt_id
    WHERE r.payment_id IS NOT NULL
    """
)
PROVES_TWICE = repeated("proofs", ("provider", "account", "live", "transaction_id"), subject="transaction_id")
TWO_PROOFS = repeated("proofs", ("payment_id",))
PROOF_OF_ANOTHER = Fault(
    """
    SELECT p.payment_id AS subject, 'its proof, its receipt and the payment name different transactions' AS detail
    FROM proofs p
    LEFT JOIN receipts r ON r.id = p.receipt_id
    LEFT JOIN payments pay ON pay.id = p.payment_id
    WHERE r.id IS NULL OR p.transaction_id <> r.transaction_id OR p.provider <> r.provider
        OR p.account <> r.account OR p.live <> r.live OR p.amount <> r.amount OR p.currency <> r.currency
        OR p.transaction_id <> coalesce(pay.transaction_id, p.transaction_id)
    """
)

REFUNDED_TOO_MUCH = Fault(
    """
    WITH given AS (
        SELECT receipt_id, currency, sum(amount) AS total FROM refunds WHERE state <> 'FAILED'
        GROUP BY receipt_id, currency
    )
    SELECT g.receipt_id AS subject, 'refunds of ' || g.total || ' ' || g.currency || ' against '
        || coalesce(r.amount || ' ' || r.currency, 'nothing') AS detail
    FROM given g LEFT JOIN receipts r ON r.id = g.receipt_id AND r.currency = g.currency
    WHERE r.id IS NULL OR g.total > r.amount
    """
)

AMOUNTS = (
    ("payments", "id", "amount", "currency"),
    ("receipts", "id", "amount", "currency"),
    ("proofs", "payment_id", "amount", "currency"),
    ("refunds", "id", "amount", "currency"),
    ("journal_entries", "journal_id", "amount", "currency"),
    ("orders", "id", "amount", "currency"),
    ("escrows", "id", "held", "currency"),
    ("escrow_releases", "escrow_id", "amount", None),
)
"""(table, its id, amount, currency): whole, above zero, at most 10^15, in a currency we know."""

BALANCES = (
    ("ledger_accounts", "id", "balance", "currency"),
    ("wallets", "id", "balance", "currency"),
    ("escrows", "id", "released", None),
    ("escrows", "id", "refunded", None),
    ("escrows", "id", "remaining", None),
    ("payments", "id", "transaction_amount", "transaction_currency"),
)
"""The same for what may be zero, below zero by other rules, or empty."""

_KNOWN = quoted(sorted(EXPONENTS))
_WRONG_AMOUNT = "{amount} <= 0 OR {amount} > " + str(MAX_AMOUNT)


def _wrong_amounts(rows: tuple[tuple[str, str, str, str | None], ...], wrong: str) -> str:
    return " UNION ALL ".join(
        f"SELECT {key} AS subject, '{table}.{amount} is no amount' AS detail FROM {table} "
        f"WHERE {wrong.format(amount=amount)}"
        + (f" OR {currency} NOT IN ({_KNOWN})" if currency is not None else "")
        for table, key, amount, currency in rows
    )


WRONG_AMOUNTS = (
    Fault(_wrong_amounts(AMOUNTS, _WRONG_AMOUNT)),
    # SQLite keeps what does not fit a column's type; PostgreSQL refuses it.
    Fault(_wrong_amounts(AMOUNTS, "typeof({amount}) <> 'integer'"), only="sqlite"),
    Fault(_wrong_amounts(BALANCES, "typeof({amount}) NOT IN ('integer', 'null')"), only="sqlite"),
    Fault(_wrong_amounts(BALANCES, "FALSE"), only="postgresql"),
)

INVARIANTS = (
    Rule(1, "Every journal balances per currency", (UNBALANCED, EMPTY_JOURNALS, UNSEALED)),
    Rule(2, "Cached balances equal their postings", DRIFT),
    Rule(
        3,
        "Every provider success is a proof, a case, or an unmatched receipt, and is booked once",
        (
            RECEIPTS_BOOKED,
            CAPTURED_FROM_NOTHING,
            RECEIVED_FROM_NOTHING,
            FOREIGN_WITHOUT_CASE,
            SUCCESS_WITHOUT_RECEIPT,
            RECEIVED_TWICE,
        ),
    ),
    Rule(
        4,
        "PAID means one matching proof, or a person's decision with a reason",
        (PAID_WITHOUT_REASON, PROOF_DIFFERS),
    ),
    Rule(
        5,
        "A provider transaction proves at most one payment",
        (PROVES_TWICE, TWO_PROOFS, PROOF_OF_ANOTHER, ADOPTED_FROM_ANOTHER),
    ),
    Rule(10, "Refunds never exceed receipts", (REFUNDED_TOO_MUCH,)),
    Rule(20, "Amounts are whole, above zero, in a known currency", WRONG_AMOUNTS),
)
