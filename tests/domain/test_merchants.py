"""Merchants and API keys: who may act, for whom, until when."""

import hashlib

import pytest
import sqlalchemy as sa

from paystate.domain import merchants
from paystate.domain.merchants import LatePolicy, Merchant, Principal
from paystate.kit.clock import HOUR, MINUTE, SECOND, FrozenClock, Instant
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.ids import System
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

SYSTEM = System("test")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def a_merchant(tx: Tx, name: str = "Acme") -> Merchant:
    return merchants.create_merchant(tx, SYSTEM, name=name)


def a_key(tx: Tx, merchant: Merchant, secret: str = "s", **changes):
    values = {
        "merchant_id": merchant.id,
        "name": "server",
        "scopes": ["payments:write", "payments:read"],
        "expires_at": None,
        "hash": digest(secret),
        "prefix": "psk_abcd",
        "last4": "wxyz",
    }
    return merchants.create_api_key(tx, merchant.id, **{**values, **changes})


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    return refused.value.errors[0].code


def test_a_merchant_has_the_defaults_of_the_requirements(database: Database) -> None:
    made = database.write_sync(a_merchant)
    assert (made.late_policy, made.stale_after, made.return_origins) == (LatePolicy.REVIEW, 30 * MINUTE, ())
    assert database.read_sync(lambda tx: merchants.get_merchant(tx, made.id, made.id)) == made
    assert database.read_sync(lambda tx: merchants.find_merchant_by_name(tx, SYSTEM, "Acme")) == made
    assert database.read_sync(lambda tx: merchants.find_merchant_by_name(tx, SYSTEM, "acme")) is None


def test_a_merchant_keeps_what_it_chose(database: Database) -> None:
    made = database.write_sync(
        lambda tx: merchants.create_merchant(
            tx,
            SYSTEM,
            name="Gida",
            default_region="ZA",
            late_policy=LatePolicy.ACCEPT,
            stale_after=HOUR,
            return_origins=["https://shop.example"],
        )
    )
    stored = database.read_sync(lambda tx: merchants.get_merchant(tx, SYSTEM, made.id))
    assert stored == made
    assert (stored.default_region, stored.return_origins) == ("ZA", ("https://shop.example",))


def test_two_merchants_never_share_a_name(database: Database) -> None:
    database.write_sync(a_merchant)
    with pytest.raises(Conflict) as conflict:
        database.write_sync(a_merchant)
    assert conflict.value.code == "duplicate_name"
    page = database.read_sync(lambda tx: merchants.list_merchants(tx, SYSTEM, PageRequest()))
    assert len(page.rows) == 1


def test_a_bad_merchant_is_refused(database: Database) -> None:
    for field, value, code in (
        ("name", "", "invalid_length"),
        ("name", "a\u202eb", "invalid_characters"),
        ("default_region", "XX", "invalid_region"),
        ("default_region", "za", "invalid_region"),
    ):
        values = {"name": "Acme", field: value}
        with pytest.raises(Refused) as refused:
            database.write_sync(lambda tx, v=values: merchants.create_merchant(tx, SYSTEM, **v))
        assert code_of(refused) == code


def test_a_key_names_its_merchant_and_its_scopes(database: Database) -> None:
    merchant = database.write_sync(a_merchant)
    key = database.write_sync(lambda tx: a_key(tx, merchant, addresses=["192.0.2.0/24"]))
    found = database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("s")))
    scopes = frozenset({"payments:read", "payments:write"})
    assert found == Principal(merchant.id, key.id, scopes, ("192.0.2.0/24",))
    assert key.scopes == ("payments:read", "payments:write")
    assert database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("other"))) is None


def test_the_hash_never_leaves_the_store(database: Database) -> None:
    merchant = database.write_sync(a_merchant)
    database.write_sync(lambda tx: a_key(tx, merchant))
    page = database.read_sync(lambda tx: merchants.list_keys(tx, merchant.id, PageRequest()))
    assert page.rows[0].last4 == "wxyz"
    assert digest("s") not in repr(page)


def test_an_expired_key_opens_nothing(database: Database, clock: FrozenClock) -> None:
    merchant = database.write_sync(a_merchant)
    database.write_sync(lambda tx: a_key(tx, merchant, expires_at=Instant(tx.now + HOUR)))
    clock.advance(HOUR - 1)
    assert database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("s"))) is not None
    clock.advance(1)
    assert database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("s"))) is None


def test_a_revoked_key_opens_nothing_and_stays_revoked(database: Database, clock: FrozenClock) -> None:
    merchant = database.write_sync(a_merchant)
    key = database.write_sync(lambda tx: a_key(tx, merchant))
    first = database.write_sync(lambda tx: merchants.revoke_key(tx, merchant.id, key.id))
    clock.advance(SECOND)
    second = database.write_sync(lambda tx: merchants.revoke_key(tx, merchant.id, key.id))
    assert first.revoked_at == second.revoked_at is not None
    assert database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("s"))) is None


