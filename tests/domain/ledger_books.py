"""Words for the ledger's tests: merchants, journals, balances, and whether the books are sound."""

from collections import Counter

from paystate.domain.ledger import (
    Entry,
    Journal,
    account_balance,
    credit,
    debit,
    drifted_accounts,
    journals,
    payment_captured,
    post,
    trial_balance,
    unsound_journals,
)
from paystate.domain.merchants.model import merchants
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.money import Money
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, bulk_insert

AT = Instant(1_790_000_000_000_000)
EVERYONE = System("test")


def a_merchant(database: Database) -> MerchantId:
    return some_merchants(database, 1)[0]


def some_merchants(database: Database, count: int) -> list[MerchantId]:
    ids = [new_id("mer", AT) for _ in range(count)]
    row = {"late_policy": "review", "stale_after_us": 1, "return_origins": "[]", "created_at": 1}
    database.write_sync(lambda tx: bulk_insert(tx, merchants, [{"id": i, "name": i, **row} for i in ids]))
    return [MerchantId(i) for i in ids]


def journal(merchant: MerchantId, key: str, *entries: Entry) -> Journal:
    return Journal(
        merchant_id=merchant,
        kind="manual",
        key=key,
        description="",
        tags={},
        effective_at=AT,
        entries=entries,
    )


def captured(merchant: MerchantId, payment: str, amount: int = 500) -> Journal:
    return payment_captured(
        merchant_id=merchant,
        payment_id=payment,
        connection_id="con_1",
        money=Money(amount, "ZAR"),
        effective_at=AT,
    )


def hold(merchant: MerchantId, key: str, amount: int) -> Journal:
    money = Money(amount, "ZAR")
    return journal(merchant, key, debit("1100", money, owner="con_1"), credit("2100", money, owner="esc_1"))


def release(merchant: MerchantId, key: str, amount: int) -> Journal:
    money = Money(amount, "ZAR")
    return journal(merchant, key, debit("2100", money, owner="esc_1"), credit("2200", money, owner="pye_1"))


def book(database: Database, who: Who, *batch: Journal) -> list[bool]:
    return database.write_sync(lambda tx: post(tx, who, batch))


def balance(database: Database, merchant: MerchantId, code: str, owner: str = "") -> int:
    return database.read_sync(
        lambda tx: account_balance(tx, merchant, code=code, currency="ZAR", owner=owner)
    )


def ids_of(database: Database, who: Who) -> list[str]:
    return [posted.id for posted in database.read_sync(lambda tx: journals(tx, who, PageRequest(100))).rows]


def assert_sound(database: Database, who: Who = EVERYONE) -> None:
    """The books agree with themselves (invariants 1 and 2)."""
    assert database.read_sync(lambda tx: unsound_journals(tx, who)) == []
    assert database.read_sync(lambda tx: drifted_accounts(tx, who)) == []
    sums: Counter[str] = Counter()
    for line in database.read_sync(lambda tx: trial_balance(tx, who)):
        sums[line.currency] += line.debit - line.credit
    assert not any(sums.values())
