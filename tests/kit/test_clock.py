"""Instants: whole microseconds, RFC 3339 with an offset and nothing else (fact F10)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.clock import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    FrozenClock,
    Instant,
    SystemClock,
    as_datetime,
    from_datetime,
    monotonic,
    parse_rfc3339,
    rfc3339,
    rfc3339_or_none,
)

NOVEMBER = Instant(1_700_000_000 * SECOND)
LAST = 253_338_451_200 * SECOND
"""Somewhere in the year 9997."""


def test_units_build_on_each_other():
    assert (MINUTE, HOUR, DAY) == (60 * SECOND, 3_600 * SECOND, 86_400 * SECOND)


def test_golden_texts():
    assert rfc3339(NOVEMBER) == "2023-11-14T22:13:20Z"
    assert rfc3339(NOVEMBER + 123_000) == "2023-11-14T22:13:20.123Z"
    assert rfc3339(NOVEMBER + 999) == "2023-11-14T22:13:20Z"
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339_or_none(None) is None
    assert rfc3339_or_none(NOVEMBER) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20+00:00",
        "2023-11-15T00:13:20+02:00",
        "2023-11-14T17:13:20-05:00",
        "2023-11-15T03:43:20+05:30",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14t22:13:20Z",
    ],
)
def test_one_instant_has_many_spellings(text):
    assert parse_rfc3339(text) == NOVEMBER


@pytest.mark.parametrize(
    "text",
    [
        "", "1700000000", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14 22:13", "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:01Z", "2026-01-01T23:60:00Z", "2026-01-01T00:00:00+25:00", "0001-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z", "2026-01-01T00:00:00 Europe/Berlin", "20260101T000000.000Z", "２０２６-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z", "2026-01-01X00:00:00Z", "x" * 10_000,
    ],
)  # fmt: skip
def test_what_is_no_instant_with_an_offset_is_refused(text):
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@given(st.integers(min_value=0, max_value=LAST // SECOND))
def test_seconds_survive_the_text(seconds):
    assert parse_rfc3339(rfc3339(seconds * SECOND)) == seconds * SECOND


@given(st.integers(min_value=0, max_value=LAST))
def test_microseconds_survive_the_datetime_exactly(at):
    moment = as_datetime(at)
    assert moment.tzinfo is UTC
    assert from_datetime(moment) == at
    assert from_datetime(moment.astimezone(timezone(timedelta(hours=5, minutes=45)))) == at


def test_a_frozen_clock_moves_only_when_told():
    clock = FrozenClock(NOVEMBER)
    assert clock.now() == clock.now() == NOVEMBER
    clock.advance(2 * HOUR)
    assert clock.now() == NOVEMBER + 7_200 * SECOND
    clock.advance(-HOUR)
    assert clock.now() == NOVEMBER + 3_600 * SECOND


def test_the_system_clock_reads_the_machine():
    before = from_datetime(datetime.now(UTC))
    assert before <= SystemClock().now() <= from_datetime(datetime.now(UTC))


def test_monotonic_never_goes_back():
    readings = [monotonic() for _ in range(100)]
    assert readings == sorted(readings)
