"""Posting to real databases: batches, replays, floors, reversals, and what the books say afterwards."""

import secrets
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.domain.ledger_books import (
    AT,
    EVERYONE,
    a_merchant,
    assert_sound,
    balance,
    book,
    captured,
    hold,
    ids_of,
    journal,
    release,
    some_merchants,
)

from paystate.domain.ledger import (
    Journal,
    account_balance,
    accounts,
    credit,
    debit,
    journals,
    payment_completed,
    post,
    receipt_unapplied,
    reverse,
    trial_balance,
)
from paystate.domain.ledger.rules import CHART
from paystate.kit.clock import FrozenClock
from paystate.kit.errors import Conflict, NotFound, Refused
from paystate.kit.money import Money
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

THREADS = 20


def test_a_capture_moves_both_accounts(database: Database) -> None:
    shop = a_merchant(database)
    assert book(database, shop, captured(shop, "pay_1")) == [True]
    assert balance(database, shop, "1100", "con_1") == 500
    assert balance(database, shop, "4000") == 500
    assert_sound(database)


def test_nothing_to_book_books_nothing(database: Database) -> None:
    assert book(database, EVERYONE) == []


def test_a_replay_is_found_and_books_nothing(database: Database) -> None:
    shop = a_merchant(database)
    first, second = captured(shop, "pay_1"), captured(shop, "pay_2")
    assert book(database, shop, first) == [True]
    assert book(database, shop, second, first, second) == [True, False, False]
    assert book(database, shop, first, second) == [False, False]
    assert balance(database, shop, "4000") == 1000
    assert len(ids_of(database, shop)) == 2
    assert_sound(database)


def test_a_key_with_another_content_is_a_conflict(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, captured(shop, "pay_1"))
    for batch in ([captured(shop, "pay_1", 501)], [captured(shop, "pay_2"), captured(shop, "pay_2", 7)]):
        with pytest.raises(Conflict) as conflict:
            book(database, shop, captured(shop, "pay_3"), *batch)
        assert conflict.value.code == "journal_key_reused"
    assert balance(database, shop, "4000") == 500


def test_two_merchants_may_use_one_key(database: Database) -> None:
    one, other = some_merchants(database, 2)
    assert book(database, EVERYONE, captured(one, "pay_1", 5), captured(other, "pay_1", 7)) == [True, True]
    assert (balance(database, one, "4000"), balance(database, other, "4000")) == (5, 7)


def test_a_batch_of_many_merchants_costs_as_many_statements_as_one_journal(database: Database) -> None:
    shops = some_merchants(database, 20)
    statements: list[str] = []

    def post_counted(tx: Tx, batch: Sequence[Journal]) -> int:
        def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        sa.event.listen(tx.conn, "before_cursor_execute", note)
        try:
            assert all(post(tx, EVERYONE, batch))
        finally:
            sa.event.remove(tx.conn, "before_cursor_execute", note)
        return len(statements)

    one = database.write_sync(lambda tx: post_counted(tx, [captured(shops[0], "pay_x")]))
    statements.clear()
    batch = [captured(shop, f"pay_{n}", n + 1) for n in range(10) for shop in shops]
    many = database.write_sync(lambda tx: post_counted(tx, batch))
    assert one == many <= 8
    assert [balance(database, shop, "4000") for shop in shops] == [555] + [55] * 19
    assert_sound(database)


def test_a_journal_of_another_merchant_is_our_own_mistake(database: Database) -> None:
    one, other = some_merchants(database, 2)
    with pytest.raises(AssertionError):
        book(database, one, captured(one, "pay_1"), captured(other, "pay_2"))
    assert ids_of(database, EVERYONE) == []


def test_an_unbalanced_journal_refuses_the_whole_batch(database: Database) -> None:
    shop = a_merchant(database)
    bad = journal(shop, "bad", debit("1990", Money(5, "ZAR")), credit("4000", Money(4, "ZAR")))
    with pytest.raises(Refused) as refusal:
        book(database, shop, captured(shop, "pay_1"), bad)
    assert refusal.value.code == "ledger_unbalanced"
    assert ids_of(database, shop) == []


def test_an_account_off_the_chart_refuses_the_batch(database: Database) -> None:
    shop = a_merchant(database)
    bad = journal(shop, "bad", debit("1100", Money(5, "ZAR")), credit("4000", Money(5, "ZAR")))
    with pytest.raises(Refused):
        book(database, shop, bad)
    assert ids_of(database, shop) == []


