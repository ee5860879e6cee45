"""How each invariant can be broken by raw SQL, and what of it the database refuses while its protections stand."""

from dataclasses import dataclass
from typing import Literal

Refused = Literal["both", "sqlite", "postgresql", "neither"]


@dataclass(frozen=True, slots=True)
class Break:
    """Statements that break one invariant and no other; `{names}` are those of the world.

    `refused`: the databases that say no by themselves. `tables`: whose protections must go for that.
    """

    invariant: int
    how: str
    refused: Refused
    tables: tuple[str, ...]
    sql: tuple[str, ...]
    only: str | None = None

    @property
    def id(self) -> str:
        return f"{self.invariant}-{self.how.replace(' ', '-')}"


_JOURNAL = (
    "INSERT INTO journals (id, merchant_id, kind, key, input_hash, description, tags, effective_at, posted_at, commit_id) "
    "VALUES ('jnl_x', '{merchant}', 'manual', 'manual:1', 'h', '', '{{}}', 1, 1, 'cmt_x')"
)
_ENTRY = (
    "INSERT INTO journal_entries (journal_id, seq, merchant_id, account_id, currency, side, amount) VALUES "
)
_SUSPENSE = (
    "(SELECT id FROM ledger_accounts WHERE code = '1990' AND merchant_id = '{merchant}' AND currency = 'EUR')"
)
_SALES = (
    "(SELECT id FROM ledger_accounts WHERE code = '4000' AND merchant_id = '{merchant}' AND currency = 'EUR')"
)
_BY_HAND = "(SELECT id FROM journals WHERE key = 'payment:{by_hand}:captured')"
_ACCOUNT = "INSERT INTO ledger_accounts (id, merchant_id, code, owner, currency, normal, floored, balance, version) VALUES "

