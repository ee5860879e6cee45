"""Events: written with their commit, numbered after it, told in an order that never goes back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import sqlalchemy as sa

from paystate.domain import webhooks
from paystate.domain.webhooks import Event, NewEvent
from paystate.domain.webhooks import store as event_store
from paystate.kit.clock import MILLISECOND, SECOND, FrozenClock
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Database, Tx

SYSTEM = System("test")
SHOP, OTHER = MerchantId("mer_shop"), MerchantId("mer_other")


def an_event(
    resource: str = "pay_1", version: int = 1, merchant: MerchantId = SHOP, **changes: object
) -> NewEvent:
    values = {"type": "payment.paid", "data": {"object": {"state": "PAID"}, "previous": {"state": "OPEN"}}}
    return NewEvent(
        **{"merchant_id": merchant, "resource_id": resource, "version": version, **values, **changes}
    )


def record(database: Database, *new: NewEvent) -> list[str]:
    return database.write_sync(lambda tx: webhooks.record_events(tx, SYSTEM, new))


def number(database: Database) -> int:
    return database.write_sync(lambda tx: webhooks.number_events(tx, SYSTEM))


def feed(
    database: Database, who: MerchantId | System = SYSTEM, after: int = 0, limit: int = 1000
) -> list[Event]:
    return list(database.read_sync(lambda tx: webhooks.events_after(tx, who, after, limit)))


def told(database: Database) -> list[tuple[str, int]]:
    return [(e.resource_id, e.version) for e in feed(database)]


def test_an_event_is_told_after_it_was_numbered(database: Database, clock: FrozenClock) -> None:
    (event_id,) = record(database, an_event())
    assert feed(database) == []
    assert number(database) == 1
    (event,) = feed(database)
    assert (event.id, event.position, event.created_at) == (event_id, 1, clock.now())
    for name in NewEvent.__dataclass_fields__:
        assert getattr(event, name) == getattr(an_event(), name), name
    assert database.read_sync(lambda tx: webhooks.get_event(tx, SHOP, event_id)) == event
    assert number(database) == 0


def test_a_set_shares_its_commit_with_the_change_and_keeps_its_order(database: Database) -> None:
    def work(tx: Tx) -> str:
        webhooks.record_events(tx, SHOP, [an_event(f"pay_{n}") for n in range(9, -1, -1)])
        return tx.id

    commit = database.write_sync(work)
    number(database)
    assert {e.commit_id for e in feed(database)} == {commit}
    assert [e.resource_id for e in feed(database)] == [f"pay_{n}" for n in range(9, -1, -1)]


def test_a_rolled_back_event_never_gets_a_position(database: Database) -> None:
    def fail(tx: Tx) -> None:
        webhooks.record_events(tx, SYSTEM, [an_event()])
        webhooks.number_events(tx, SYSTEM)
        raise LookupError

    with pytest.raises(LookupError):
        database.write_sync(fail)
    record(database, an_event("pay_2"))
    number(database)
    assert [(e.position, e.resource_id) for e in feed(database)] == [(1, "pay_2")]


def test_one_event_of_a_kind_for_a_version(database: Database) -> None:
    record(database, an_event())
    with pytest.raises(sa.exc.IntegrityError):
        record(database, an_event())
    record(database, an_event(type="payment.settled"), an_event(version=2))


def test_each_merchant_has_its_own_feed(database: Database) -> None:
    record(database, an_event("pay_1"))
    (foreign,) = record(database, an_event("pay_2", merchant=OTHER))
    number(database)
    assert [e.resource_id for e in feed(database, SHOP)] == ["pay_1"]
    assert [e.resource_id for e in feed(database, OTHER)] == ["pay_2"]
    with pytest.raises(NotFound):
        database.read_sync(lambda tx: webhooks.get_event(tx, SHOP, foreign))
    with pytest.raises(AssertionError):
        database.write_sync(lambda tx: webhooks.record_events(tx, SHOP, [an_event(merchant=OTHER)]))


@pytest.mark.parametrize(
    "name", ["paid", "Payment.paid", "payment.", "payment.paid ", "payment.paid\n", "a.b.c"]
)
def test_a_type_is_resource_and_past_tense(database: Database, name: str) -> None:
    with pytest.raises(AssertionError):
        record(database, an_event(type=name))


def test_a_feed_is_read_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    record(database, *(an_event(f"pay_{n}") for n in range(7)))
    number(database)
    seen, after = [], 0
    while page := feed(database, SHOP, after, 3):
        assert len(page) <= 3
        seen += [e.position for e in page]
        after = page[-1].position
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert database.read_sync(lambda tx: webhooks.last_position(tx, SHOP)) == 7
    monkeypatch.setattr(event_store, "EVENTS_LIMIT", 2)
    assert len(feed(database, SHOP, 0, 10**9)) == 2


def test_versions_of_one_resource_keep_their_order_when_clocks_disagree(
    database: Database, clock: FrozenClock
) -> None:
    """A later version may carry an earlier time: it read the clock first and got the row's lock last."""
    for n in range(20):
        clock.advance(SECOND)
        record(database, an_event(f"pay_{n}", 2))
        clock.advance(-5 * MILLISECOND)
        record(database, an_event(f"pay_{n}", 3))
        clock.advance(5 * MILLISECOND)
    assert number(database) == 40
    assert told(database) == [(f"pay_{n}", version) for n in range(20) for version in (2, 3)]


