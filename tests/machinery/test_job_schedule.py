"""Cron ticks: the latest and the next, in a time zone whose clock changes twice a year."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.clock import MINUTE, Instant, from_datetime, parse_rfc3339, rfc3339
from paystate.machinery.jobs.schedule import parse_schedule

BERLIN = "Europe/Berlin"
BACK = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z")
FORTH = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z")


def ticks(expression: str, between: tuple[str, str], time_zone: str = BERLIN) -> list[str]:
    schedule = parse_schedule(expression, time_zone)
    at, end = map(parse_rfc3339, between)
    found: list[str] = []
    while (at := schedule.next(at)) <= end:
        assert schedule.latest(at) == at
        assert schedule.latest(Instant(at + 1)) == at
        assert schedule.latest(Instant(at - 1)) < at
        found.append(rfc3339(at))
    return found


def test_a_moment_that_comes_twice_ticks_once() -> None:
    assert ticks("30 2 * * *", BACK) == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]


def test_a_moment_that_is_skipped_ticks_once_an_hour_later() -> None:
    assert ticks("30 2 * * *", FORTH) == ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]


def test_a_skipped_tick_that_falls_on_another_is_one() -> None:
    assert ticks("0,30 2,3 * * *", ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z")) == [
        "2026-03-29T01:00:00Z",
        "2026-03-29T01:30:00Z",
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-07-01", 24)])
def test_a_schedule_of_every_hour_follows_real_time_on_a_day_of_any_length(day: str, hours: int) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(
        hours=2 if day != "2026-03-29" else 1
    )
    between = (rfc3339(from_datetime(midnight)), rfc3339(from_datetime(midnight + timedelta(hours=hours))))
    found = ticks("*/5 * * * *", between)
    assert len(found) == hours * 12
    assert {parse_rfc3339(b) - parse_rfc3339(a) for a, b in pairwise(found)} == {5 * MINUTE}


def test_the_zone_decides_what_ten_o_clock_is() -> None:
    day = ("2026-07-01T00:00:00Z", "2026-07-02T00:00:00Z")
    assert ticks("0 10 * * *", day, "UTC") == ["2026-07-01T10:00:00Z"]
    assert ticks("0 10 * * *", day) == ["2026-07-01T08:00:00Z"]
    assert ticks("0 10 * * *", day, "Asia/Kolkata") == ["2026-07-01T04:30:00Z"]


@given(st.integers(parse_rfc3339("2026-01-01T00:00:00Z"), parse_rfc3339("2028-01-01T00:00:00Z")))
def test_no_tick_lies_between_the_latest_and_the_next(at: int) -> None:
    for expression in ("*/15 * * * *", "30 2 * * *", "0 */4 * * *", "10 3 1 * *"):
        schedule = parse_schedule(expression, BERLIN)
        latest = schedule.latest(Instant(at))
        assert latest <= at < schedule.next(Instant(at))
        assert schedule.next(latest) == schedule.next(Instant(at))


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "@daily", "61 * * * *", "0 0 30 2 *", "R * * * *", "H * * * *", "*/0 * * * *", "x" * 200,
     "٣ * * * *", "* * * * *\n"],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused(expression: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(expression, "UTC")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe"])
def test_a_zone_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(KeyError):
        parse_schedule("* * * * *", zone)