MONEY = (
    Break(
        1,
        "an amount of a journal is changed",
        "both",
        ("journal_entries",),
        (
            f"UPDATE journal_entries SET amount = amount + 1 WHERE side = 1 AND journal_id = {_BY_HAND}",
            f"UPDATE ledger_accounts SET balance = balance + 1 WHERE id = {_SUSPENSE}",
        ),
    ),
    Break(
        1,
        "an uneven journal is booked",
        "both",
        ("journal_entries", "journal_seals"),
        (
            _JOURNAL,
            f"{_ENTRY} ('jnl_x', 1, '{{merchant}}', {_SUSPENSE}, 'EUR', 1, 5), "
            f"('jnl_x', 2, '{{merchant}}', {_SALES}, 'EUR', -1, 4)",
            "INSERT INTO journal_seals (journal_id) VALUES ('jnl_x')",
            f"UPDATE ledger_accounts SET balance = balance + 5 WHERE id = {_SUSPENSE}",
            f"UPDATE ledger_accounts SET balance = balance + 4 WHERE id = {_SALES}",
        ),
    ),
    Break(1, "a journal without entries", "neither", (), (_JOURNAL,)),
    Break(
        1,
        "a journal without its seal",
        "neither",
        (),
        (
            _JOURNAL,
            f"{_ENTRY} ('jnl_x', 1, '{{merchant}}', {_SUSPENSE}, 'EUR', 1, 5), "
            f"('jnl_x', 2, '{{merchant}}', {_SALES}, 'EUR', -1, 5)",
        ),
        only="sqlite",
    ),
    Break(
        2,
        "a balance is written over",
        "neither",
        (),
        (f"UPDATE ledger_accounts SET balance = balance + 1 WHERE id = {_SUSPENSE}",),
    ),
    Break(
        3,
        "the case of foreign money is gone",
        "neither",
        (),
        ("DELETE FROM cases WHERE payment_id = '{foreign}'",),
    ),
    Break(
        3,
        "a success without a receipt",
        "neither",
        (),
        ("UPDATE attempts SET state = 'SUCCEEDED' WHERE id = '{waiting_attempt}'",),
    ),
    Break(
        3,
        "a receipt that is not booked",
        "both",
        ("receipts",),
        ("UPDATE receipts SET disposition = 'UNAPPLIED' WHERE payment_id = '{foreign}'",),
    ),
    Break(
        3,
        "booked with another amount than received",
        "both",
        ("receipts",),
        ("UPDATE receipts SET amount = amount + 1 WHERE payment_id = '{short}'",),
    ),
    Break(
        3,
        "a receipt's journal under another key",
        "both",
        ("journals",),
        (
            "UPDATE journals SET key = 'receipt:other' WHERE key LIKE 'receipt:%' "
            "AND commit_id IN (SELECT commit_id FROM receipts WHERE payment_id = '{short}')",
        ),
    ),
    Break(
        3,
        "a capture without a proof",
        "both",
        ("journals",),
        (
            f"INSERT INTO journals {_JOURNAL.removeprefix('INSERT INTO journals ')}",
            "UPDATE journals SET key = 'payment:{waiting}:captured' WHERE id = 'jnl_x'",
            f"{_ACCOUNT} ('lac_x', '{{merchant}}', '1100', 'x', 'EUR', 1, FALSE, 5, 1)",
            f"{_ENTRY} ('jnl_x', 1, '{{merchant}}', 'lac_x', 'EUR', 1, 5), "
            f"('jnl_x', 2, '{{merchant}}', {_SALES}, 'EUR', -1, 5)",
            "INSERT INTO journal_seals (journal_id) VALUES ('jnl_x')",
            f"UPDATE ledger_accounts SET balance = balance + 5 WHERE id = {_SALES}",
        ),
    ),
    Break(
        3,
        "a transaction is received twice",
        "both",
        ("receipts",),
        (
            "INSERT INTO receipts SELECT 'rcp_x', merchant_id, connection_id, attempt_id, payment_id, provider, account, "
            "live, transaction_id, amount, currency, disposition, reason, provider_at, raw_digest, commit_id, created_at "
            "FROM receipts WHERE payment_id = '{foreign}'",
        ),
    ),
    Break(
        4,
        "the amount of a paid payment is changed",
        "both",
        ("payments",),
        ("UPDATE payments SET amount = amount + 1 WHERE id = '{paid}'",),
    ),
    Break(
        4,
        "the currency of a paid payment is changed",
        "both",
        ("payments",),
        ("UPDATE payments SET currency = 'USD' WHERE id = '{paid}'",),
    ),
    Break(
        4,
        "the reference of a proof is changed",
        "both",
        ("proofs",),
        ("UPDATE proofs SET reference = 'another' WHERE payment_id = '{paid}'",),
    ),
    Break(
        4,
        "the account of a connection is changed",
        "both",
        ("connections",),
        ("UPDATE connections SET account = 'acct_x' WHERE id = '{connection}'",),
    ),
    Break(
        4,
        "the live flag of a connection is changed",
        "both",
        ("connections",),
        ("UPDATE connections SET live = TRUE WHERE id = '{connection}'",),
    ),
    Break(
        4,
        "the mark of a decision by hand is gone",
        "both",
        ("payments",),
        ("UPDATE payments SET resolved_by_hand = FALSE WHERE id = '{by_hand}'",),
    ),
    Break(
        4,
        "a decision by hand loses its reason",
        "both",
        ("payment_moves",),
        ("UPDATE payment_moves SET reason = ' ' WHERE payment_id = '{by_hand}' AND to_state = 'PAID'",),
    ),
    Break(
        5,
        "two proofs by one transaction",
        "both",
        ("proofs",),
        (
            "UPDATE proofs SET transaction_id = (SELECT transaction_id FROM proofs WHERE payment_id = '{paid}') "
            "WHERE payment_id = '{ordered}'",
        ),
    ),
    Break(
        5,
        "two proofs of one payment",
        "both",
        ("proofs",),
        ("INSERT INTO proofs SELECT * FROM proofs WHERE payment_id = '{paid}'",),
    ),
    Break(
        5,
        "a payment names another transaction than its proof",
        "neither",
        (),
        ("UPDATE payments SET transaction_id = 'txn_x' WHERE id = '{paid}'",),
    ),
    Break(
        10,
        "a refund exceeds its receipt",
        "neither",
        (),
        ("UPDATE refunds SET amount = amount + 1 WHERE payment_id = '{late_refund}'",),
    ),
    Break(
        10,
        "a refund in another currency",
        "neither",
        (),
        ("UPDATE refunds SET currency = 'USD' WHERE payment_id = '{late_refund}'",),
    ),
    Break(
        20,
        "an amount of zero",
        "both",
        ("payments",),
        ("UPDATE payments SET amount = 0 WHERE id = '{waiting}'",),
    ),
    Break(
        20,
        "an amount beyond the limit",
        "both",
        ("payments",),
        ("UPDATE payments SET amount = 1000000000000001 WHERE id = '{waiting}'",),
    ),
    Break(
        20,
        "half a cent",
        "neither",
        (),
        ("UPDATE payments SET amount = 1.5 WHERE id = '{waiting}'",),
        only="sqlite",
    ),
    Break(
        20,
        "half a cent in a balance",
        "neither",
        (),
        ("UPDATE wallets SET balance = 1.5 WHERE id = '{wallet}'",),
        only="sqlite",
    ),
    Break(
        20,
        "an unknown currency",
        "neither",
        (),
        ("UPDATE payments SET currency = 'XXX' WHERE id = '{waiting}'",),
    ),
    Break(
        20,
        "a balance in an unknown currency",
        "neither",
        (),
        ("UPDATE wallets SET currency = 'eur' WHERE id = '{wallet}'",),
    ),
)

