"""Money: exact conversions, golden values per exponent, splits that never lose a unit (threats T7 and T8)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.money import (
    EXPONENTS,
    MAX_AMOUNT,
    Money,
    TooManyDecimals,
    UnknownCurrency,
    exponent,
    major_units,
    parse_major,
    split,
)

AMOUNTS = st.integers(min_value=1, max_value=10**6)
CURRENCIES = st.sampled_from(sorted(EXPONENTS))

GOLDEN = [
    (1000, "JPY", "1000"),
    (1, "JPY", "1"),
    (0, "JPY", "0"),
    (1999, "EUR", "19.99"),
    (115, "EUR", "1.15"),
    (100, "EUR", "1.00"),
    (5, "EUR", "0.05"),
    (1005, "KWD", "1.005"),
    (1, "KWD", "0.001"),
    (100_000_000, "HBAR", "1.00000000"),
    (1, "HBAR", "0.00000001"),
    (1_500_000, "USDC", "1.500000"),
    (-1999, "EUR", "-19.99"),
    (-5, "EUR", "-0.05"),
    (MAX_AMOUNT, "EUR", "10000000000000.00"),
    (MAX_AMOUNT, "HBAR", "10000000.00000000"),
]


@pytest.mark.parametrize(("amount", "currency", "major"), GOLDEN)
def test_golden_values_in_both_directions(amount, currency, major):
    assert major_units(amount, currency) == major
    assert parse_major(major, currency) == Money(amount, currency)
    assert Money(amount, currency).major == major


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("10", "EUR", 1000),
        ("10.5", "EUR", 1050),
        ("10.500", "EUR", 1050),
        (".5", "EUR", 50),
        ("007", "JPY", 7),
    ],
)
def test_shorter_and_longer_forms_mean_the_same(text, currency, amount):
    assert parse_major(text, currency) == Money(amount, currency)


@given(st.integers(min_value=-MAX_AMOUNT, max_value=MAX_AMOUNT), CURRENCIES)
def test_round_trip_of_every_amount_and_currency(amount, currency):
    text = major_units(amount, currency)
    assert parse_major(text, currency) == Money(amount, currency)
    assert re.fullmatch(r"-?\d+" + (rf"\.\d{{{EXPONENTS[currency]}}}" if EXPONENTS[currency] else ""), text)


@pytest.mark.parametrize(
    ("text", "currency"), [("10.50", "JPY"), ("1.005", "EUR"), ("0.0005", "KWD"), ("0.000000001", "HBAR")]
)
def test_more_decimals_than_the_currency_has_are_refused(text, currency):
    with pytest.raises(TooManyDecimals):
        parse_major(text, currency)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1e3", "1,5", "1_000", " 1", "1 ", "+1", "NaN", "Infinity", "--1", "1-2", "1.2.3", "１"],
)
def test_what_is_no_plain_decimal_number_is_refused(text):
    with pytest.raises(ValueError, match="plain decimal"):
        parse_major(text, "EUR")


@pytest.mark.parametrize("currency", ["eur", "EU", "EURO", "XXX", "ZZZ", "ЕUR", "EUR ", ""])
def test_an_unknown_currency_has_no_meaning(currency):
    for act in (lambda: exponent(currency), lambda: Money(1, currency), lambda: parse_major("1", currency)):
        with pytest.raises(UnknownCurrency):
            act()


@pytest.mark.parametrize("amount", [1.0, "1", True, None])
def test_only_a_whole_number_is_an_amount(amount):
    with pytest.raises(TypeError):
        Money(amount, "EUR")


def test_sums_never_mix_currencies():
    assert Money(1, "EUR") + Money(2, "EUR") == Money(3, "EUR")
    assert Money(1, "EUR") - Money(2, "EUR") == Money(-1, "EUR")
    with pytest.raises(ValueError, match="do not add up"):
        Money(1, "EUR") + Money(1, "JPY")
    with pytest.raises(ValueError, match="do not add up"):
        Money(1, "EUR") - Money(1, "JPY")


@given(AMOUNTS, st.integers(min_value=1, max_value=50))
def test_equal_parts_sum_to_the_whole_and_differ_by_one_at_most(amount, n):
    parts = split(amount, [1] * n)
    assert sum(parts) == amount
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


@given(AMOUNTS, st.lists(st.integers(min_value=0, max_value=10**6), min_size=1, max_size=50).filter(any))
def test_weighted_parts_sum_to_the_whole_and_stay_within_one_unit_of_their_share(amount, weights):
    parts = split(amount, weights)
    total = sum(weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert amount * weight // total <= part <= amount * weight // total + 1
        assert weight or part == 0


def test_the_largest_remainder_gets_the_odd_unit():
    assert split(100, [1, 1, 1]) == [34, 33, 33]
    assert split(10, [1, 2]) == [3, 7]
    assert split(1, [3, 4]) == [0, 1]
    assert split(0, [1, 1]) == [0, 0]


@pytest.mark.parametrize(("amount", "weights"), [(-1, [1]), (1, []), (1, [0, 0]), (1, [2, -1])])
def test_a_split_without_meaning_is_refused(amount, weights):
    with pytest.raises(ValueError, match="split needs"):
        split(amount, weights)
