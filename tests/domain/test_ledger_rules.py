"""The pure half of the ledger: the chart, balanced journals, hashes, reversals, and every posting template."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.domain.ledger.rules import (
    CHART,
    CREDIT,
    DEBIT,
    Entry,
    Journal,
    account_id,
    account_of,
    check_balanced,
    credit,
    debit,
    input_hash,
    reversal_of,
    tags_text,
)
from paystate.domain.ledger.templates import (
    hand_settlement_matched,
    payment_captured,
    payment_completed,
    receipt_key,
    receipt_unapplied,
    settled_by_hand,
)
from paystate.kit.clock import Instant
from paystate.kit.errors import Refused
from paystate.kit.ids import MerchantId, is_id
from paystate.kit.money import EXPONENTS, MAX_AMOUNT, Money

SHOP = MerchantId("mer_shop")
AT = Instant(1_790_000_000_000_000)

moneys = st.builds(Money, st.integers(1, MAX_AMOUNT), st.sampled_from(sorted(EXPONENTS)))
names = st.text("abcxyz0189_:%.@-", min_size=1, max_size=12)
owners = st.none() | names


def sale(*entries: Entry, key: str = "k") -> Journal:
    lines = entries or (debit("1990", Money(5, "ZAR")), credit("4000", Money(5, "ZAR")))
    return Journal(
        merchant_id=SHOP, kind="manual", key=key, description="", tags={}, effective_at=AT, entries=lines
    )


def changed(journal: Journal, **fields: object) -> Journal:
    return msgspec.structs.replace(journal, **fields)


def hash_of(journal: Journal) -> str:
    return input_hash(journal, tags_text(journal))


def is_sound(journal: Journal) -> bool:
    check_balanced(journal)
    for entry in journal.entries:
        account_of(entry.code, entry.owner, entry.currency)
    return True


def net(*journals: Journal) -> Counter[tuple[str, str]]:
    """What the journals together leave on each account, debits positive; zeros are left out."""
    sums: Counter[tuple[str, str]] = Counter()
    for journal in journals:
        for entry in journal.entries:
            sums[entry.code, entry.owner] += entry.side * entry.amount
    return Counter({account: amount for account, amount in sums.items() if amount})


OWNERLESS = {
    "1990",
    "2305",
    "2320",
    "2500",
    "3000",
    "4000",
    "4010",
    "4100",
    "4900",
    "5110",
    "5120",
    "5200",
    "5210",
    "5300",
    "5400",
}


def test_the_chart_is_the_published_one() -> None:
    assert {c for c, a in CHART.items() if a.must_clear} == {
        "1110",
        "1120",
        "1990",
        "2010",
        "2220",
        "2305",
        "2320",
    }
    assert {c for c, a in CHART.items() if a.floored} == {"2100", "2200"}
    assert {c for c, a in CHART.items() if not a.has_owner} == OWNERLESS
    debits = {c for c, a in CHART.items() if a.normal == DEBIT}
    assert debits == {c for c in CHART if c[0] in "15"} | {"3900", "4010"}
    assert len(CHART) == 33


@pytest.mark.parametrize(
    ("code", "owner", "currency"),
    [("9999", "", "ZAR"), ("1100", "", "ZAR"), ("4000", "con_1", "ZAR"), ("4000", "", "XXX")],
)
def test_an_account_off_the_chart_is_refused(code: str, owner: str, currency: str) -> None:
    with pytest.raises(Refused):
        account_of(code, owner, currency)


def test_account_ids_follow_from_the_name_and_look_like_ids() -> None:
    made = {account_id(SHOP, "1100", f"con_{n}", "ZAR") for n in range(300)}
    assert len(made) == 300
    assert all(is_id("lac", each) for each in made)
    assert account_id(SHOP, "1100", "con_1", "ZAR") in made
    assert account_id(MerchantId("mer_other"), "1100", "con_1", "ZAR") not in made


@pytest.mark.parametrize(
    "entries",
    [
        (debit("1990", Money(5, "ZAR")), credit("4000", Money(4, "ZAR"))),
        (debit("1990", Money(5, "ZAR")), credit("4000", Money(5, "USD"))),
        (debit("1990", Money(5, "ZAR")), debit("4000", Money(5, "ZAR"))),
        (Entry("1990", "", "ZAR", DEBIT, 0), Entry("4000", "", "ZAR", CREDIT, 0)),
        (Entry("1990", "", "ZAR", DEBIT, -5), Entry("4000", "", "ZAR", CREDIT, -5)),
        (Entry("1990", "", "ZAR", DEBIT, 1.5), Entry("4000", "", "ZAR", CREDIT, 1.5)),
        (Entry("1990", "", "ZAR", DEBIT, True), Entry("4000", "", "ZAR", CREDIT, True)),
        (Entry("1990", "", "ZAR", 2, 5), Entry("4000", "", "ZAR", CREDIT, 10)),
        (debit("1990", Money(MAX_AMOUNT + 1, "ZAR")), credit("4000", Money(MAX_AMOUNT + 1, "ZAR"))),
        (debit("1990", Money(1, "ZAR")), credit("4000", Money(1, "ZAR"))) * 51,
        (debit("1990", Money(5, "ZAR")),),
    ],
)
def test_what_does_not_balance_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(Refused) as refusal:
        check_balanced(sale(*entries))
    assert refusal.value.code == "ledger_unbalanced"
    assert refusal.value.help["key"] == "k"


def test_no_entries_at_all_is_refused() -> None:
    with pytest.raises(Refused):
        check_balanced(changed(sale(), entries=()))


def test_each_currency_balances_by_itself() -> None:
    zar, usd = Money(5, "ZAR"), Money(3, "USD")
    asset = {"owner": "fx"}
    check_balanced(
        sale(
            debit("1990", zar), credit("3900", zar, **asset), debit("3900", usd, **asset), credit("4000", usd)
        )
    )


def test_the_hash_covers_what_is_booked_and_not_the_time() -> None:
    journal = changed(sale(), tags={"a": "1", "b": "2"})
    same = [changed(journal, effective_at=AT + 1), changed(journal, tags={"b": "2", "a": "1"})]
    others = [
        changed(journal, kind="other"),
        changed(journal, description="other"),
        changed(journal, tags={"a": "1"}),
        changed(journal, reverses_id="jnl_1"),
        changed(journal, entries=journal.entries[::-1]),
        changed(journal, entries=(debit("1990", Money(6, "ZAR")), credit("4000", Money(6, "ZAR")))),
    ]
    assert {hash_of(each) for each in same} == {hash_of(journal)}
    assert len({hash_of(each) for each in [journal, *others]}) == 1 + len(others)


@given(money=moneys, payment=names, connection=names)
def test_a_reversal_leaves_nothing(money: Money, payment: str, connection: str) -> None:
    journal = payment_captured(
        merchant_id=SHOP, payment_id=payment, connection_id=connection, money=money, effective_at=AT
    )
    undone = reversal_of(journal, journal_id="jnl_1", reason="booked twice", effective_at=AT)
    assert is_sound(undone)
    assert net(journal, undone) == {}
    assert (undone.reverses_id, undone.key, undone.merchant_id) == ("jnl_1", "journal:jnl_1:reversed", SHOP)


@given(money=moneys, payment=names, connection=names)
def test_a_capture_is_owed_by_the_provider(money: Money, payment: str, connection: str) -> None:
    journal = payment_captured(
        merchant_id=SHOP, payment_id=payment, connection_id=connection, money=money, effective_at=AT
    )
    assert is_sound(journal)
    assert journal.key == f"payment:{payment}:captured"
    assert net(journal) == {("1100", connection): money.amount, ("4000", ""): -money.amount}


@given(money=moneys, payment=names, connection=names, owner=owners, account=names, transaction=names)
def test_a_receipt_accepted_later_ends_like_a_capture(
    money: Money, payment: str, connection: str, owner: str | None, account: str, transaction: str
) -> None:
    came = receipt_unapplied(
        merchant_id=SHOP,
        connection_id=connection,
        provider="stripe",
        account=account,
        live=True,
        transaction_id=transaction,
        owner=owner,
        money=money,
        effective_at=AT,
    )
    accepted = taken_on(payment, owner, money)
    at_once = payment_captured(
        merchant_id=SHOP, payment_id=payment, connection_id=connection, money=money, effective_at=AT
    )
    assert is_sound(came)
    assert is_sound(accepted)
    held = ("2305", "") if owner is None else ("2300", owner)
    assert net(came) == {("1100", connection): money.amount, held: -money.amount}
    assert net(came, accepted) == net(at_once)
    assert accepted.key == at_once.key
    assert all(entry.code != "1100" for entry in accepted.entries)


def taken_on(payment: str, owner: str | None, money: Money) -> Journal:
    """A receipt that stood unapplied settles its payment."""
    return payment_completed(
        merchant_id=SHOP,
        payment_id=payment,
        came=None,
        held=[(owner, money)],
        asked=money,
        owner="cus_1",
        effective_at=AT,
    )


amounts = st.integers(1, 10**12)


@given(
    held=st.lists(st.tuples(st.one_of(st.none(), names), amounts), max_size=20),
    came=st.one_of(st.none(), amounts),
    asked=amounts,
    owner=names,
)
def test_receipts_that_settle_a_payment_together_balance_and_keep_the_surplus(
    held, came, asked, owner
) -> None:
    total = sum(amount for _, amount in held) + (came or 0)
    if total == 0:
        return
    journal = payment_completed(
        merchant_id=SHOP,
        payment_id="pay_1",
        came=None if came is None else ("con_1", Money(came, "EUR")),
        held=[(whose, Money(amount, "EUR")) for whose, amount in held],
        asked=Money(asked, "EUR"),
        owner=owner,
        effective_at=AT,
    )
    assert is_sound(journal)
    assert journal.key == "payment:pay_1:captured"
    nets = net(journal)
    assert nets[("4000", "")] == -min(asked, total)
    assert nets.get(("1100", "con_1"), 0) == (came or 0)
    unapplied = sum(amount for (code, _), amount in nets.items() if code in ("2300", "2305"))
    assert unapplied == sum(amount for _, amount in held) - max(0, total - asked)


@given(money=moneys, payment=names, owner=owners)
def test_a_matched_settlement_by_hand_ends_like_an_accepted_receipt(
    money: Money, payment: str, owner: str | None
) -> None:
    by_hand = settled_by_hand(merchant_id=SHOP, payment_id=payment, money=money, effective_at=AT)
    matched = hand_settlement_matched(
        merchant_id=SHOP, payment_id=payment, transaction_id="t", owner=owner, money=money, effective_at=AT
    )
    accepted = taken_on(payment, owner, money)
    assert is_sound(matched)
    nets = {account: amount for account, amount in net(by_hand, matched).items() if amount}
    assert nets == net(accepted)
    assert matched.key != by_hand.key


@given(money=moneys, payment=names)
def test_a_settlement_by_hand_waits_in_suspense(money: Money, payment: str) -> None:
    journal = settled_by_hand(merchant_id=SHOP, payment_id=payment, money=money, effective_at=AT)
    assert is_sound(journal)
    assert journal.key == f"payment:{payment}:captured"
    assert net(journal) == {("1990", ""): money.amount, ("4000", ""): -money.amount}


transactions = st.tuples(names, st.booleans(), names)


@given(one=transactions, other=transactions)
def test_two_transactions_never_share_a_key(one: tuple[str, bool, str], other: tuple[str, bool, str]) -> None:
    keys = [
        receipt_key(provider="sumup", account=a, live=live, transaction_id=t) for a, live, t in (one, other)
    ]
    assert (keys[0] == keys[1]) == (one == other)


def test_a_colon_in_an_account_cannot_borrow_a_key() -> None:
    assert receipt_key(provider="p", account="a:live:x", live=True, transaction_id="y") != receipt_key(
        provider="p", account="a", live=True, transaction_id="x:live:y"
    )
    assert receipt_key(provider="p", account="a", live=False, transaction_id="t") == "receipt:p:a:test:t"