def test_a_floor_holds(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, hold(shop, "hold", 100), release(shop, "first", 60))
    with pytest.raises(Conflict) as conflict:
        book(database, shop, captured(shop, "pay_1"), release(shop, "second", 41))
    assert conflict.value.code == "insufficient_funds"
    assert dict(conflict.value.help) == {
        "account": "2100",
        "owner": "esc_1",
        "currency": "ZAR",
        "available": 40,
    }
    assert book(database, shop, release(shop, "second", 40)) == [True]
    assert balance(database, shop, "2100", "esc_1") == 0
    assert balance(database, shop, "2200", "pye_1") == 100
    assert_sound(database)


def test_accounts_made_by_a_batch_that_failed_are_made_again(database: Database) -> None:
    shop = a_merchant(database)

    def fail(tx: Tx) -> None:
        post(tx, shop, [captured(shop, "pay_1")])
        post(tx, shop, [captured(shop, "pay_2")])
        raise Conflict("no")

    with pytest.raises(Conflict):
        database.write_sync(fail)
    assert book(database, shop, captured(shop, "pay_1")) == [True]
    assert balance(database, shop, "4000") == 500


def test_a_reversal_happens_once(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, captured(shop, "pay_1"))
    [first] = ids_of(database, shop)
    reversal = database.write_sync(lambda tx: reverse(tx, shop, first, "booked twice"))
    for reason in ("booked twice", "another reason"):
        with pytest.raises(Conflict) as conflict:
            database.write_sync(lambda tx, reason=reason: reverse(tx, shop, first, reason))
        assert conflict.value.code == "invalid_state"
        assert conflict.value.help["reversal"] == reversal
    assert balance(database, shop, "4000") == balance(database, shop, "1100", "con_1") == 0
    posted = {p.id: p for p in database.read_sync(lambda tx: journals(tx, shop, PageRequest())).rows}
    assert posted[reversal].journal.reverses_id == first
    assert posted[reversal].journal.description == "booked twice"
    assert_sound(database)


def test_a_reversal_respects_the_floor(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, hold(shop, "hold", 100), release(shop, "first", 1))
    held = database.read_sync(lambda tx: journals(tx, shop, PageRequest())).rows
    [hold_id] = [posted.id for posted in held if posted.journal.key == "hold"]
    with pytest.raises(Conflict) as conflict:
        database.write_sync(lambda tx: reverse(tx, shop, hold_id, "oops"))
    assert conflict.value.code == "insufficient_funds"


def test_another_merchants_journal_is_not_found(database: Database) -> None:
    shop, other = some_merchants(database, 2)
    book(database, shop, captured(shop, "pay_1"))
    [first] = ids_of(database, shop)
    for journal_id in (first, "jnl_unknown"):
        with pytest.raises(NotFound):
            database.write_sync(lambda tx, wanted=journal_id: reverse(tx, other, wanted, "mine now"))
    assert ids_of(database, other) == []
    assert database.read_sync(lambda tx: trial_balance(tx, other)) == []
    assert database.read_sync(lambda tx: accounts(tx, other, PageRequest())).rows == []


def test_a_provider_transaction_debits_its_clearing_account_once(database: Database) -> None:
    shop, money = a_merchant(database), Money(500, "ZAR")
    came = receipt_unapplied(
        merchant_id=shop,
        connection_id="con_1",
        provider="stripe",
        account="acct_1",
        live=True,
        transaction_id="txn_1",
        owner="cus_1",
        money=money,
        effective_at=AT,
    )
    accepted = payment_completed(
        merchant_id=shop,
        payment_id="pay_1",
        came=None,
        held=[("cus_1", money)],
        asked=money,
        owner="cus_1",
        effective_at=AT,
    )
    assert book(database, shop, came, accepted) == [True, True]
    assert book(database, shop, came, accepted) == [False, False]
    with pytest.raises(Conflict):
        book(database, shop, captured(shop, "pay_1"))
    assert balance(database, shop, "1100", "con_1") == 500
    assert balance(database, shop, "2300", "cus_1") == 0


def test_pages_follow_on_without_gap_or_repeat(database: Database, clock: FrozenClock) -> None:
    shop, other = some_merchants(database, 2)
    for n in range(5):
        clock.advance(1_000)
        book(database, EVERYONE, captured(shop, f"pay_{n}"), captured(other, f"pay_{n}"))
        book(database, shop, hold(shop, f"hold_{n}", 5))
    seen: list[str] = []
    after: str | None = None
    for _ in range(5):
        page = database.read_sync(
            lambda tx, after=after: journals(tx, shop, PageRequest(2, after), kind="payment_captured")
        )
        seen += [posted.journal.key for posted in page.rows]
        after = page.next_position
        if after is None:
            break
    assert seen == [f"payment:pay_{n}:captured" for n in (4, 3, 2, 1, 0)]
    first = database.read_sync(lambda tx: accounts(tx, shop, PageRequest(2)))
    rest = database.read_sync(lambda tx: accounts(tx, shop, PageRequest(2, first.next_position)))
    assert [(a.code, a.owner, a.balance) for a in [*first.rows, *rest.rows]] == [
        ("1100", "con_1", 2525),
        ("2100", "esc_1", 25),
        ("4000", "", 2500),
    ]
    assert rest.next_position is None
    [escrow] = database.read_sync(lambda tx: accounts(tx, shop, PageRequest(), code="2100")).rows
    touching = database.read_sync(lambda tx: journals(tx, shop, PageRequest(), account=escrow.id)).rows
    assert [posted.journal.key for posted in touching] == [f"hold_{n}" for n in (4, 3, 2, 1, 0)]
    assert touching[0].journal == hold(shop, "hold_4", 5)