GOODS = (
    Break(
        6,
        "a second payment fulfils the order",
        "both",
        ("fulfilments",),
        (
            "UPDATE payments SET order_id = '{order}' WHERE id = '{paid}'",
            "INSERT INTO fulfilments (payment_id, merchant_id, order_id, state, commit_id, created_at) "
            "VALUES ('{paid}', '{merchant}', '{order}', 'DUE', '{paid_commit}', 9999999999999999)",
        ),
    ),
    Break(
        6,
        "a payment for something else fulfils the order",
        "neither",
        (),
        ("UPDATE payments SET order_id = NULL WHERE id = '{ordered}'",),
    ),
    Break(7, "a ticket is missing", "neither", (), ("DELETE FROM tickets WHERE unit = 2",)),
    Break(
        7,
        "two tickets share a code",
        "both",
        ("tickets",),
        ("UPDATE tickets SET code = 'seat-1' WHERE unit = 2",),
    ),
    Break(
        7,
        "a ticket of an unpaid order",
        "neither",
        (),
        (
            "INSERT INTO tickets (id, merchant_id, order_id, unit, code, created_at) "
            "VALUES ('tkt_x', '{merchant}', '{order_unpaid}', 1, 'seat-x', 1)",
        ),
    ),
    Break(
        9,
        "money appears in an escrow",
        "both",
        ("escrows",),
        ("UPDATE escrows SET remaining = remaining + 1",),
    ),
    Break(
        9,
        "less was released than the escrow says",
        "neither",
        (),
        ("UPDATE escrows SET released = released + 1, remaining = remaining - 1",),
    ),
    Break(
        9,
        "a release happens twice",
        "both",
        ("escrow_releases",),
        (
            "INSERT INTO escrow_releases SELECT * FROM escrow_releases",
            "UPDATE escrows SET released = 800, remaining = 100",
        ),
    ),
    Break(
        11,
        "a wallet below zero",
        "both",
        ("wallets",),
        ("UPDATE wallets SET balance = -1 WHERE id = '{wallet}'",),
    ),
    Break(
        11,
        "a floored account below zero",
        "both",
        ("ledger_accounts",),
        (
            f"{_ACCOUNT} ('lac_x', '{{merchant}}', '2200', 'pye_1', 'EUR', -1, TRUE, -5, 1), "
            "('lac_y', '{merchant}', '4100', '', 'EUR', -1, FALSE, 5, 1)",
            _JOURNAL,
            f"{_ENTRY} ('jnl_x', 1, '{{merchant}}', 'lac_x', 'EUR', 1, 5), "
            "('jnl_x', 2, '{merchant}', 'lac_y', 'EUR', -1, 5)",
            "INSERT INTO journal_seals (journal_id) VALUES ('jnl_x')",
        ),
    ),
)