def test_the_last_use_is_written_once_a_minute(database: Database, clock: FrozenClock) -> None:
    merchant = database.write_sync(a_merchant)
    key = database.write_sync(lambda tx: a_key(tx, merchant))
    noted = []
    for step in (0, MINUTE - 1, 1):
        clock.advance(step)
        noted.append(database.write_sync(lambda tx: merchants.touch_key(tx, merchant.id, key.id)))
    assert noted == [True, False, True]
    found = database.read_sync(lambda tx: merchants.authenticate(tx, SYSTEM, digest("s")))
    assert found.last_used_at == clock.now()
    assert not merchants.touch_due(found.last_used_at, Instant(clock.now() + MINUTE - 1))
    assert merchants.touch_due(found.last_used_at, Instant(clock.now() + MINUTE))
    assert merchants.touch_due(None, clock.now())


def test_another_merchant_sees_and_changes_nothing(database: Database) -> None:
    mine, other = database.write_sync(lambda tx: (a_merchant(tx), a_merchant(tx, "Other")))
    key = database.write_sync(lambda tx: a_key(tx, mine))
    for act in (
        lambda tx: merchants.get_merchant(tx, other.id, mine.id),
        lambda tx: merchants.get_key(tx, other.id, key.id),
        lambda tx: merchants.revoke_key(tx, other.id, key.id),
        lambda tx: merchants.create_api_key(
            tx,
            other.id,
            merchant_id=mine.id,
            name="x",
            scopes=["jobs"],
            expires_at=None,
            hash="h",
            prefix="p",
            last4="l",
        ),
    ):
        with pytest.raises(NotFound):
            database.write_sync(act)
    assert database.write_sync(lambda tx: merchants.touch_key(tx, other.id, key.id)) is False

    def revoke_and_go_on(tx: Tx) -> None:
        with pytest.raises(NotFound):
            merchants.revoke_key(tx, other.id, key.id)

    database.write_sync(revoke_and_go_on)
    assert database.read_sync(lambda tx: merchants.list_keys(tx, other.id, PageRequest())).rows == []
    assert database.read_sync(lambda tx: merchants.get_key(tx, mine.id, key.id)) == key


def test_keys_are_listed_newest_first_page_by_page(database: Database, clock: FrozenClock) -> None:
    merchant = database.write_sync(a_merchant)
    ids = []
    for n in range(5):
        clock.advance(SECOND)
        ids.append(database.write_sync(lambda tx, n=n: a_key(tx, merchant, f"s{n}")).id)
    seen, after = [], None
    for _ in range(3):
        page = database.read_sync(
            lambda tx, at=after: merchants.list_keys(tx, merchant.id, PageRequest(2, at))
        )
        seen += [row.id for row in page.rows]
        after = page.next_position
    assert (seen, after) == (ids[::-1], None)


def test_a_key_never_gains_rights_by_sql(database: Database) -> None:
    merchant = database.write_sync(a_merchant)
    database.write_sync(lambda tx: a_key(tx, merchant))
    with pytest.raises(sa.exc.DBAPIError):
        database.write_sync(lambda tx: tx.conn.exec_driver_sql("UPDATE api_keys SET scopes = '[\"admin\"]'"))


@pytest.mark.parametrize("scopes", [[], ["payments:delete"], ["Admin"], ["admin", ""]])
def test_unknown_scopes_are_refused_without_repeating_them(scopes: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        merchants.parse_scopes(scopes)
    assert code_of(refused) == "invalid_scope"
    assert "delete" not in refused.value.errors[0].detail


def test_scopes_come_once_in_the_published_order() -> None:
    assert merchants.parse_scopes(["admin", "jobs", "admin"]) == ("jobs", "admin")


def test_a_key_made_for_the_past_or_a_bad_address_is_refused(database: Database) -> None:
    merchant = database.write_sync(a_merchant)
    for changes, code in (
        ({"expires_at": Instant(1)}, "invalid_expiry"),
        ({"addresses": ["192.0.2.1/24"]}, "invalid_address"),
    ):
        with pytest.raises(Refused) as refused:
            database.write_sync(lambda tx, c=changes: a_key(tx, merchant, **c))
        assert code_of(refused) == code


@pytest.mark.parametrize(("allowed", "address", "answer"), [
    ([], "203.0.113.9", True),
    ([], "no address", True),
    (["192.0.2.0/24"], "192.0.2.7", True),
    (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
    (["192.0.2.0/24"], "192.0.3.7", False),
    (["192.0.2.0/24"], "no address", False),
    (["2001:db8::/32"], "2001:db8::1", True),
    (["2001:db8::/32"], "192.0.2.7", False),
])  # fmt: skip
def test_a_key_may_be_bound_to_addresses(allowed: list[str], address: str, answer: bool) -> None:
    assert merchants.address_allowed(allowed, address) is answer
