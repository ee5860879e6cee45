"""Ids: shape, order in time, fresh randomness (threat T25)."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.ids import (
    REFERENCE_LENGTH,
    System,
    is_id,
    is_short_code,
    new_id,
    new_provider_reference,
    new_short_code,
)

NOW = 1_700_000_000_000_000
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@given(st.integers(min_value=0, max_value=250_000_000_000_000_000))
def test_a_new_id_has_its_shape_at_any_time(now):
    made = new_id("pay", now)
    assert len(made) == 30
    assert is_id("pay", made)
    assert not is_id("inv", made)


@given(st.integers(min_value=0, max_value=10**17), st.integers(min_value=1_000, max_value=10**15))
def test_ids_sort_by_their_millisecond(now, later):
    assert new_id("pay", now) < new_id("pay", now + later)


def test_neighbours_share_only_their_time():
    ids = [new_id("pay", NOW) for _ in range(2_000)]
    assert len({i[:14] for i in ids}) == 1
    randoms = sorted(int.from_bytes(i[14:].encode()) for i in ids)
    assert len(set(randoms)) == len(ids)
    assert 1 not in {b - a for a, b in itertools.pairwise(randoms)}


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "-1", "../x", "%00", "pay_", "pay_\0", "x" * 10_000, "pay_" + "0" * 25, "pay_" + "0" * 27,
        "PAY_" + "0" * 26, "pay_" + "A" * 26, "pay_" + "i" * 26, "pay_8" + "0" * 25, "pay_" + "0" * 26 + "\n",
    ],
)  # fmt: skip
def test_other_texts_are_no_ids(text):
    assert not is_id("pay", text)


def test_an_upper_case_id_is_another_id():
    assert not is_id("pay", new_id("pay", NOW).upper())


def test_short_codes_use_the_whole_alphabet_evenly():
    codes = [new_short_code() for _ in range(2_000)]
    assert all(is_short_code(code) for code in codes)
    assert len(set(codes)) == len(codes)
    counted = Counter("".join(code[1:] for code in codes))
    expected = 25 * len(codes) / len(ALPHABET)
    assert set(counted) == set(ALPHABET)
    assert all(0.8 * expected < times < 1.2 * expected for times in counted.values())


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "O" * 26, "0" * 25 + "u", "0" * 26 + "\n", "0" * 25 + "A"]
)
def test_other_texts_are_no_short_codes(text):
    assert not is_short_code(text)


def test_a_provider_reference_fits_every_provider():
    references = {new_provider_reference() for _ in range(1_000)}
    assert len(references) == 1_000
    for reference in references:
        assert len(reference) == REFERENCE_LENGTH
        assert reference.isalnum()
        assert reference == reference.lower()


def test_reading_across_merchants_needs_a_reason():
    assert repr(System("audit")) == "System('audit')"
    with pytest.raises(ValueError, match="reason"):
        System("")
