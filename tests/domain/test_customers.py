"""Customers: found by the first identifier that is known, never merged, one row under any race."""

import asyncio
import threading
from functools import partial

import pytest

from paystate.domain import customers, merchants
from paystate.domain.customers import Customer, CustomerChanges, Identity, read_phone
from paystate.kit.clock import SECOND, FrozenClock
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.ids import MerchantId, System
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

SYSTEM = System("test")
ANN = Identity(external_id="ann", phone="+27821234567", email="ann@example.com")


@pytest.fixture
def shop(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Shop").id)


@pytest.fixture
def other(database: Database) -> MerchantId:
    return database.write_sync(lambda tx: merchants.create_merchant(tx, SYSTEM, name="Other").id)


def seek(database: Database, who: MerchantId, identity: Identity, **more: object) -> Customer:
    return database.write_sync(lambda tx: customers.find_or_create(tx, who, identity, **more))


def everybody(database: Database, who: MerchantId) -> list[Customer]:
    return list(database.read_sync(lambda tx: customers.list_customers(tx, who, PageRequest(100))).rows)


@pytest.mark.parametrize("by", [
    Identity(external_id="ann"), Identity(phone="+27821234567"), Identity(email="ann@example.com"),
])  # fmt: skip
def test_each_identifier_finds_the_same_customer(database: Database, shop: MerchantId, by: Identity) -> None:
    made = seek(database, shop, ANN, name="Ann", metadata={"plan": "gold"})
    assert seek(database, shop, by) == made
    assert seek(database, shop, Identity(customer_id=made.id)) == made
    assert everybody(database, shop) == [made]
    assert (made.version, made.metadata, made.name) == (1, {"plan": "gold"}, "Ann")


def test_an_unknown_id_of_ours_is_not_found_and_nothing_is_made(database: Database, shop: MerchantId) -> None:
    made = seek(database, shop, ANN)
    with pytest.raises(NotFound):
        seek(database, shop, Identity(customer_id=made.id[:-1] + "?", phone="+27829999999"))
    assert everybody(database, shop) == [made]


def test_a_match_learns_what_it_lacks_and_keeps_what_it_has(
    database: Database, shop: MerchantId, clock: FrozenClock
) -> None:
    made = seek(database, shop, Identity(phone="+27821234567"))
    clock.advance(SECOND)
    identity = Identity(external_id="ann", phone="+27821234567", email="ann@example.com")
    filled = seek(database, shop, identity, name="Ann")
    assert (filled.id, filled.external_id, filled.email, filled.name) == (
        made.id,
        "ann",
        "ann@example.com",
        "Ann",
    )
    assert (filled.version, filled.updated_at) == (2, clock.now())
    again = seek(database, shop, Identity(external_id="ann", phone="+27820000000"), name="Anne")
    assert again == filled


def test_customers_never_merge(database: Database, shop: MerchantId) -> None:
    ann = seek(database, shop, Identity(external_id="ann"))
    bob = seek(database, shop, Identity(phone="+27821234567"))
    for identity, field in (
        (Identity(external_id="ann", phone="+27821234567"), "phone"),
        (Identity(customer_id=ann.id, phone="+27821234567"), "phone"),
    ):
        with pytest.raises(Conflict) as conflict:
            seek(database, shop, identity)
        assert conflict.value.code == "customer_conflict"
        assert conflict.value.help["conflict"] == {
            "customerId": bob.id, "field": field, "matchedCustomerId": ann.id,
        }  # fmt: skip
    assert {c.version for c in everybody(database, shop)} == {1}


def test_without_an_identifier_each_is_somebody_new(database: Database, shop: MerchantId) -> None:
    first, second = (seek(database, shop, Identity(), name="Walk-in") for _ in range(2))
    assert first.id != second.id


def test_another_merchant_has_its_own_customers(
    database: Database, shop: MerchantId, other: MerchantId
) -> None:
    mine, theirs = seek(database, shop, ANN), seek(database, other, ANN)
    assert mine.id != theirs.id
    assert everybody(database, other) == [theirs]
    for act in (
        lambda tx: customers.get_customer(tx, other, mine.id),
        lambda tx: customers.find_or_create(tx, other, Identity(customer_id=mine.id)),
        lambda tx: customers.update_customer(tx, other, mine.id, CustomerChanges(name="x")),
    ):
        with pytest.raises(NotFound):
            database.write_sync(act)
    assert database.read_sync(lambda tx: customers.find(tx, other, mine.id)) is None
    assert database.read_sync(lambda tx: customers.get_customer(tx, SYSTEM, mine.id)) == mine


async def test_parallel_requests_make_one_customer(database: Database, shop: MerchantId) -> None:
    identities = [ANN, Identity(phone=ANN.phone), Identity(email=ANN.email, phone=ANN.phone)]
    work = [partial(customers.find_or_create, who=shop, identity=identities[n % 3]) for n in range(30)]
    found = await asyncio.gather(*(database.write(w) for w in work))
    assert len({customer.id for customer in found}) == 1
    final = await database.read(lambda tx: customers.get_customer(tx, shop, found[0].id))
    assert (final.external_id, final.phone, final.email) == (ANN.external_id, ANN.phone, ANN.email)


def test_the_loser_of_a_race_reads_the_winner(database: Database, shop: MerchantId) -> None:
    """The second transaction starts while the first, uncommitted, holds the phone."""
    looked, result = threading.Event(), []

    def second() -> None:
        looked.wait(10)
        result.append(seek(database, shop, Identity(phone=ANN.phone, email="ann@example.com")))

    def first(tx: Tx) -> Customer:
        made = customers.find_or_create(tx, shop, Identity(phone=ANN.phone))
        looked.set()
        if not tx.on_sqlite:
            _wait_until_somebody_waits(tx)
        return made

    thread = threading.Thread(target=second)
    thread.start()
    made = database.write_sync(first)
    thread.join(10)
    assert [c.id for c in result] == [made.id]
    assert result[0].email == "ann@example.com"


def _wait_until_somebody_waits(tx: Tx) -> None:
    for _ in range(10_000):
        waiting = tx.conn.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() "
            "AND pg_sleep(0.001) IS NOT NULL"
        ).scalar_one()
        tx.conn.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
        if waiting:
            return
    raise AssertionError("nobody waited for the lock")


