"""Idempotency keys: done once, answered alike, and never two resources for one key."""

import asyncio
import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from paystate.kit.clock import DAY, SECOND, FrozenClock
from paystate.kit.errors import Conflict, Refused
from paystate.kit.ids import MerchantId
from paystate.machinery.db import Database, Tx
from paystate.machinery.db.schema import clock_row
from paystate.machinery.idempotency import (
    Answer,
    Fresh,
    Slot,
    Stored,
    TakeOver,
    begin,
    canonical_hash,
    finish,
    forget,
    idempotency_keys,
    once,
    purge,
    remember_resource,
    validate_key,
)


def slot(key: str = "k", merchant: str = "mer_a", route: str = "POST /api/payments", body: Any = 1) -> Slot:
    return Slot(MerchantId(merchant), route, key, canonical_hash(body))


def make(tx: Tx) -> Answer:
    """The work of a request: counts itself in a row, answers the count."""
    tx.execute(clock_row.update().values(offset_us=clock_row.c.offset_us + 1))
    made = tx.execute(sa.select(clock_row.c.offset_us)).scalar_one()
    return Answer(f"pay_{made}", 201, f'{{"n":{made}}}')


async def made(database: Database) -> int:
    return await database.read(lambda tx: tx.execute(sa.select(clock_row.c.offset_us)).scalar_one())


async def keys(database: Database) -> int:
    count = sa.select(sa.func.count()).select_from(idempotency_keys)
    return await database.read(lambda tx: tx.execute(count).scalar_one())


async def test_the_second_time_only_the_answer_comes(database: Database) -> None:
    answers = [await database.write(lambda tx: once(tx, slot(), make)) for _ in range(3)]
    assert answers == [Stored(201, '{"n":1}'), *[Stored(201, '{"n":1}', replayed=True)] * 2]
    assert await made(database) == 1


async def test_merchants_routes_and_keys_are_apart(database: Database) -> None:
    for one in (slot(), slot(merchant="mer_b"), slot(route="POST /api/refunds"), slot(key="K")):
        assert not (await database.write(lambda tx, one=one: once(tx, one, make))).replayed
    assert await made(database) == 4


async def test_without_a_key_every_time_is_new(database: Database) -> None:
    for _ in range(2):
        await database.write(lambda tx: once(tx, None, make))
    assert (await made(database), await keys(database)) == (2, 0)


async def test_of_twenty_at_once_one_works_and_all_hear_its_answer(database: Database) -> None:
    answers = await asyncio.gather(
        *(database.write(lambda tx: once(tx, slot(), make)) for _ in range(20)), return_exceptions=True
    )
    assert await made(database) == 1
    assert sum(isinstance(a, Stored) and not a.replayed for a in answers) == 1
    for answer in answers:
        if isinstance(answer, Conflict):
            assert answer.code == "idempotency_in_progress"
        else:
            assert isinstance(answer, Stored)
            assert answer.body == '{"n":1}'