def test_batches_never_part_the_events_of_a_resource(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "NUMBER_LIMIT", 3)
    for n in range(6):
        record(database, an_event("pay_1", n + 1), an_event(f"pay_x{n}"))
    counts = []
    while count := number(database):
        counts.append(count)
    assert sum(counts) == 12
    assert len(counts) > 1
    assert [version for resource, version in told(database) if resource == "pay_1"] == [1, 2, 3, 4, 5, 6]


def test_positions_are_not_given_twice_after_old_events_are_deleted(database: Database) -> None:
    record(database, an_event("pay_1"), an_event("pay_2"))
    number(database)
    database.write_sync(lambda tx: tx.conn.exec_driver_sql("DELETE FROM events"))
    record(database, an_event("pay_3"))
    number(database)
    assert [(e.position, e.resource_id) for e in feed(database)] == [(3, "pay_3")]


def test_a_position_and_what_it_stands_for_never_change(database: Database) -> None:
    record(database, an_event("pay_1"))
    number(database)
    for change in ("position = 5", "position = NULL", "type = 'x.y'", "version = 9"):
        with pytest.raises(sa.exc.DBAPIError):
            database.write_sync(lambda tx, c=change: tx.conn.exec_driver_sql(f"UPDATE events SET {c}"))
    database.write_sync(lambda tx: tx.conn.exec_driver_sql("UPDATE events SET data = '{}'"))
    assert feed(database)[0].data == {}


async def test_waiters_are_woken(database: Database) -> None:
    await database.wakeups.start()
    try:
        await database.write(lambda tx: webhooks.record_events(tx, SYSTEM, [an_event()]))
        assert await database.wakeups.wait(webhooks.NEW_EVENTS, 5)
        await database.write(lambda tx: webhooks.number_events(tx, SYSTEM))
        assert await database.wakeups.wait(webhooks.NUMBERED_EVENTS, 5)
    finally:
        await database.wakeups.stop()


def test_a_reader_never_passes_a_late_committer(database: Database) -> None:
    """Writers hold their events uncommitted for a while; two sequencers number; a reader follows by position."""
    done = threading.Event()

    with ThreadPoolExecutor(6) as pool:
        reader = pool.submit(_follow, database, done)
        sequencers = [pool.submit(_sequence, database, done) for _ in range(2)]
        try:
            for writer in [pool.submit(_write, database, f"w{n}", every=n + 1) for n in range(3)]:
                writer.result(60)
            number(database)
        finally:
            done.set()
        for sequencer in sequencers:
            sequencer.result(60)
        seen = reader.result(60)
    assert [e.position for e in seen] == list(range(1, 121))
    assert len({e.id for e in seen}) == 120


def _write(database: Database, name: str, *, every: int) -> None:
    def one(tx: Tx, n: int) -> None:
        webhooks.record_events(tx, SYSTEM, [an_event(f"{name}-{n}"), an_event(f"{name}-{n}", 2)])
        if n % every == 0 and not tx.on_sqlite:
            tx.conn.exec_driver_sql("SELECT pg_sleep(0.01)")  # others commit, and are numbered, meanwhile

    for n in range(20):
        database.write_sync(partial(one, n=n))


def _sequence(database: Database, done: threading.Event) -> None:
    while not done.is_set():
        number(database)


def _follow(database: Database, done: threading.Event) -> list[Event]:
    seen: list[Event] = []
    while True:
        finished = done.is_set()
        page = feed(database, SYSTEM, seen[-1].position if seen else 0, 10)
        seen += page
        if finished and not page:
            return seen