def test_a_gap_filled_by_somebody_else_meanwhile_is_a_conflict(database: Database, shop: MerchantId) -> None:
    """Learning a phone while another, uncommitted, takes the same one: a conflict, and the transaction lives on."""
    ann = seek(database, shop, Identity(external_id="ann"))
    looked, errors, alive = threading.Event(), [], []

    def learn(tx: Tx) -> None:
        try:
            customers.find_or_create(tx, shop, Identity(external_id="ann", phone=ANN.phone))
        except Conflict as conflict:
            errors.append(conflict)
        alive.append(customers.get_customer(tx, shop, ann.id))

    def second() -> None:
        looked.wait(10)
        database.write_sync(learn)

    def first(tx: Tx) -> Customer:
        made = customers.find_or_create(tx, shop, Identity(phone=ANN.phone))
        looked.set()
        if not tx.on_sqlite:
            _wait_until_somebody_waits(tx)
        return made

    thread = threading.Thread(target=second)
    thread.start()
    bob = database.write_sync(first)
    thread.join(10)
    assert [e.help["conflict"]["customerId"] for e in errors] == [bob.id]
    assert alive == [ann]


def test_a_text_of_a_path_names_a_customer(database: Database, shop: MerchantId) -> None:
    ann = seek(database, shop, ANN)

    def find(text: str) -> Customer | None:
        return database.read_sync(lambda tx: customers.find(tx, shop, text, region="ZA"))

    for text in (ann.id, "ann", "+27821234567", "082 123 4567", "ann@example.com", "ann@EXAMPLE.com"):
        assert find(text) == ann, text
    assert find("nobody") is None
    assert find("+27829999999") is None
    assert find("cus_%' OR 1=1 --") is None
    with pytest.raises(Refused) as refused:
        find("+12")
    assert refused.value.errors[0].code == "invalid_phone"


def test_our_id_wins_over_the_same_text_as_an_external_id(database: Database, shop: MerchantId) -> None:
    ann = seek(database, shop, Identity(external_id="ann"))
    seek(database, shop, Identity(external_id=ann.id))
    assert database.read_sync(lambda tx: customers.find(tx, shop, ann.id)) == ann


def test_create_refuses_a_taken_identifier(database: Database, shop: MerchantId) -> None:
    ann = database.write_sync(lambda tx: customers.create_customer(tx, shop, ANN, name="Ann"))
    with pytest.raises(Conflict) as conflict:
        database.write_sync(lambda tx: customers.create_customer(tx, shop, Identity(email=ANN.email)))
    assert conflict.value.help["conflict"] == {"customerId": ann.id, "field": "email"}
    assert everybody(database, shop) == [ann]


def test_update_writes_over_the_version_that_was_read(database: Database, shop: MerchantId) -> None:
    ann = seek(database, shop, ANN)

    def change(version: int | None, **changes: object) -> Customer:
        return database.write_sync(
            lambda tx: customers.update_customer(
                tx, shop, ann.id, CustomerChanges(**changes), version=version
            )
        )

    changed = change(1, phone=None, name="Ann", metadata={"a": "b"})
    assert (changed.phone, changed.name, changed.metadata, changed.version) == (None, "Ann", {"a": "b"}, 2)
    assert changed.external_id == "ann"
    assert change(2, name="Ann").version == 2
    with pytest.raises(Conflict) as conflict:
        change(1, name="Eve")
    assert conflict.value.code == "version_conflict"
    bob = seek(database, shop, Identity(phone="+27829999999"))
    with pytest.raises(Conflict) as conflict:
        change(None, phone="+27829999999")
    assert conflict.value.help["conflict"]["customerId"] == bob.id
    assert change(None, phone="+27828888888").version == 3


