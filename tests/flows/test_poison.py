"""An answer that cannot be applied: loud, tried again, told to a person after ten times, and healed by itself."""

import pytest
from tests import a

from paystate.domain.payments import State
from paystate.kit.clock import HOUR, MINUTE, SECOND

POISON = {
    "sqlite": (
        "CREATE TRIGGER poison BEFORE INSERT ON receipts WHEN NEW.transaction_id = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'poison'); END",
        "DROP TRIGGER poison",
    ),
    "postgresql": (
        "ALTER TABLE receipts ADD CONSTRAINT poison CHECK (transaction_id <> 'bad')",
        "ALTER TABLE receipts DROP CONSTRAINT poison",
    ),
}


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


async def _run(shop, sql: str) -> None:
    await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql))


async def test_a_poison_answer_is_tried_ten_times_then_hourly_with_a_case_until_it_can_be_written(
    shop, clock
) -> None:
    """T44: the healthy one beside it is paid at once; the sick one is one case, and no flood of tries."""
    spoil, heal = POISON["sqlite" if shop.app.settings.is_sqlite else "postgresql"]
    await _run(shop, spoil)
    sick, attempt = await shop.opened()
    healthy, other = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay", transaction="bad")
    await shop.sandbox.outcome(other, "pay", transaction="good")
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.now(healthy)).state is State.PAID
    for _ in range(8):
        clock.advance(MINUTE + SECOND)
        await shop.look()
    assert await shop.rows("SELECT id FROM cases") == []
    for _ in range(3):
        clock.advance(HOUR + SECOND)
        await shop.look()
        [case] = await shop.rows("SELECT payment_id, reason, state FROM cases")
        assert case == {"payment_id": sick.id, "reason": "verification_failed", "state": "OPEN"}
        [after] = await shop.attempts(sick)
        assert (after.unwritten, after.next_check_at) == (10, clock.now() + HOUR)
    await _run(shop, heal)
    clock.advance(HOUR + SECOND)
    await shop.look()
    assert (await shop.now(sick)).state is State.PAID
    [case] = await shop.rows("SELECT state, resolution, resolved_by FROM cases")
    assert case == {"state": "RESOLVED", "resolution": "VERIFIED", "resolved_by": "verification"}
    assert (await shop.attempts(sick))[0].unwritten == 0