HISTORY = (
    Break(
        12,
        "a state without a move",
        "both",
        ("payments",),
        ("UPDATE payments SET state = 'FAILED' WHERE id = '{expired}'",),
    ),
    Break(
        12,
        "a payment goes back to an earlier move",
        "both",
        ("payments",),
        ("UPDATE payments SET state = 'OPEN', seq = 1 WHERE id = '{expired}'",),
    ),
    Break(
        12,
        "a move that starts elsewhere",
        "both",
        ("payment_moves",),
        ("UPDATE payment_moves SET from_state = 'FAILED' WHERE payment_id = '{expired}' AND seq = 2",),
    ),
    Break(
        12,
        "a gap in the sequence",
        "both",
        ("payment_moves", "payments", "events"),
        (
            "UPDATE payment_moves SET seq = 7 WHERE payment_id = '{expired}' AND seq = 2",
            "UPDATE events SET version = 7 WHERE resource_id = '{expired}' AND version = 2",
            "UPDATE payments SET seq = 7 WHERE id = '{expired}'",
        ),
    ),
    Break(
        13,
        "an expired payment is opened again",
        "both",
        ("payment_moves",),
        (
            "INSERT INTO payment_moves (payment_id, seq, prev_seq, from_state, to_state, merchant_id, actor, reason, "
            "commit_id, at) VALUES ('{expired}', 3, 2, 'EXPIRED', 'OPEN', '{merchant}', 'job:x', 'x', 'cmt_x', 1)",
            "INSERT INTO events (id, merchant_id, type, resource_id, version, data, commit_id, created_at) VALUES "
            "('evt_x', '{merchant}', 'payment.opened', '{expired}', 3, '{{}}', 'cmt_x', 9999999999999999)",
            "UPDATE payments SET state = 'OPEN', seq = 3 WHERE id = '{expired}'",
        ),
    ),
    Break(
        14,
        "an event is gone",
        "neither",
        (),
        ("DELETE FROM events WHERE resource_id = '{by_hand}' AND version = 3",),
    ),
    Break(14, "every event is gone", "neither", (), ("DELETE FROM events",)),
    Break(
        14,
        "an event in another commit",
        "both",
        ("events",),
        ("UPDATE events SET commit_id = 'cmt_x' WHERE resource_id = '{paid}' AND version = 1",),
    ),
    Break(
        14,
        "an event of a move that never was",
        "neither",
        (),
        (
            "INSERT INTO events (id, merchant_id, type, resource_id, version, data, commit_id, created_at) VALUES "
            "('evt_x', '{merchant}', 'payment.paid', '{waiting}', 2, '{{}}', 'cmt_x', 9999999999999999)",
        ),
    ),
    Break(
        14,
        "a capture in another commit",
        "both",
        ("journals",),
        ("UPDATE journals SET commit_id = 'cmt_x' WHERE key = 'payment:{paid}:captured'",),
    ),
    Break(
        14,
        "a decision by hand that is not booked",
        "both",
        ("journals",),
        ("UPDATE journals SET key = 'manual:1' WHERE key = 'payment:{by_hand}:captured'",),
    ),
    Break(
        14,
        "a receipt booked in another commit",
        "both",
        ("receipts",),
        ("UPDATE receipts SET commit_id = 'cmt_x' WHERE payment_id = '{short}'",),
    ),
    Break(
        14,
        "a proof in another commit",
        "both",
        ("proofs",),
        ("UPDATE proofs SET commit_id = 'cmt_x' WHERE payment_id = '{paid}'",),
    ),
    Break(
        14,
        "a fulfilment in another commit",
        "neither",
        (),
        ("UPDATE fulfilments SET commit_id = 'cmt_x' WHERE payment_id = '{ordered}'",),
    ),
    Break(
        21,
        "an operator moves without an audit entry",
        "both",
        ("payment_moves",),
        ("UPDATE payment_moves SET actor = 'operator:eve' WHERE payment_id = '{expired}' AND seq = 2",),
    ),
    Break(
        21,
        "an operator decides without an audit entry",
        "neither",
        (),
        (
            "UPDATE cases SET state = 'RESOLVED', resolution = 'X', resolution_reason = 'x', resolved_at = 1, "
            "resolved_by = 'operator:eve' WHERE payment_id = '{short}'",
        ),
    ),
    Break(
        21,
        "a key without an audit entry",
        "neither",
        (),
        (
            "INSERT INTO api_keys (id, merchant_id, name, key_hash, prefix, last4, scopes, addresses, created_at) "
            "VALUES ('key_x', '{merchant}', 'x', 'x', 'psk_x', 'x', '[]', '[]', 1)",
        ),
    ),
)

