"""Cron schedules in a time zone: which moment is the latest tick, which the next, also on the days the clock changes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter

from paystate.kit.clock import Instant, as_datetime, from_datetime

MAX_EXPRESSION_LENGTH = 100
_FIELDS = 5
_EXPRESSION = re.compile(
    r"(?:[0-9*,/#-]|[A-Za-z]{3}|[Ll])+(?: +(?:[0-9*,/#-]|[A-Za-z]{3}|[Ll])+){4}\Z", re.ASCII
)
_SHIFT = timedelta(hours=2)
"""Wider than any daylight-saving step: only this near to a change can wall clock and time disagree on the order."""
_LONGEST_LOOK = 2 * 2 * 60 + 2
"""Ticks looked at near a change: one a minute for twice the shift, and both ends."""

_PROBE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Five cron fields read in one time zone.

    A schedule with `*` as its hour follows real time: it ticks through a repeated hour and over a skipped one.
    Any other ticks once per wall-clock moment: the first 02:30 of two, and for a 02:30 that is skipped, 03:30.
    """

    expression: str
    time_zone: str

    def latest(self, at: Instant) -> Instant:
        """The last tick at or before the moment."""
        return _nearest(self, at, forward=False)

    def next(self, after: Instant) -> Instant:
        """The first tick after the moment."""
        return _nearest(self, after, forward=True)


def parse_schedule(expression: str, time_zone: str) -> Schedule:
    """Raises ValueError for an expression that is wrong or can never tick, KeyError for an unknown time zone."""
    if len(expression) > MAX_EXPRESSION_LENGTH or not _EXPRESSION.match(expression):
        raise ValueError("five cron fields such as */15 * * * * are expected")
    croniter(expression, _PROBE).get_next(datetime)  # its errors are ValueErrors
    _zone(time_zone)
    return Schedule(expression, time_zone)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError) as error:  # not a plain name; a folder of the zone database
        raise KeyError(name) from error


def _nearest(schedule: Schedule, at: Instant, *, forward: bool) -> Instant:
    """Walk wall-clock ticks away from the moment; near a change look at all of them and take the nearest."""
    zone = _zone(schedule.time_zone)
    real = as_datetime(at)
    wall = _wall(real, zone)
    reach = _SHIFT if _changes_near(real, zone) else timedelta(0)
    fits: Callable[[Instant], bool] = (lambda tick: tick > at) if forward else (lambda tick: tick <= at)
    nearest = min if forward else max
    start = wall - reach if forward else wall.replace(microsecond=0) + reach + timedelta(seconds=1)
    ticks = croniter(schedule.expression, start)
    follows_time = ticks.expanded[1] == ["*"]
    best: Instant | None = None
    for _ in range(_LONGEST_LOOK):
        candidate: datetime = ticks.get_next(datetime) if forward else ticks.get_prev(datetime)
        found = [tick for tick in _instants(candidate, zone, both=follows_time) if fits(tick)]
        best = nearest([*found, best] if best is not None else found, default=None)
        if best is not None and abs(candidate - wall) >= reach:
            return best
    assert best is not None, "a schedule ticks within the looks allowed, or was refused"
    return best


def _wall(real: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows, labelled UTC so that arithmetic on it is plain."""
    return real.astimezone(zone).replace(tzinfo=UTC, fold=0)


def _changes_near(real: datetime, zone: ZoneInfo) -> bool:
    return (real - _SHIFT).astimezone(zone).utcoffset() != (real + _SHIFT).astimezone(zone).utcoffset()


def _instants(wall: datetime, zone: ZoneInfo, *, both: bool) -> list[Instant]:
    """The moments at which the wall shows this: none or two (`both`), or always exactly one."""
    first = wall.replace(tzinfo=zone, fold=0)
    if not both:
        return [from_datetime(first)]
    moments = {first.astimezone(UTC), wall.replace(tzinfo=zone, fold=1).astimezone(UTC)}
    return [from_datetime(moment) for moment in moments if _wall(moment, zone) == wall]
