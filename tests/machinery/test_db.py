"""The unit of work: commits, groups, reruns, and what a caller hears when things go wrong."""

import asyncio

import pytest
import sqlalchemy as sa

from paystate.kit.errors import Conflict
from paystate.machinery.db import Database, Tx, bulk_insert, bulk_update
from paystate.machinery.db.schema import clock_row


def _offset(tx: Tx) -> int:
    return tx.execute(sa.select(clock_row.c.offset_us)).scalar_one()


def _add(amount: int):
    def add(tx: Tx) -> int:
        tx.execute(clock_row.update().values(offset_us=clock_row.c.offset_us + amount))
        return _offset(tx)

    return add


async def test_what_write_returns_is_committed(database: Database) -> None:
    assert await database.write(_add(5)) == 5
    assert await database.read(_offset) == 5


async def test_a_failing_function_undoes_only_itself(database: Database) -> None:
    def fail(tx: Tx) -> None:
        _add(1000)(tx)
        raise Conflict("no")

    results = await asyncio.gather(
        *(database.write(fail if n % 10 == 0 else _add(1)) for n in range(100)), return_exceptions=True
    )
    assert sum(isinstance(r, Conflict) for r in results) == 10
    assert await database.read(_offset) == 90


async def test_concurrent_writes_all_count(database: Database) -> None:
    await asyncio.gather(*(database.write(_add(1)) for _ in range(300)))
    assert await database.read(_offset) == 300


async def test_a_cancelled_caller_does_not_stop_a_queued_write(database: Database) -> None:
    started = asyncio.create_task(database.write(_add(7)))
    await asyncio.sleep(0)
    started.cancel()
    await database.write(_add(1))
    assert await database.read(_offset) in (8, 1)
    async with asyncio.timeout(5):
        while await database.read(_offset) != 8:
            await asyncio.sleep(0.01)


async def test_a_nested_write_is_our_own_mistake(database: Database) -> None:
    def nested(tx: Tx) -> None:
        database.write_sync(_add(1))

    with pytest.raises(AssertionError):
        await database.write(nested)


async def test_a_read_cannot_write_on_sqlite(database: Database) -> None:
    if database.dialect != "sqlite":
        assert database.dialect == "postgresql"
        return
    with pytest.raises(sa.exc.OperationalError):
        await database.read(_add(1))


async def test_a_snapshot_does_not_move(database: Database) -> None:
    loop = asyncio.get_running_loop()

    def look_twice(tx: Tx) -> tuple[int, int]:
        first = _offset(tx)
        asyncio.run_coroutine_threadsafe(database.write(_add(1)), loop).result(10)
        return first, _offset(tx)

    assert await database.snapshot(look_twice) == (0, 0)
    assert await database.read(_offset) == 1


async def test_sets_are_written_and_updated(database: Database) -> None:
    from paystate.domain.merchants.model import merchants

    def rows(names: list[str]) -> list[dict[str, object]]:
        return [
            {
                "id": f"mer_{n}",
                "name": n,
                "default_region": None,
                "late_policy": "review",
                "stale_after_us": 1,
                "return_origins": "[]",
                "created_at": 1,
            }
            for n in names
        ]

    def work(tx: Tx) -> tuple[list[str], int]:
        bulk_insert(tx, merchants, rows(["a", "b"]))
        fresh = bulk_insert(tx, merchants, rows(["b", "c"]), skip_existing=("id",), returning="id")
        changed = bulk_update(
            tx, merchants, [{"id": "mer_a", "created_at": 9}, {"id": "mer_x", "created_at": 9}], keys=["id"]
        )
        return fresh, changed

    assert await database.write(work) == (["mer_c"], 1)
