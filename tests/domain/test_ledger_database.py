"""What the database itself refuses, whoever writes: unbalanced journals, changed history, broken floors."""

import json

import pytest
import sqlalchemy as sa

from paystate.domain.ledger import credit, debit, drifted_accounts, journals, unsound_journals
from paystate.domain.ledger import post as post_journals
from paystate.domain.ledger.model import MAX_BALANCE
from paystate.domain.ledger.rules import Journal
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict
from paystate.kit.ids import MerchantId, System
from paystate.kit.money import Money
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

SHOP = MerchantId("mer_shop")
AUDIT = System("test")
NOW = Instant(1_790_000_000_000_000)

JOURNAL = (
    "INSERT INTO journals (id, merchant_id, kind, key, input_hash, description, tags, effective_at, posted_at, "
    "reverses_id, commit_id) VALUES (:id, 'mer_shop', 'manual', :id, 'x', '', '{}', 1, 1, :reverses_id, 'cmt_1')"
)
ENTRIES = (
    "INSERT INTO journal_entries (journal_id, seq, merchant_id, account_id, currency, side, amount) "
    "SELECT :journal, :seq, merchant_id, id, currency, 1, :debit FROM ledger_accounts WHERE code = '1990' "
    "UNION ALL "
    "SELECT :journal, :seq + 1, merchant_id, id, currency, -1, :credit FROM ledger_accounts WHERE code = '4000'"
)


def run(tx: Tx, sql: str, **values: object) -> None:
    tx.execute(sa.text(sql), values)


def raw_journal(tx: Tx, name: str, *, debit: int, credit: int, reverses_id: str | None = None) -> None:
    """A journal by plain SQL, sealed where this database has seals."""
    run(tx, JOURNAL, id=name, reverses_id=reverses_id)
    run(tx, ENTRIES, journal=name, seq=1, debit=debit, credit=credit)
    if tx.on_sqlite:
        run(tx, "INSERT INTO journal_seals (journal_id) VALUES (:id)", id=name)


@pytest.fixture
def books(database: Database) -> Database:
    """A merchant with one sealed journal of 5.00 and an escrow that holds 1.00."""

    def fill(tx: Tx) -> None:
        run(
            tx,
            "INSERT INTO merchants (id, name, late_policy, stale_after_us, return_origins, created_at) "
            "VALUES ('mer_shop', 'Shop', 'review', 1, '[]', 1)",
        )
        five, one = Money(500, "ZAR"), Money(100, "ZAR")
        sold = (debit("1990", five), credit("4000", five))
        held = (debit("1990", one), credit("2100", one, owner="esc_1"))
        post_journals(tx, SHOP, [_journal("sold", sold), _journal("held", held)])

    database.write_sync(fill)
    return database


def _journal(key: str, entries: tuple) -> Journal:
    return Journal(
        merchant_id=SHOP, kind="manual", key=key, description="", tags={}, effective_at=NOW, entries=entries
    )


def first_id(tx: Tx) -> str:
    return tx.execute(sa.text("SELECT id FROM journals WHERE key = 'sold'")).scalar_one()


def test_a_balanced_raw_journal_is_taken(books: Database) -> None:
    books.write_sync(lambda tx: raw_journal(tx, "raw", debit=5, credit=5))
    assert books.read_sync(lambda tx: unsound_journals(tx, AUDIT)) == []


@pytest.mark.parametrize(("left", "right"), [(5, 4), (4, 5), (1, 10**15)])
def test_an_unbalanced_raw_journal_is_refused(books: Database, left: int, right: int) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="journal does not balance"):
        books.write_sync(lambda tx: raw_journal(tx, "raw", debit=left, credit=right))


def test_sides_in_different_currencies_are_refused(books: Database) -> None:
    def mixed(tx: Tx) -> None:
        run(
            tx,
            "INSERT INTO ledger_accounts (id, merchant_id, code, owner, currency, normal, floored, balance, version) "
            "VALUES ('lac_usd', 'mer_shop', '4000', '', 'USD', -1, false, 0, 0)",
        )
        run(tx, JOURNAL, id="raw", reverses_id=None)
        run(
            tx,
            "INSERT INTO journal_entries (journal_id, seq, merchant_id, account_id, currency, side, amount) "
            "SELECT 'raw', 1, merchant_id, id, currency, 1, 5 FROM ledger_accounts WHERE code = '1990' "
            "UNION ALL SELECT 'raw', 2, 'mer_shop', 'lac_usd', 'USD', -1, 5",
        )
        if tx.on_sqlite:
            run(tx, "INSERT INTO journal_seals (journal_id) VALUES ('raw')")

    with pytest.raises(sa.exc.IntegrityError, match="journal does not balance"):
        books.write_sync(mixed)


@pytest.mark.parametrize("currency", ["USD", "zar"])
def test_an_entry_in_another_currency_than_its_account_is_refused(books: Database, currency: str) -> None:
    def wrong(tx: Tx) -> None:
        run(tx, JOURNAL, id="raw", reverses_id=None)
        run(
            tx,
            "INSERT INTO journal_entries (journal_id, seq, merchant_id, account_id, currency, side, amount) "
            "SELECT 'raw', 1, merchant_id, id, :currency, 1, 5 FROM ledger_accounts WHERE code = '1990' "
            "UNION ALL "
            "SELECT 'raw', 2, merchant_id, id, :currency, -1, 5 FROM ledger_accounts WHERE code = '4000'",
            currency=currency,
        )

    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"):
        books.write_sync(wrong)


