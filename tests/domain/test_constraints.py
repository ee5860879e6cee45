"""What the database itself refuses, whatever the code does: the last line of defence of the invariants."""

import pytest
from tests import a

from paystate.domain.payments import State
from paystate.kit.clock import SECOND
from paystate.machinery.db import ConstraintRefused


@pytest.fixture
async def paid(database_url, tmp_path, clock):
    """A shop with one payment that is PAID and one that is OPEN."""
    async with a.shop(database_url, tmp_path, clock) as shop:
        payment, attempt = await shop.opened()
        await shop.sandbox.outcome(attempt, "pay")
        clock.advance(5 * SECOND)
        await shop.look()
        other, _ = await shop.opened()
        assert (await shop.now(payment)).state is State.PAID
        yield shop, payment, other


async def _refused(shop, sql: str) -> None:
    with pytest.raises(ConstraintRefused):
        await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql))


async def test_one_provider_transaction_proves_one_payment(paid) -> None:
    """Invariant 5, over the whole installation, even with a receipt of its own."""
    shop, _, other = paid
    receipt = (
        f"INSERT INTO receipts SELECT 'rcp_other', merchant_id, connection_id, attempt_id, '{other.id}', provider, "
        "'acct_else', live, transaction_id, amount, currency, disposition, reason, provider_at, raw_digest, commit_id, "
        "created_at FROM receipts"
    )
    await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(receipt))
    await _refused(
        shop,
        f"INSERT INTO proofs SELECT '{other.id}', merchant_id, attempt_id, 'rcp_other', provider, account, live, "
        "transaction_id, reference, amount, currency, pushed, raw_digest, commit_id, at FROM proofs",
    )
    await _refused(
        shop,
        "INSERT INTO receipts SELECT 'rcp_third', merchant_id, connection_id, attempt_id, payment_id, provider, account, "
        "live, transaction_id, amount, currency, disposition, reason, provider_at, raw_digest, commit_id, created_at "
        "FROM receipts WHERE account = 'acct_sandbox'",
    )


_MOVE = "INSERT INTO payment_moves SELECT payment_id, {seq}, {prev}, {before}, '{to}', merchant_id, 'x', 'x', NULL, 'c', at FROM payment_moves WHERE payment_id = '{id}' AND "

STATEMENTS = {
    "a state without its move": "UPDATE payments SET state = 'CANCELED' WHERE id = '{other}'",
    "a move outside the table": _MOVE.format(
        seq="seq + 1", prev="seq", before="to_state", to="FAILED", id="{paid}"
    )
    + "to_state = 'PAID'",
    "a gap in the moves": _MOVE.format(
        seq="seq + 2", prev="seq + 1", before="to_state", to="CANCELED", id="{other}"
    )
    + "seq = 1",
    "a move from another state": _MOVE.format(
        seq="seq + 1", prev="seq", before="'FAILED'", to="CANCELED", id="{other}"
    )
    + "seq = 1",
    "a changed move": "UPDATE payment_moves SET reason = 'other'",
    "a deleted proof": "DELETE FROM proofs",
    "a changed posting": "UPDATE journal_entries SET amount = amount + 1",
    "a changed request": "UPDATE attempts SET request = '\\x00' WHERE payment_id = '{other}'",
    "a slot after the end": "UPDATE payments SET slot = 'bundle:x', slot_key = 'bundle:x' WHERE id = '{paid}'",
    "a state set back to an earlier move": "UPDATE payments SET state = 'OPEN', seq = 1 WHERE id = '{paid}'",
    "another amount after it was paid": "UPDATE payments SET amount = 1 WHERE id = '{paid}'",
    "another currency after it was paid": "UPDATE payments SET currency = 'USD' WHERE id = '{paid}'",
    "an amount of zero": "UPDATE payments SET amount = 0 WHERE id = '{other}'",
    "another merchant's attempt": "UPDATE attempts SET merchant_id = 'mer_other' WHERE payment_id = '{other}'",
    "paid without a transaction": "UPDATE payments SET transaction_id = NULL WHERE id = '{paid}'",
}


@pytest.mark.parametrize("what", STATEMENTS)
async def test_the_database_refuses(paid, what: str) -> None:
    shop, payment, other = paid
    await _refused(shop, STATEMENTS[what].format(paid=payment.id, other=other.id))
    assert (await shop.now(payment)).state is State.PAID
