"""Time as whole microseconds since 1970 in UTC, the only place that reads a wall clock."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

Instant = NewType("Instant", int)
"""Microseconds since 1970-01-01T00:00:00Z."""

MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
_FIRST_YEAR, _LAST_YEAR = 1970, 9998


class Clock(Protocol):
    """Where a process reads the time; decisions on money take the database's time instead."""

    def now(self) -> Instant: ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000)


class FrozenClock:
    """A clock that moves only when told to: for tests and for replays."""

    def __init__(self, at: Instant) -> None:
        self._at = at

    def now(self) -> Instant:
        return self._at

    def advance(self, microseconds: int) -> None:
        self._at = Instant(self._at + microseconds)


def monotonic() -> float:
    """Seconds that never jump; for deadlines and durations inside one process."""
    return time.monotonic()


def rfc3339(at: Instant | int) -> str:
    """``1700000000000000`` → ``2023-11-14T22:13:20Z``; milliseconds only where they are not zero."""
    moment = _EPOCH + timedelta(microseconds=at)
    precision = "milliseconds" if moment.microsecond >= MILLISECOND else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def rfc3339_or_none(at: Instant | int | None) -> str | None:
    """The same for a column that may be empty."""
    return None if at is None else rfc3339(at)


def parse_rfc3339(text: str) -> Instant:
    """An instant from RFC 3339 with an offset. Raises ValueError for anything else (F10)."""
    if _RFC3339.match(text) is None:
        raise ValueError("not an RFC 3339 date and time with an offset")
    moment = datetime.fromisoformat(text)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError("the year is out of range")
    delta = moment - _EPOCH
    if delta.days < 0:
        raise ValueError("the time is before 1970")
    return Instant((delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds)


def as_datetime(at: Instant | int) -> datetime:
    """The instant as an aware datetime in UTC, for libraries that want one."""
    return _EPOCH + timedelta(microseconds=at)


def from_datetime(moment: datetime) -> Instant:
    """An instant from an aware datetime."""
    delta = moment.astimezone(UTC) - _EPOCH
    return Instant((delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds)