def test_nothing_is_added_to_a_journal_that_stands(books: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="journal is sealed"):
        books.write_sync(lambda tx: run(tx, ENTRIES, journal=first_id(tx), seq=3, debit=7, credit=7))


@pytest.mark.parametrize("amount", [0, -5, 10**15 + 1])
def test_an_amount_out_of_range_is_refused(books: Database, amount: int) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="amount_range"):
        books.write_sync(lambda tx: raw_journal(tx, "raw", debit=amount, credit=amount))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journals SET description = 'other'",
        "DELETE FROM journals",
        "UPDATE journal_entries SET amount = amount + 1",
        "DELETE FROM journal_entries",
    ],
)
def test_history_is_never_changed(books: Database, statement: str) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        books.write_sync(lambda tx: run(tx, statement))


def test_history_is_never_truncated_nor_unsealed(books: Database) -> None:
    sqlite = books.dialect == "sqlite"
    statement = "DELETE FROM journal_seals" if sqlite else "TRUNCATE journals, journal_entries, journal_seals"
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        books.write_sync(lambda tx: run(tx, statement))


@pytest.mark.parametrize(
    "change", ["normal = -normal", "floored = NOT floored", "owner = 'x'", "currency = 'USD'"]
)
def test_an_account_keeps_its_name_and_nature(books: Database, change: str) -> None:
    with pytest.raises(sa.exc.IntegrityError, match=r"never change|append-only"):
        books.write_sync(lambda tx: run(tx, f"UPDATE ledger_accounts SET {change} WHERE code = '2100'"))


def test_a_floored_balance_cannot_go_below_zero(books: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="floor"):
        books.write_sync(lambda tx: run(tx, "UPDATE ledger_accounts SET balance = -1 WHERE code = '2100'"))


def test_a_balance_never_leaves_whole_numbers(books: Database) -> None:
    def grow(tx: Tx) -> None:
        run(tx, f"UPDATE ledger_accounts SET balance = {MAX_BALANCE} WHERE code = '4000'")
        run(
            tx,
            f"UPDATE ledger_accounts SET balance = balance + {2**63 - 1 - MAX_BALANCE} WHERE code = '4000'",
        )

    with pytest.raises(sa.exc.IntegrityError, match="balance_range"):
        books.write_sync(grow)


def test_a_journal_is_reversed_once_whoever_writes(books: Database) -> None:
    def twice(tx: Tx) -> None:
        for name in ("one", "two"):
            raw_journal(tx, name, debit=5, credit=5, reverses_id=first_id(tx))

    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
        books.write_sync(twice)


def test_an_unsealed_journal_does_not_count_and_is_found(books: Database) -> None:
    def unsealed(tx: Tx) -> None:
        run(tx, JOURNAL, id="raw", reverses_id=None)
        if tx.on_sqlite:
            run(tx, ENTRIES, journal="raw", seq=1, debit=5, credit=4)

    books.write_sync(unsealed)
    assert books.read_sync(lambda tx: unsound_journals(tx, AUDIT)) == ["raw"]
    assert books.read_sync(lambda tx: drifted_accounts(tx, AUDIT)) == []
    if books.dialect == "sqlite":
        listed = books.read_sync(lambda tx: journals(tx, SHOP, PageRequest())).rows
        assert {posted.journal.key for posted in listed} == {"sold", "held"}


def test_a_balance_changed_by_hand_is_found(books: Database) -> None:
    books.write_sync(
        lambda tx: run(tx, "UPDATE ledger_accounts SET balance = balance + 1 WHERE code = '4000'")
    )
    [drift] = books.read_sync(lambda tx: drifted_accounts(tx, SHOP))
    assert (drift.account.code, drift.account.balance, drift.entries_sum) == ("4000", 501, 500)
    assert drift.account.name == "Sales"
    assert books.read_sync(lambda tx: drifted_accounts(tx, MerchantId("mer_other"))) == []


def test_tags_are_stored_as_json(books: Database) -> None:
    entries = (debit("1990", Money(1, "ZAR")), credit("4000", Money(1, "ZAR")))
    tagged = Journal(
        merchant_id=SHOP,
        kind="manual",
        key="tagged",
        description="é",
        tags={"b": '"', "a": "ü"},
        effective_at=NOW,
        entries=entries,
    )
    books.write_sync(lambda tx: post_journals(tx, SHOP, [tagged]))
    stored = books.read_sync(
        lambda tx: tx.execute(sa.text("SELECT tags FROM journals WHERE key = 'tagged'")).scalar_one()
    )
    assert json.loads(stored) == {"a": "ü", "b": '"'}
    page = books.read_sync(lambda tx: journals(tx, SHOP, PageRequest()))
    assert tagged in [posted.journal for posted in page.rows]


def test_the_floor_of_the_table_stands_behind_the_code(books: Database) -> None:
    """The refusal comes before the database has to: the transaction can still answer."""
    two = Money(200, "ZAR")
    spend = _journal("spend", (debit("2100", two, owner="esc_1"), credit("2320", two)))

    def try_it(tx: Tx) -> str:
        with pytest.raises(Conflict) as conflict:
            post_journals(tx, SHOP, [spend])
        run(tx, "SELECT 1")
        return conflict.value.code

    assert books.write_sync(try_it) == "insufficient_funds"