def test_of_two_changes_over_one_version_the_second_is_refused(database: Database, shop: MerchantId) -> None:
    """Both have read version 1; the second waits for the first to commit."""
    ann = seek(database, shop, ANN)
    written, errors = threading.Event(), []

    def change(tx: Tx, name: str) -> Customer:
        return customers.update_customer(tx, shop, ann.id, CustomerChanges(name=name), version=1)

    def second() -> None:
        written.wait(10)
        with pytest.raises(Conflict) as conflict:
            database.write_sync(partial(change, name="second"))
        errors.append(conflict.value.code)

    def first(tx: Tx) -> None:
        change(tx, "first")
        written.set()
        if not tx.on_sqlite:
            _wait_until_somebody_waits(tx)

    thread = threading.Thread(target=second)
    thread.start()
    database.write_sync(first)
    thread.join(10)
    assert errors == ["version_conflict"]
    assert everybody(database, shop)[0].name == "first"


def test_customers_are_listed_newest_first(database: Database, shop: MerchantId, clock: FrozenClock) -> None:
    made = []
    for n in range(3):
        clock.advance(SECOND)
        made.append(seek(database, shop, Identity(external_id=str(n))))
    page = database.read_sync(lambda tx: customers.list_customers(tx, shop, PageRequest(2)))
    assert (list(page.rows), page.next_position) == ([made[2], made[1]], made[1].id)
    last = database.read_sync(
        lambda tx: customers.list_customers(tx, shop, PageRequest(2, page.next_position))
    )
    assert (list(last.rows), last.next_position) == ([made[0]], None)


def test_personal_data_stays_out_of_repr(database: Database, shop: MerchantId) -> None:
    shown = repr(seek(database, shop, ANN, name="Ann Other"))
    assert not any(text in shown for text in ("2782", "ann@", "Other", "'ann'"))


@pytest.mark.parametrize(("text", "region", "stored"), [
    ("+27 82 123 4567", None, "+27821234567"),
    ("+27821234567", "DE", "+27821234567"),
    ("082 123 4567", "ZA", "+27821234567"),
    ("(082) 123-4567", "ZA", "+27821234567"),
    ("27821234567", "ZA", "+27821234567"),
    ("0027821234567", "ZA", "+27821234567"),
    ("0301234567", "DE", "+49301234567"),
    ("4915112345678", "ZA", "+4915112345678"),
    ("212 555 1234", "US", "+12125551234"),
    ("(248) 255-1234", "US", "+12482551234"),
    ("+1 555 123 4567", None, "+15551234567"),
])  # fmt: skip
def test_phones_become_e164(text: str, region: str | None, stored: str) -> None:
    assert read_phone(text, region) == stored


@pytest.mark.parametrize(("text", "region"), [
    ("+12", None),
    ("082123ABCD", "ZA"),
    ("1-800-FLOWERS", "US"),
    ("+12345678901234567", None),
    ("0821234567", None),
    ("27821234567", None),
    ("1234", "ZA"),
    ("248 255 1234", "US"),  # Michigan, or the Seychelles without their plus
    ("+27821234567 ext 3", None),
    ("+27821234567;ext=3", None),
    ("+27+821234567", None),
    ("٠٨٢١٢٣٤٥٦٧", "ZA"),
    ("", "ZA"),
    ("+", "ZA"),
    ("+999123456789", None),
    ("0" * 33, "ZA"),
])  # fmt: skip
def test_what_is_no_phone_or_two_is_refused(text: str, region: str | None) -> None:
    with pytest.raises(Refused) as refused:
        read_phone(text, region, pointer="/customer/phone")
    error = refused.value.errors[0]
    assert (error.code, error.pointer) == ("invalid_phone", "/customer/phone")
    assert len(text) < 2 or text not in error.detail


def test_an_identity_is_read_from_a_request() -> None:
    read = Identity.read(
        external_id="e\u0301", phone="082 123 4567", email="Ann@Example.COM", region="ZA", pointer="/customer"
    )
    assert read == Identity(None, "\u00e9", "+27821234567", "Ann@example.com")


@pytest.mark.parametrize(("field", "value", "code"), [
    ("external_id", "", "invalid_length"),
    ("external_id", "x" * 256, "invalid_length"),
    ("external_id", "a\u200bb", "invalid_characters"),
    ("external_id", "a\x00b", "invalid_characters"),
    ("email", "a@b", "invalid_email"),
    ("email", "a@b.c\nBcc:x", "invalid_email"),
    ("phone", "+12", "invalid_phone"),
])  # fmt: skip
def test_a_bad_identity_is_refused(field: str, value: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        Identity.read(**{field: value}, pointer="/customer")
    assert refused.value.errors[0].code == code
    assert refused.value.errors[0].pointer.startswith("/customer/")
