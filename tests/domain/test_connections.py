"""Connections and their inbox: one account, one merchant; one message, one row."""

import asyncio

import pytest
import sqlalchemy as sa

from paystate.domain import connections, merchants
from paystate.domain.connections import (
    Connection,
    ConnectionChanges,
    ConnectionState,
    EventState,
    NewConnection,
    NewProviderEvent,
    body_aad,
    inbox_store,
    secrets_aad,
)
from paystate.kit.clock import MINUTE, SECOND, FrozenClock, Instant
from paystate.kit.errors import Conflict, NotFound
from paystate.kit.ids import MerchantId, System, new_id
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

SYSTEM = System("test")


@pytest.fixture
def shop(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Shop").id)


@pytest.fixture
def other(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Other").id)


def connect(database: Database, who: MerchantId, **changes: object) -> Connection:
    def work(tx: Tx) -> Connection:
        values = {
            "id": new_id("con", tx.now),
            "merchant_id": who,
            "provider": "sandbox",
            "name": "Shop's sandbox",
            "account": "acct_1",
            "live": False,
            "settings": {"base_url": "http://127.0.0.1:9"},
            "secrets": "v1.k1.sealed-for-us",
        }
        return connections.create_connection(tx, who, NewConnection(**{**values, **changes}))

    return database.write_sync(work)


def get(database: Database, connection_id: str) -> Connection:
    return database.read_sync(lambda tx: connections.get_connection(tx, SYSTEM, connection_id))


def change(
    database: Database, who: MerchantId, connection_id: str, version: int | None = None, **values: object
):
    changes = ConnectionChanges(**values)
    return database.write_sync(
        lambda tx: connections.update_connection(tx, who, connection_id, changes, version=version)
    )


def test_a_connection_is_stored_with_its_sealed_secrets(database: Database, shop: MerchantId) -> None:
    made = connect(database, shop)
    assert get(database, made.id) == made
    assert (made.state, made.version, made.rate_per_second, made.shared) == (
        ConnectionState.ACTIVE,
        1,
        20,
        False,
    )
    assert made.settings == {"base_url": "http://127.0.0.1:9"}
    assert made.secrets == "v1.k1.sealed-for-us"
    assert "sealed-for-us" not in repr(made)


def test_sealed_texts_belong_to_one_row_of_one_merchant() -> None:
    assert secrets_aad("con_1", "mer_1") == "connections,secrets,con_1,mer_1"
    assert body_aad("pev_1", "mer_1") == "provider_events,body,pev_1,mer_1"


def test_an_account_belongs_to_one_merchant(database: Database, shop: MerchantId, other: MerchantId) -> None:
    connect(database, shop)
    for who in (shop, other):
        with pytest.raises(Conflict) as conflict:
            connect(database, who)
        assert (conflict.value.code, conflict.value.help) == ("account_connected", {})
    connect(database, other, live=True)
    connect(database, other, account="acct_2")
    connect(database, other, provider="stripe")


def test_a_shared_account_serves_several_merchants(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    first, second = (connect(database, who, provider="hedera", shared=True) for who in (shop, other))
    assert first.account == second.account


async def test_of_parallel_creates_one_wins(database: Database, shop: MerchantId, other: MerchantId) -> None:
    results = await asyncio.gather(
        *(asyncio.to_thread(connect, database, (shop, other)[n % 2]) for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["Conflict"] * 7 + ["Connection"]


def test_changes_are_made_over_the_version_that_was_read(database: Database, shop: MerchantId) -> None:
    made = connect(database, shop)
    changed = change(database, shop, made.id, 1, name="New", settings={"a": 1}, rate_per_second=5)
    assert (changed.name, changed.settings, changed.rate_per_second, changed.version) == (
        "New",
        {"a": 1},
        5,
        2,
    )
    assert changed.secrets == made.secrets
    with pytest.raises(Conflict) as conflict:
        change(database, shop, made.id, 1, name="Newer")
    assert conflict.value.code == "version_conflict"
    assert get(database, made.id) == changed
    assert change(database, shop, made.id, name="Newer").version == 3


def test_the_account_of_a_connection_never_changes(database: Database, shop: MerchantId) -> None:
    connect(database, shop)
    for column, value in (("account", "'x'"), ("live", "true"), ("provider", "'x'")):
        with pytest.raises(sa.exc.DBAPIError):
            database.write_sync(
                lambda tx, c=column, v=value: tx.conn.exec_driver_sql(f"UPDATE connections SET {c} = {v}")
            )


def test_a_disabled_connection_frees_its_account_and_may_find_it_taken(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    first = connect(database, shop)
    change(database, shop, first.id, state=ConnectionState.DISABLED, reason="moved")
    assert get(database, first.id).state_reason == "moved"
    connect(database, other)

    def enable(tx: Tx) -> ConnectionState:
        with pytest.raises(Conflict) as conflict:
            connections.update_connection(tx, shop, first.id, ConnectionChanges(state=ConnectionState.ACTIVE))
        assert conflict.value.code == "account_connected"
        return connections.get_connection(tx, shop, first.id).state  # the transaction is still good

    assert database.write_sync(enable) is ConnectionState.DISABLED


def test_a_refused_credential_parks_the_connection_once(database: Database, shop: MerchantId) -> None:
    made = connect(database, shop)
    parked = [
        database.write_sync(lambda tx: connections.park(tx, SYSTEM, made.id, "401 unauthorized"))
        for _ in range(2)
    ]
    assert parked == [True, False]
    assert (get(database, made.id).state, get(database, made.id).state_reason) == (
        "PARKED",
        "401 unauthorized",
    )
    back = [database.write_sync(lambda tx: connections.unpark(tx, SYSTEM, made.id)) for _ in range(2)]
    assert back == [True, False]
    assert (get(database, made.id).state, get(database, made.id).state_reason) == ("ACTIVE", None)


def test_new_secrets_bring_a_parked_connection_back_and_not_a_disabled_one(
    database: Database, shop: MerchantId
) -> None:
    made = connect(database, shop)
    database.write_sync(lambda tx: connections.park(tx, shop, made.id, "401"))
    assert change(database, shop, made.id, name="x").state is ConnectionState.PARKED
    assert change(database, shop, made.id, secrets="v1.k1.new").state is ConnectionState.ACTIVE
    change(database, shop, made.id, state=ConnectionState.DISABLED)
    assert change(database, shop, made.id, secrets="v1.k1.newer").state is ConnectionState.DISABLED
    assert database.write_sync(lambda tx: connections.unpark(tx, shop, made.id)) is False


def test_active_ones_are_found_by_merchant_and_provider(
    database: Database, shop: MerchantId, other: MerchantId, clock: FrozenClock
) -> None:
    one = connect(database, shop)
    clock.advance(SECOND)
    two = connect(database, shop, provider="stripe")
    clock.advance(SECOND)
    three = connect(database, other, account="acct_3")
    parked = connect(database, shop, account="acct_4")
    database.write_sync(lambda tx: connections.park(tx, shop, parked.id, "401"))

    def active(*args: object, **more: str) -> list[str]:
        return [c.id for c in database.read_sync(lambda tx: connections.active_for(tx, *args, **more))]

    assert active(shop) == [one.id, two.id]
    assert active(shop, "stripe") == [two.id]
    assert active(SYSTEM, "sandbox") == [one.id, three.id]
    assert active(SYSTEM, None, after=one.id) == [two.id, three.id]


def test_another_merchant_sees_and_changes_nothing(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    made = connect(database, shop)
    with pytest.raises(NotFound):
        database.read_sync(lambda tx: connections.get_connection(tx, other, made.id))
    with pytest.raises(NotFound):
        change(database, other, made.id, name="stolen")
    for act in (
        lambda tx: connections.park(tx, other, made.id, "x"),
        lambda tx: connections.unpark(tx, other, made.id),
    ):
        assert database.write_sync(act) is False
    assert database.read_sync(lambda tx: connections.list_connections(tx, other, PageRequest())).rows == []
    assert database.read_sync(lambda tx: connections.active_for(tx, other)) == []
    with pytest.raises(AssertionError):
        database.write_sync(
            lambda tx: connections.create_connection(
                tx, other, NewConnection(new_id("con", 0), shop, "p", "n", "a", False, {}, "s")
            )
        )
    assert get(database, made.id) == made


def test_connections_are_listed_newest_first(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    ids = []
    for n in range(3):
        clock.advance(SECOND)
        ids.append(connect(database, shop, account=str(n)).id)
    page = database.read_sync(lambda tx: connections.list_connections(tx, shop, PageRequest(2)))
    assert ([c.id for c in page.rows], page.next_position) == ([ids[2], ids[1]], ids[1])
    page = database.read_sync(lambda tx: connections.list_connections(tx, shop, PageRequest(2, ids[1])))
    assert ([c.id for c in page.rows], page.next_position) == ([ids[0]], None)
    page = database.read_sync(lambda tx: connections.list_connections(tx, shop, PageRequest(), provider="x"))
    assert page.rows == []


# ── the inbox ──────────────────────────────────────────────────────────────────────────────────────────────────────


def a_message(connection: Connection, event: str = "evt_1", **changes: object) -> NewProviderEvent:
    values = {
        "id": new_id("pev", 0),
        "merchant_id": connection.merchant_id,
        "connection_id": connection.id,
        "provider_event_id": event,
        "type": "checkout.completed",
        "body": "v1.k1.sealed-body",
        "body_hash": "h1",
        "authentic": True,
        "named": [{"reference": "abc"}],
    }
    return NewProviderEvent(**{**values, **changes})


def receive(database: Database, message: NewProviderEvent) -> inbox_store.Receipt:
    return database.write_sync(lambda tx: inbox_store.receive(tx, message.merchant_id, message))


def inbox(database: Database, who: MerchantId | System, **more: object) -> list[connections.ProviderEvent]:
    page = database.read_sync(lambda tx: inbox_store.list_provider_events(tx, who, PageRequest(100), **more))
    return list(page.rows)


def test_a_message_is_stored_once_and_repeats_are_counted(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    connection = connect(database, shop)
    first = a_message(connection)
    assert receive(database, first) == (first.id, True, False)
    clock.advance(SECOND)
    assert receive(database, a_message(connection)) == (first.id, False, False)
    lie = a_message(connection, body_hash="h2", body="other", named=[], state=EventState.IGNORED)
    assert receive(database, lie) == (first.id, False, True)
    (stored,) = inbox(database, shop)
    assert (stored.deliveries, stored.body_hash, stored.named) == (3, "h1", [{"reference": "abc"}])
    assert (stored.state, stored.received_at) == (EventState.RECEIVED, clock.now() - SECOND)
    assert database.read_sync(lambda tx: inbox_store.sealed_body(tx, shop, first.id)) == "v1.k1.sealed-body"
    assert "sealed" not in repr(stored) + repr(first)


async def test_the_same_message_in_parallel_is_one_row(database: Database, shop: MerchantId) -> None:
    connection = connect(database, shop)
    receipts = await asyncio.gather(
        *(asyncio.to_thread(receive, database, a_message(connection)) for _ in range(20))
    )
    assert sum(r.is_new for r in receipts) == 1
    assert len({r.id for r in receipts}) == 1
    (stored,) = inbox(database, shop)
    assert stored.deliveries == 20


def test_the_same_event_id_at_another_connection_is_another_message(
    database: Database, shop: MerchantId
) -> None:
    one, two = connect(database, shop), connect(database, shop, account="acct_2")
    assert receive(database, a_message(one)).is_new
    assert receive(database, a_message(two)).is_new


def test_messages_are_marked_by_sets(database: Database, shop: MerchantId, clock: FrozenClock) -> None:
    connection = connect(database, shop)
    ids = [receive(database, a_message(connection, f"evt_{n}")).id for n in range(5)]
    retry_at = Instant(clock.now() + MINUTE)

    def mark(tx: Tx) -> tuple[int, int, int]:
        return (
            inbox_store.mark_handled(tx, shop, {ids[0]: "att_1", ids[1]: None, "pev_unknown": None}),
            inbox_store.mark_unmatched(tx, shop, [ids[3], ids[2]], retry_at=retry_at),
            inbox_store.mark_ignored(tx, shop, {ids[4]}),
        )

    assert database.write_sync(mark) == (2, 2, 1)
    rows = {row.id: row for row in inbox(database, shop)}
    assert [rows[i].state for i in ids] == ["HANDLED", "HANDLED", "UNMATCHED", "UNMATCHED", "IGNORED"]
    assert [rows[i].attempt_id for i in ids] == ["att_1", None, None, None, None]
    assert [rows[i].handled_at for i in ids] == [clock.now(), clock.now(), None, None, clock.now()]
    assert [row.id for row in inbox(database, shop, state=EventState.IGNORED)] == [ids[4]]


def test_unmatched_messages_come_back_when_due(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    connection = connect(database, shop)
    ids = [receive(database, a_message(connection, f"evt_{n}")).id for n in range(4)]

    def due(limit: int = 10) -> list[str]:
        return [e.id for e in database.read_sync(lambda tx: inbox_store.due_unmatched(tx, SYSTEM, limit))]

    for n, wait in ((0, 2 * MINUTE), (1, MINUTE), (2, 3 * MINUTE)):
        at = Instant(clock.now() + wait)
        database.write_sync(
            lambda tx, n=n, at=at: inbox_store.mark_unmatched(tx, SYSTEM, [ids[n]], retry_at=at)
        )
    database.write_sync(lambda tx: inbox_store.mark_unmatched(tx, SYSTEM, [ids[3]], retry_at=None))
    assert due() == []
    clock.advance(2 * MINUTE)
    assert due() == [ids[1], ids[0]]
    assert due(1) == [ids[1]]
    database.write_sync(lambda tx: inbox_store.mark_handled(tx, SYSTEM, {ids[1]: "att_1"}))
    assert due() == [ids[0]]


def test_another_merchants_inbox_is_closed(database: Database, shop: MerchantId, other: MerchantId) -> None:
    message = a_message(connect(database, shop))
    receive(database, message)
    assert inbox(database, other) == []
    for read in (inbox_store.get_provider_event, inbox_store.sealed_body):
        with pytest.raises(NotFound):
            database.read_sync(lambda tx, read=read: read(tx, other, message.id))

    def mark(tx: Tx) -> int:
        return (
            inbox_store.mark_handled(tx, other, {message.id: "att_1"})
            + inbox_store.mark_ignored(tx, other, [message.id])
            + inbox_store.mark_unmatched(tx, other, [message.id], retry_at=None)
        )

    assert database.write_sync(mark) == 0
    with pytest.raises(AssertionError):
        database.write_sync(lambda tx: inbox_store.receive(tx, other, message))
    stored = database.read_sync(lambda tx: inbox_store.get_provider_event(tx, shop, message.id))
    assert (stored.state, stored.attempt_id) == (EventState.RECEIVED, None)


def test_a_message_cannot_name_another_merchants_connection(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    connection = connect(database, shop)
    with pytest.raises(sa.exc.IntegrityError):
        receive(database, a_message(connection, merchant_id=other))
