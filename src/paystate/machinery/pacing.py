"""Outgoing budgets: at most so many calls a second per key, evenly spaced, counted when granted (docs/reference/payment-states.md)."""

from collections import deque
from functools import partial
from math import ceil
from typing import Protocol

import sqlalchemy as sa

from paystate.kit.clock import SECOND, monotonic
from paystate.machinery.db import Database, Tx, bulk_insert
from paystate.machinery.db.schema import metadata, micros

HORIZON_SECONDS = 10.0
MAX_HORIZON_SECONDS = 60.0
BLOCK_SECONDS = 0.1
MAX_BLOCKS = 1_000
"""Blocks one grant may take; each is a transaction of its own."""

MAX_KEYS = 10_000
_OFFSETS_KEPT = 32
_CLOCK_STEP_SECONDS = 1.0

pacing = sa.Table(
    "pacing",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column(
        "next_free_us", micros, nullable=False, comment="By the database's clock: nothing is granted before"
    ),
)


class Pacer(Protocol):
    """Shares out a budget. A granted moment that is not used is lost: there is no burst afterwards."""

    async def grant(
        self, key: str, rate_per_second: float, wanted: int, horizon_seconds: float = HORIZON_SECONDS
    ) -> list[float]:
        """Monotonic times, ascending, at which one call each may go out: at most `wanted`, all within the horizon."""


class MemoryPacer:
    """For one process, which owns the whole budget."""

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._next_free: dict[str, int] = {}
        self._max_keys = max_keys

    async def grant(
        self, key: str, rate_per_second: float, wanted: int, horizon_seconds: float = HORIZON_SECONDS
    ) -> list[float]:
        """When every key known is busy, a new one gets nothing: a budget is never forgotten while it binds."""
        _check(rate_per_second, wanted, horizon_seconds)
        now = int(monotonic() * SECOND)
        if key not in self._next_free and not self._has_room(now):
            return []
        interval = ceil(SECOND / rate_per_second)
        free = self._next_free.get(key, now)
        slots = book(now, free, interval=interval, wanted=wanted, horizon=int(horizon_seconds * SECOND))
        if slots:
            self._next_free[key] = slots[-1] + interval
        return [slot / SECOND for slot in slots]

    def _has_room(self, now: int) -> bool:
        if len(self._next_free) >= self._max_keys:
            self._next_free = {key: free for key, free in self._next_free.items() if free > now}
        return len(self._next_free) < self._max_keys


class SharedPacer:
    """For any number of processes on one PostgreSQL: one row per key, taken in blocks, so that all get their share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offsets: deque[float] = deque(maxlen=_OFFSETS_KEPT)

    async def grant(
        self, key: str, rate_per_second: float, wanted: int, horizon_seconds: float = HORIZON_SECONDS
    ) -> list[float]:
        _check(rate_per_second, wanted, horizon_seconds)
        most = max(1, int(rate_per_second * BLOCK_SECONDS))
        interval_us = ceil(SECOND / rate_per_second)
        times: list[float] = []
        for _ in range(MAX_BLOCKS):
            size = min(most, wanted - len(times))
            if size == 0:
                break
            take = partial(
                _take, key=key, interval_us=interval_us, wanted=size, horizon_us=int(horizon_seconds * SECOND)
            )
            slots, now_us, seen_at = await self._database.write(take)
            offset = self._offset(seen_at - now_us / SECOND)
            times += [slot / SECOND + offset for slot in slots]
            if len(slots) < size:
                break
        return times

    def _offset(self, sample: float) -> float:
        """Monotonic minus database time. A slow answer makes a sample too large, so the least of the last ones is true."""
        if self._offsets and abs(sample - min(self._offsets)) > _CLOCK_STEP_SECONDS:
            self._offsets.clear()
        self._offsets.append(sample)
        return min(self._offsets)


def _take(
    tx: Tx, *, key: str, interval_us: int, wanted: int, horizon_us: int
) -> tuple[list[int], int, float]:
    """Take one block. The row is locked before the time is read, so that no wait makes the time old."""
    bulk_insert(tx, pacing, [{"key": key, "next_free_us": 0}], skip_existing=("key",))
    next_free = tx.execute(
        sa.select(pacing.c.next_free_us).where(pacing.c.key == key).with_for_update()
    ).scalar_one()
    now, seen_at = tx.now, monotonic()
    if next_free > now + MAX_HORIZON_SECONDS * SECOND + interval_us:
        next_free = now  # nobody grants that far ahead: the database's clock was set back
    slots = book(now, next_free, interval=interval_us, wanted=wanted, horizon=horizon_us)
    if slots:
        tx.execute(pacing.update().where(pacing.c.key == key).values(next_free_us=slots[-1] + interval_us))
    return slots, now, seen_at


def book(now: int, next_free: int, *, interval: int, wanted: int, horizon: int) -> list[int]:
    """The next moments one interval apart, none before now and none after the horizon; all in microseconds."""
    start = max(now, next_free)
    room = now + horizon - start
    return [] if room < 0 else [start + n * interval for n in range(min(wanted, room // interval + 1))]


def _check(rate_per_second: float, wanted: int, horizon_seconds: float) -> None:
    assert rate_per_second > 0
    assert wanted >= 0
    assert 0 <= horizon_seconds <= MAX_HORIZON_SECONDS
