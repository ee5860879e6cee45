"""Cases: one open case per cause, and a decision that is made once, with a reason."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from paystate.domain import cases, merchants
from paystate.domain.cases import Case, CaseState, NewCase, fingerprint
from paystate.kit.clock import HOUR, SECOND, FrozenClock, Instant
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.ids import MerchantId, System
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database

SYSTEM = System("test")


@pytest.fixture
def shop(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Shop").id)


@pytest.fixture
def other(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Other").id)


def a_case(who: MerchantId, **changes: object) -> NewCase:
    return replace(NewCase(who, "pay_1", "att_1", "amount_mismatch", {"paid": 999}, "REFUND"), **changes)


def open_(database: Database, *new: NewCase) -> list[str]:
    return database.write_sync(lambda tx: cases.open_cases(tx, SYSTEM, new))


def resolve(
    database: Database, who: MerchantId, case_id: str, reason: str = "checked at the provider"
) -> Case:
    return database.write_sync(
        lambda tx: cases.resolve(tx, who, case_id, resolution="REFUND", actor="operator:ann", reason=reason)
    )


def test_a_set_of_cases_is_opened_and_each_cause_once(database: Database, shop: MerchantId) -> None:
    first = a_case(shop)
    again = a_case(shop, evidence={"paid": 998}, suggested_action="WAIT")
    another = a_case(shop, reason="late")
    fresh = open_(database, first, again, another)
    assert len(fresh) == 2
    assert open_(database, first, again, another) == []
    page = database.read_sync(lambda tx: cases.list_cases(tx, shop, PageRequest()))
    assert {c.id for c in page.rows} == set(fresh)
    stored = next(c for c in page.rows if c.reason == "amount_mismatch")
    assert (stored.evidence, stored.suggested_action, stored.state) == (
        {"paid": 999},
        "REFUND",
        CaseState.OPEN,
    )
    assert database.read_sync(lambda tx: cases.count_open(tx, shop)) == 2


async def test_parallel_discoveries_open_one_case(database: Database, shop: MerchantId) -> None:
    new = [a_case(shop), a_case(shop, reason="late"), a_case(shop, fact="txn_1")]
    fresh = await asyncio.gather(
        *(asyncio.to_thread(open_, database, *(new if n % 2 else new[::-1])) for n in range(12))
    )
    assert sum(len(f) for f in fresh) == 3
    assert await database.read(lambda tx: cases.count_open(tx, shop)) == 3


def test_the_cause_is_everything_but_the_evidence(shop: MerchantId) -> None:
    base = a_case(shop)
    assert fingerprint(base) == fingerprint(a_case(shop, evidence={}, suggested_action="x"))
    differing = [
        a_case(shop, merchant_id=MerchantId("mer_x")),
        a_case(shop, payment_id="pay_2"),
        a_case(shop, payment_id=None),
        a_case(shop, attempt_id="att_2"),
        a_case(shop, reason="late"),
        a_case(shop, fact="txn_1"),
        a_case(shop, fact="txn_2"),
    ]
    assert len({fingerprint(c) for c in (base, *differing)}) == 8
    assert fingerprint(a_case(shop, fact="txn_1")) == fingerprint(
        a_case(shop, fact="txn_1", attempt_id="att_2")
    )


def test_a_condition_may_come_back_and_a_fact_is_decided_for_ever(
    database: Database, shop: MerchantId
) -> None:
    condition, fact = a_case(shop), a_case(shop, fact="txn_1")
    for new in (condition, fact):
        (case_id,) = open_(database, new)
        resolve(database, shop, case_id)
    assert len(open_(database, condition, fact)) == 1
    (still_open,) = database.read_sync(
        lambda tx: cases.list_cases(tx, shop, PageRequest(), state=CaseState.OPEN)
    ).rows
    assert still_open.attempt_id == "att_1"
    assert open_(database, fact) == []


def test_a_decision_names_who_and_why(database: Database, shop: MerchantId, clock: FrozenClock) -> None:
    (case_id,) = open_(database, a_case(shop))
    clock.advance(SECOND)
    done = resolve(database, shop, case_id)
    assert (done.state, done.resolution, done.resolution_reason) == (
        "RESOLVED",
        "REFUND",
        "checked at the provider",
    )
    assert (done.resolved_by, done.resolved_at) == ("operator:ann", clock.now())
    assert database.read_sync(lambda tx: cases.get_case(tx, shop, case_id)) == done
    with pytest.raises(Conflict) as conflict:
        resolve(database, shop, case_id, "again")
    assert conflict.value.code == "invalid_state"
    assert database.read_sync(lambda tx: cases.get_case(tx, shop, case_id)) == done


def test_a_decision_needs_a_reason(database: Database, shop: MerchantId) -> None:
    (case_id,) = open_(database, a_case(shop))
    with pytest.raises(Refused) as refused:
        resolve(database, shop, case_id, "  ")
    assert refused.value.errors[0].code == "reason_required"
    with pytest.raises(sa.exc.IntegrityError):
        database.write_sync(lambda tx: tx.conn.exec_driver_sql("UPDATE cases SET state = 'RESOLVED'"))


async def test_of_parallel_decisions_one_counts(database: Database, shop: MerchantId) -> None:
    (case_id,) = open_(database, a_case(shop))
    results = await asyncio.gather(
        *(asyncio.to_thread(resolve, database, shop, case_id, f"reason {n}") for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["Case"] + ["Conflict"] * 7


def test_keep_waiting_leaves_the_case_open(database: Database, shop: MerchantId, clock: FrozenClock) -> None:
    (case_id,) = open_(database, a_case(shop))
    until = Instant(clock.now() + HOUR)
    waiting = database.write_sync(lambda tx: cases.snooze(tx, shop, case_id, until=until))
    assert (waiting.state, waiting.snoozed_until) == (CaseState.OPEN, until)
    assert resolve(database, shop, case_id).snoozed_until is None
    with pytest.raises(Conflict):
        database.write_sync(lambda tx: cases.snooze(tx, shop, case_id, until=until))


def test_another_merchant_sees_and_decides_nothing(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    (case_id,) = open_(database, a_case(shop))
    for act in (
        lambda tx: cases.get_case(tx, other, case_id),
        lambda tx: cases.resolve(tx, other, case_id, resolution="x", actor="y", reason="z"),
        lambda tx: cases.snooze(tx, other, case_id, until=Instant(1)),
    ):
        with pytest.raises(NotFound):
            database.write_sync(act)
    assert database.read_sync(lambda tx: cases.list_cases(tx, other, PageRequest())).rows == []
    assert database.read_sync(lambda tx: cases.count_open(tx, other)) == 0
    with pytest.raises(AssertionError):
        database.write_sync(lambda tx: cases.open_cases(tx, other, [a_case(shop)]))
    assert database.read_sync(lambda tx: cases.get_case(tx, SYSTEM, case_id)).state is CaseState.OPEN


def test_cases_are_listed_by_state_and_payment(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    ids = []
    for n in range(4):
        clock.advance(SECOND)
        ids += open_(database, a_case(shop, payment_id=f"pay_{n % 2}", reason=f"r{n}"))
    resolve(database, shop, ids[3])

    def listed(page: PageRequest, **more: object) -> tuple[list[str], str | None]:
        found = database.read_sync(lambda tx: cases.list_cases(tx, shop, page, **more))
        return [c.id for c in found.rows], found.next_position

    assert listed(PageRequest(2), state=CaseState.OPEN) == ([ids[2], ids[1]], ids[1])
    assert listed(PageRequest(2, ids[1]), state=CaseState.OPEN) == ([ids[0]], None)
    assert listed(PageRequest(), payment_id="pay_1") == ([ids[3], ids[1]], None)