ONCE = (
    Break(
        8,
        "the stored request is changed",
        "both",
        ("attempts",),
        ("UPDATE attempts SET request = request_hash WHERE id = '{waiting_attempt}'",),
        only="sqlite",
    ),
    Break(
        8,
        "the hash of the stored request is changed",
        "both",
        ("attempts",),
        ("UPDATE attempts SET request_hash = 'x' WHERE id = '{waiting_attempt}'",),
    ),
    Break(
        8,
        "two attempts share an idempotency key",
        "both",
        ("attempts",),
        (
            "UPDATE attempts SET idempotency_key = (SELECT idempotency_key FROM attempts WHERE id = '{paid_attempt}') "
            "WHERE id = '{waiting_attempt}'",
        ),
    ),
    Break(
        8,
        "two attempts share a reference",
        "both",
        ("attempts",),
        (
            "UPDATE attempts SET provider_reference = "
            "(SELECT provider_reference FROM attempts WHERE id = '{paid_attempt}') WHERE id = '{waiting_attempt}'",
        ),
    ),
    Break(
        8,
        "two attempts share a checkout",
        "neither",
        (),
        (
            "UPDATE attempts SET checkout_id = (SELECT checkout_id FROM attempts WHERE id = '{paid_attempt}') "
            "WHERE id = '{waiting_attempt}'",
        ),
    ),
    Break(15, "a kept answer is changed", "neither", (), ("UPDATE idempotency_keys SET body = '{{}}'",)),
    Break(
        15,
        "one key has two answers",
        "both",
        ("idempotency_keys",),
        ("INSERT INTO idempotency_keys SELECT * FROM idempotency_keys",),
    ),
    Break(
        16,
        "what was acknowledged is gone",
        "neither",
        (),
        ("UPDATE idempotency_keys SET resource_id = 'pay_00000000000000000000000000'",),
    ),
    Break(
        16,
        "two payments under one reference",
        "both",
        ("payments",),
        ("UPDATE payments SET reference = 'order-1' WHERE id = '{draft}'",),
    ),
    Break(
        16,
        "two payments hold one slot",
        "both",
        ("payments",),
        (
            "UPDATE payments SET slot = (SELECT slot FROM payments WHERE id = '{waiting}'), "
            "slot_key = (SELECT slot FROM payments WHERE id = '{waiting}') WHERE id = '{untouched}'",
        ),
    ),
    Break(
        16,
        "two checkouts at one provider",
        "both",
        ("attempts",),
        ("UPDATE attempts SET state = 'LIVE', payment_id = '{waiting}' WHERE payment_id = '{cancelled}'",),
    ),
    Break(
        17,
        "a message is in the inbox twice",
        "both",
        ("provider_events",),
        ("INSERT INTO provider_events SELECT * FROM provider_events",),
    ),
    Break(
        18,
        "a tick runs twice",
        "both",
        ("job_runs",),
        ("INSERT INTO job_runs SELECT * FROM job_runs",),
    ),
    Break(
        18,
        "a job has two open runs",
        "both",
        ("job_runs",),
        (
            "INSERT INTO job_runs (id, job, trigger, state, claim_no, created_at) VALUES "
            "('run_x', 'expired-links', 'manual', 'QUEUED', 0, 9999999999999999), "
            "('run_y', 'expired-links', 'manual', 'QUEUED', 0, 9999999999999999)",
        ),
    ),
    Break(
        18,
        "a run is finished while another holds it",
        "neither",
        (),
        ("UPDATE job_runs SET lease_until = 9999999999999999, claim_no = 2, owner = 'w2'",),
    ),
    Break(
        18, "a run is finished by nobody", "neither", (), ("UPDATE job_runs SET claim_no = 0, owner = NULL",)
    ),
    Break(
        19,
        "an attempt of another merchant",
        "both",
        ("attempts", "verifications", "receipts"),
        ("UPDATE attempts SET merchant_id = '{other_merchant}' WHERE id = '{waiting_attempt}'",),
    ),
    Break(
        19,
        "a case of another merchant",
        "neither",
        (),
        ("UPDATE cases SET merchant_id = '{other_merchant}' WHERE payment_id = '{short}'",),
    ),
    Break(
        19,
        "an event of another merchant",
        "both",
        ("events",),
        ("UPDATE events SET merchant_id = '{other_merchant}' WHERE resource_id = '{paid}' AND version = 1",),
    ),
    Break(
        19,
        "an escrow of nobody's payment",
        "neither",
        (),
        ("UPDATE escrows SET payment_id = 'pay_x'",),
    ),
    Break(
        22,
        "a credential in the verification log",
        "neither",
        (),
        (
            "UPDATE verifications SET detail = 'Authorization: Bearer abcdefghijklmnopqrstuvwxyz' "
            "WHERE payment_id = '{paid}'",
        ),
    ),
    Break(
        22,
        "an API key in an event",
        "neither",
        (),
        (
            'UPDATE events SET data = \'{{"key":"psk_abcdefghijklmnopqrstuvwxyz0123456789"}}\' '
            "WHERE resource_id = '{paid}'",
        ),
    ),
    Break(
        22,
        "a private key in a job's error",
        "neither",
        (),
        ("UPDATE job_runs SET error = '-----BEGIN RSA PRIVATE KEY-----'",),
    ),
    Break(
        22,
        "a connection's own secret in a case",
        "neither",
        (),
        (
            "UPDATE cases SET evidence = '{{\"said\":\"correct-horse-battery\"}}' WHERE payment_id = '{short}'",
        ),
    ),
)

BREAKS = (*MONEY, *GOODS, *HISTORY, *ONCE)
