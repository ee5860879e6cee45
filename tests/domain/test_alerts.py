"""Alerts: one for each cause, counted, told once for each address, tried again, acknowledged, resolved."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from paystate.domain import alerts, merchants
from paystate.domain.alerts import (
    Address,
    Alert,
    AlertState,
    Delivery,
    NewAlert,
    Severity,
    delivery_store,
)
from paystate.domain.alerts.rules import RETRIES, DeliveryState
from paystate.kit.clock import DAY, MINUTE, SECOND, FrozenClock
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.ids import MerchantId, System
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database

SYSTEM = System("test")
ANN, BOB = Address("email", "ann@example.com"), Address("email", "bob@example.com")
LEASE = MINUTE
NEW = NewAlert("stuck", "shop", Severity.WARNING, "Something is stuck", {"count": 1})


@pytest.fixture
def shop(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Shop").id)


def raised(database: Database, new: NewAlert = NEW, *to: Address) -> bool:
    return database.write_sync(lambda tx: alerts.raise_alert(tx, SYSTEM, new, to or (ANN, BOB)))


def all_of(database: Database, who: MerchantId | System = SYSTEM) -> list[Alert]:
    return list(database.read_sync(lambda tx: alerts.list_alerts(tx, who, PageRequest())).rows)


def deliveries(database: Database) -> list[Delivery]:
    ids = [alert.id for alert in all_of(database)]
    return database.read_sync(lambda tx: delivery_store.of_alerts(tx, SYSTEM, ids))


def claimed(database: Database) -> list[Delivery]:
    found = database.write_sync(lambda tx: delivery_store.claim_due(tx, SYSTEM, LEASE))
    return sorted(found, key=lambda one: one.address)


def test_a_cause_is_told_once_and_then_counted(database: Database, clock: FrozenClock) -> None:
    assert raised(database)
    clock.advance(MINUTE)
    assert not raised(database, replace(NEW, title="Two are stuck", detail={"count": 2}))
    [alert] = all_of(database)
    assert (alert.count, alert.title, alert.detail, alert.last_at - alert.first_at) == (
        2,
        "Two are stuck",
        {"count": 2},
        MINUTE,
    )
    assert [(d.address, d.state) for d in deliveries(database)] == [
        (ANN.address, DeliveryState.PENDING),
        (BOB.address, DeliveryState.PENDING),
    ]
    assert raised(database, replace(NEW, subject="other shop"))


def test_a_cause_that_comes_back_is_a_new_alert(database: Database) -> None:
    raised(database)
    assert database.write_sync(lambda tx: alerts.resolve_alert(tx, SYSTEM, NEW.fingerprint, by="rule"))
    assert not database.write_sync(lambda tx: alerts.resolve_alert(tx, SYSTEM, NEW.fingerprint, by="rule"))
    assert raised(database)
    assert sorted(alert.state for alert in all_of(database)) == [AlertState.OPEN, AlertState.RESOLVED]


def test_a_delivery_is_claimed_by_one_sender_at_a_time(database: Database, clock: FrozenClock) -> None:
    raised(database)
    ann, bob = claimed(database)
    assert claimed(database) == []
    assert database.write_sync(lambda tx: delivery_store.sent(tx, SYSTEM, ann))
    clock.advance(LEASE + SECOND)
    [again] = claimed(database)
    assert again.address == bob.address
    assert not database.write_sync(lambda tx: delivery_store.sent(tx, SYSTEM, bob)), "its claim is lost"
    assert database.write_sync(lambda tx: delivery_store.sent(tx, SYSTEM, again))
    assert {(d.state, d.sent_count) for d in deliveries(database)} == {(DeliveryState.SENT, 1)}


def test_what_cannot_be_sent_is_tried_again_ever_later_and_given_up(
    database: Database, clock: FrozenClock
) -> None:
    raised(database, NEW, ANN)
    for wait in RETRIES:
        [held] = claimed(database)
        assert database.write_sync(
            lambda tx, held=held: delivery_store.not_sent(tx, SYSTEM, held, "no route")
        )
        clock.advance(wait - SECOND)
        assert claimed(database) == []
        clock.advance(SECOND)
    [last] = claimed(database)
    database.write_sync(lambda tx: delivery_store.not_sent(tx, SYSTEM, last, "no route"))
    clock.advance(DAY)
    assert claimed(database) == []
    [ended] = deliveries(database)
    assert (ended.state, ended.tries, ended.last_error) == (
        DeliveryState.FAILED,
        len(RETRIES) + 1,
        "no route",
    )


def test_a_reminder_comes_once_a_day_until_somebody_looks_after_it(
    database: Database, clock: FrozenClock
) -> None:
    raised(database, NEW, ANN)
    [held] = claimed(database)
    database.write_sync(lambda tx: delivery_store.sent(tx, SYSTEM, held))

    def remind() -> int:
        return database.write_sync(lambda tx: alerts.remind(tx, SYSTEM, [ANN, BOB]))

    clock.advance(DAY - SECOND)
    assert remind() == 0
    clock.advance(SECOND)
    assert (remind(), remind()) == (1, 0)
    due = claimed(database)
    assert [(d.address, d.round) for d in due] == [(ANN.address, 1), (BOB.address, 0)]
    [alert] = all_of(database)
    database.write_sync(lambda tx: alerts.acknowledge(tx, SYSTEM, alert.id, by="ann"))
    clock.advance(DAY)
    assert remind() == 0


def test_a_person_acknowledges_and_resolves_with_a_reason(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    raised(database, replace(NEW, merchant_id=shop))
    [alert] = all_of(database, shop)
    seen = database.write_sync(lambda tx: alerts.acknowledge(tx, shop, alert.id, by="ann"))
    assert (seen.state, seen.acknowledged_by, seen.acknowledged_at) == (
        AlertState.ACKNOWLEDGED,
        "ann",
        clock.now(),
    )
    assert database.write_sync(lambda tx: alerts.acknowledge(tx, shop, alert.id, by="bob")) == seen
    with pytest.raises(Refused):
        database.write_sync(lambda tx: alerts.resolve(tx, shop, alert.id, by="ann", reason=" "))
    done = database.write_sync(lambda tx: alerts.resolve(tx, shop, alert.id, by="ann", reason="called them"))
    assert (done.state, done.ended_by, done.ended_reason) == (AlertState.RESOLVED, "ann", "called them")
    for act in (alerts.acknowledge, lambda *a, by: alerts.resolve(*a, by=by, reason="x")):
        with pytest.raises(Conflict):
            database.write_sync(lambda tx, act=act: act(tx, shop, alert.id, by="bob"))


def test_a_merchant_sees_its_own_only(database: Database, shop: MerchantId) -> None:
    raised(database)
    raised(database, replace(NEW, subject="mine", merchant_id=shop))
    assert [alert.fingerprint for alert in all_of(database, shop)] == ["stuck:mine"]
    installation = next(a for a in all_of(database) if a.merchant_id is None)
    with pytest.raises(NotFound):
        database.read_sync(lambda tx: alerts.get_alert(tx, shop, installation.id))
    with pytest.raises(NotFound):
        database.write_sync(lambda tx: alerts.acknowledge(tx, shop, installation.id, by="me"))
    assert database.read_sync(lambda tx: delivery_store.of_alerts(tx, shop, [installation.id])) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE alerts SET state = 'RESOLVED'",
        "UPDATE alerts SET state = 'ACKNOWLEDGED'",
        "UPDATE alerts SET ended_at = 1, ended_by = 'x'",
        "UPDATE alert_deliveries SET state = 'SENT'",
        "UPDATE alert_deliveries SET next_try_at = NULL",
        "INSERT INTO alert_deliveries SELECT 'ald_2', alert_id, channel, address, state, round, tries, sent_count, "
        "next_try_at, lease_until, claim_no, last_error, sent_at, created_at FROM alert_deliveries",
    ],
)
def test_the_database_refuses_half_told_stories(database: Database, wrong: str) -> None:
    raised(database, NEW, ANN)
    with pytest.raises(sa.exc.IntegrityError):
        database.write_sync(lambda tx: tx.conn.exec_driver_sql(wrong) and None)