async def test_of_twenty_begun_at_once_one_is_fresh(database: Database) -> None:
    answers = await asyncio.gather(
        *(database.write(lambda tx: begin(tx, slot())) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(a, Fresh) for a in answers) == 1
    assert {a.code for a in answers if isinstance(a, Conflict)} == {"idempotency_in_progress"}
    assert sum(isinstance(a, Conflict) for a in answers) == 19


async def test_the_same_key_with_another_body_is_refused(database: Database) -> None:
    await database.write(lambda tx: once(tx, slot(body={"amount": 1}), make))
    with pytest.raises(Refused) as refused:
        await database.write(lambda tx: once(tx, slot(body={"amount": 2}), make))
    assert refused.value.code == "idempotency_key_reused"
    assert await made(database) == 1


async def test_a_failure_leaves_neither_work_nor_key(database: Database) -> None:
    def fail(tx: Tx) -> Answer:
        make(tx)
        raise Conflict("no")

    with pytest.raises(Conflict):
        await database.write(lambda tx: once(tx, slot(), fail))
    assert (await made(database), await keys(database)) == (0, 0)
    assert (await database.write(lambda tx: once(tx, slot(), make))).body == '{"n":1}'


async def test_only_successes_can_be_kept(database: Database) -> None:
    with pytest.raises(AssertionError):
        await database.write(lambda tx: once(tx, slot(), lambda tx: Answer(None, 409, "{}")))
    assert await keys(database) == 0


async def test_a_secret_shown_once_is_not_stored(database: Database) -> None:
    def show(tx: Tx) -> Answer:
        return Answer("key_1", 201, '{"key":"psk_secret"}', kept_body='{"key":null}')

    assert (await database.write(lambda tx: once(tx, slot(), show))).body == '{"key":"psk_secret"}'
    assert (await database.write(lambda tx: once(tx, slot(), show))).body == '{"key":null}'
    row = await database.read(lambda tx: tx.rows(sa.select(idempotency_keys))[0])
    assert row.body_hash == hashlib.sha256(row.body.encode()).hexdigest()
    assert "psk_secret" not in str(row)


async def test_while_one_is_in_progress_others_hear_when_to_come_back(
    database: Database, clock: FrozenClock
) -> None:
    await database.write(lambda tx: begin(tx, slot(), lock_seconds=40))
    clock.advance(10 * SECOND + 1)
    with pytest.raises(Conflict) as refused:
        await database.write(lambda tx: begin(tx, slot()))
    assert (refused.value.code, refused.value.help["retry_after_seconds"]) == ("idempotency_in_progress", 30)


async def test_a_retry_takes_over_from_a_sender_that_died(database: Database, clock: FrozenClock) -> None:
    def first(tx: Tx) -> None:
        assert isinstance(begin(tx, slot()), Fresh)
        remember_resource(tx, slot(), "rfd_1")

    await database.write(first)
    clock.advance(60 * SECOND)
    taken = await database.write(lambda tx: begin(tx, slot()))
    assert isinstance(taken, TakeOver)
    assert taken.resource_id == "rfd_1"
    with pytest.raises(Conflict):
        await database.write(lambda tx: begin(tx, slot()))
    done = await database.write(lambda tx: finish(tx, slot(), Answer("rfd_1", 201, "second")))
    late = await database.write(lambda tx: finish(tx, slot(), Answer("rfd_1", 202, "first")))
    assert (done, late) == (Stored(201, "second"), Stored(201, "second", replayed=True))


async def test_one_key_never_has_two_resources(database: Database, clock: FrozenClock) -> None:
    await database.write(lambda tx: begin(tx, slot()))
    clock.advance(60 * SECOND)
    assert isinstance(await database.write(lambda tx: begin(tx, slot())), Fresh)
    await database.write(lambda tx: remember_resource(tx, slot(), "rfd_1"))
    await database.write(lambda tx: remember_resource(tx, slot(), "rfd_1"))
    with pytest.raises(Conflict):
        await database.write(lambda tx: remember_resource(tx, slot(), "rfd_2"))


async def test_forgetting_frees_the_key_unless_something_was_made(database: Database) -> None:
    held = await database.write(lambda tx: begin(tx, slot()))
    assert isinstance(held, Fresh)
    await database.write(lambda tx: forget(tx, slot(), held))
    assert await keys(database) == 0

    again = await database.write(lambda tx: begin(tx, slot()))
    assert isinstance(again, Fresh)
    await database.write(lambda tx: remember_resource(tx, slot(), "rfd_1"))
    await database.write(lambda tx: forget(tx, slot(), again))
    assert isinstance(await database.write(lambda tx: begin(tx, slot())), TakeOver)


async def test_a_sender_thought_dead_cannot_forget_what_another_holds(
    database: Database, clock: FrozenClock
) -> None:
    slow = await database.write(lambda tx: begin(tx, slot()))
    clock.advance(60 * SECOND)
    await database.write(lambda tx: begin(tx, slot()))
    assert isinstance(slow, Fresh)
    await database.write(lambda tx: forget(tx, slot(), slow))
    with pytest.raises(Conflict):
        await database.write(lambda tx: begin(tx, slot()))


async def test_keys_live_seven_days_and_are_then_new_and_purged(
    database: Database, clock: FrozenClock
) -> None:
    for key in ("a", "b"):
        await database.write(lambda tx, key=key: once(tx, slot(key), make))
    clock.advance(7 * DAY - 1)
    assert (await database.write(lambda tx: once(tx, slot("a"), make))).replayed
    assert await database.write(purge) == 0
    clock.advance(1)
    assert not (await database.write(lambda tx: once(tx, slot("a", body=2), make))).replayed
    assert await database.write(purge) == 1
    assert await keys(database) == 1


@pytest.mark.parametrize("text", ["", "a" * 256, "a b", "é", "a\n", "\x7f", "a\t"])
def test_a_key_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        validate_key(text)
    (error,) = refused.value.errors
    assert (error.pointer, error.code) == ("/Idempotency-Key", "invalid_idempotency_key")


@pytest.mark.parametrize("text", ["a", "!~", "a" * 255, "8e03978e-40d5-43e8-bc93-6894a57f9324"])
def test_a_good_key_passes_unchanged(text: str) -> None:
    assert validate_key(text) == text


def test_the_hash_is_of_what_is_said_not_of_how_it_is_written() -> None:
    assert canonical_hash({"a": 1, "b": [1, {"d": None, "c": "é"}]}) == canonical_hash(
        {"b": [1, {"c": "é", "d": None}], "a": 1}
    )
    different = [{"a": 1}, {"a": "1"}, {"a": True}, {"a": None}, {}, {"a": [1]}, [1], 2**70, "\ud800"]
    assert len({canonical_hash(value) for value in different}) == len(different)