def test_the_trial_balance_shows_each_side(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, captured(shop, "pay_1"), hold(shop, "hold", 70))
    lines = database.read_sync(lambda tx: trial_balance(tx, shop))
    assert [(line.code, line.name, line.debit, line.credit) for line in lines] == [
        ("1100", "Provider clearing", 570, 0),
        ("2100", "Escrow held", 0, 70),
        ("4000", "Sales", 0, 500),
    ]


def test_threads_posting_to_the_same_accounts_lose_nothing(database: Database) -> None:
    shops = some_merchants(database, 3)

    def one_thread(number: int) -> int:
        new = 0
        for round_ in range(4):
            own = [captured(shops[n % 3], f"own_{number}_{round_}_{n}", n + 1) for n in range(10)]
            shared = [captured(shop, f"shared_{round_}_{n}", 1000) for n in range(5) for shop in shops]
            batch = [*own, *shared] if number % 2 else [*shared[::-1], *own[::-1]]
            new += sum(book(database, EVERYONE, *batch))
        return new

    with ThreadPoolExecutor(THREADS) as threads:
        new = sum(threads.map(one_thread, range(THREADS)))
    assert new == THREADS * 4 * 10 + 4 * 5 * 3
    total = sum(balance(database, shop, "4000") for shop in shops)
    assert total == THREADS * 4 * 55 + 4 * 5 * 3 * 1000
    assert_sound(database)


def test_threads_draining_one_floored_account_stop_at_zero(database: Database) -> None:
    shop = a_merchant(database)
    book(database, shop, hold(shop, "hold", 7))

    def drain(number: int) -> str:
        try:
            return (
                "taken" if book(database, shop, release(shop, f"drain_{number}", 1)) == [True] else "replayed"
            )
        except Conflict as conflict:
            return conflict.code

    with ThreadPoolExecutor(THREADS) as threads:
        outcomes = Counter(threads.map(drain, range(THREADS)))
    assert outcomes == {"taken": 7, "insufficient_funds": THREADS - 7}
    assert balance(database, shop, "2100", "esc_1") == 0
    assert balance(database, shop, "2200", "pye_1") == 7
    assert_sound(database)


UNFLOORED = sorted(code for code, account in CHART.items() if not account.floored)
legs = st.tuples(
    st.sampled_from(UNFLOORED),
    st.sampled_from(UNFLOORED),
    st.sampled_from(["a", "b"]),
    st.integers(1, 10**12),
    st.sampled_from(["ZAR", "JPY", "HBAR"]),
)
facts = st.lists(st.lists(legs, min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=facts, data=st.data())
def test_balances_are_what_a_plain_sum_says(
    database: Database, facts: list[list[tuple]], data: st.DataObject
) -> None:
    shop, prefix = a_merchant(database), secrets.token_hex(4)

    def owned(code: str, owner: str) -> str:
        return owner if CHART[code].has_owner else ""

    expected: Counter[tuple[str, str, str]] = Counter()
    batch: list[Journal] = []
    for n, fact in enumerate(facts):
        lines = []
        for left, right, owner, amount, currency in fact:
            money = Money(amount, currency)
            lines += [
                debit(left, money, owner=owned(left, owner)),
                credit(right, money, owner=owned(right, owner)),
            ]
        batch.append(journal(shop, f"{prefix}:{n}", *lines))
        for e in lines:
            expected[e.code, e.owner, e.currency] += e.side * e.amount * CHART[e.code].normal
    order = data.draw(st.lists(st.sampled_from(batch), max_size=12)) + batch
    cut = data.draw(st.integers(0, len(order)))
    answers = book(database, shop, *order[:cut]) + book(database, shop, *order[cut:])
    assert sum(answers) == len(batch)
    for (code, owner, currency), amount in expected.items():
        found = database.read_sync(
            lambda tx, c=code, o=owner, cur=currency: account_balance(tx, shop, code=c, owner=o, currency=cur)
        )
        assert found == amount
    assert_sound(database, shop)
