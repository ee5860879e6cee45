"""Outgoing budgets: never more than the rate in any second, nearly all of it usable, by one process or several."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paystate.kit.clock import FrozenClock, Instant, monotonic
from paystate.machinery.db import Database, open_database
from paystate.machinery.pacing import MemoryPacer, Pacer, SharedPacer, _take, book

RATE = 100.0


def most_in_a_second(times: list[float]) -> int:
    ordered, first, most = sorted(times), 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.fixture
def pacer(database: Database) -> Pacer:
    return MemoryPacer() if database.dialect == "sqlite" else SharedPacer(database)


async def test_a_grant_is_paced_without_a_burst(pacer: Pacer) -> None:
    before = monotonic()
    times = await pacer.grant("k", 20, 50)
    assert len(times) == 50
    assert times[0] >= before - 0.001
    assert min(b - a for a, b in pairwise(times)) > 0.0499
    assert times[-1] - times[0] < 49 * 0.0501


async def test_grants_follow_each_other_and_keys_are_apart(pacer: Pacer) -> None:
    first = await pacer.grant("k", 10, 5)
    other = await pacer.grant("other", 10, 1)
    second = await pacer.grant("k", 10, 5)
    assert second[0] - first[-1] == pytest.approx(0.1, abs=0.02)
    assert other[0] < first[1]


async def test_only_what_fits_the_horizon_is_granted(pacer: Pacer) -> None:
    assert len(await pacer.grant("k", 2, 100, 3)) == 7
    assert await pacer.grant("k", 2, 100, 3) == []
    assert len(await pacer.grant("k", 2, 100, 4.1)) == 2
    assert await pacer.grant("k", 2, 0) == []


async def test_below_one_call_a_block_one_call_is_a_block(pacer: Pacer) -> None:
    times = await pacer.grant("slow", 0.5, 9)
    assert [round(b - a, 3) for a, b in pairwise(times)] == [2.0] * 5


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3_000_000), st.integers(0, 40), st.integers(0, 10_000_000)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([2_000_000, 1_000_000, 333_334, 50_000, 10_000]),
)
def test_no_second_holds_more_than_the_rate(asks: list[tuple[int, int, int]], interval: int) -> None:
    next_free, now = 0, 1_000_000
    slots: list[int] = []
    for pause, wanted, horizon in asks:
        now += pause
        taken = book(now, next_free, interval=interval, wanted=wanted, horizon=horizon)
        assert len(taken) <= wanted
        assert all(max(now, next_free) <= slot <= now + horizon for slot in taken)
        slots += taken
        next_free = taken[-1] + interval if taken else next_free
    assert slots == sorted(slots)
    assert most_in_a_second([slot / 1_000_000 for slot in slots]) <= max(1, 1_000_000 / interval) + 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 5)), min_size=1, max_size=30),
    st.sampled_from([0.5, 3.0, 100.0]),
)
def test_the_memory_pacer_keeps_the_rate(asks: list[tuple[int, float]], rate: float) -> None:
    async def ask() -> list[float]:
        pacer = MemoryPacer()
        return [at for wanted, horizon in asks for at in await pacer.grant("k", rate, wanted, horizon)]

    times = asyncio.run(ask())
    assert times == sorted(times)
    assert most_in_a_second(times) <= max(1, rate) + 1


async def test_three_consumers_share_nearly_all_of_the_budget(database_url: str) -> None:
    """Real time, a database of its own clock: three processes' worth of pacers ask as often as they can."""
    databases = [open_database(database_url, pool_size=2) for _ in range(3)]
    shared = MemoryPacer()
    pacers: list[Pacer] = (
        [shared] * 3
        if database_url.startswith("sqlite")
        else [SharedPacer(database) for database in databases]
    )
    began, seconds = monotonic(), 2.0

    async def consume(pacer: Pacer) -> list[float]:
        mine: list[float] = []
        while monotonic() < began + seconds:
            mine += await pacer.grant("k", RATE, 7, 0.5)
            await asyncio.sleep(0.02)
        return mine

    shares = await asyncio.gather(*(consume(pacer) for pacer in pacers))
    for database in databases:
        database.close()
    times = [at for share in shares for at in share]
    used = [at for at in times if began <= at < began + seconds]
    assert len(used) >= 0.95 * RATE * seconds
    assert most_in_a_second(times) <= RATE + 1
    assert min(len(share) for share in shares) > 0


async def test_a_clock_set_back_does_not_stop_the_calls(database: Database, clock: FrozenClock) -> None:
    pacer = SharedPacer(database)
    await pacer.grant("k", 10, 5)
    clock.advance(-3_600_000_000)
    before = monotonic()
    times = await pacer.grant("k", 10, 2)
    assert len(times) == 2
    assert before - 0.001 <= times[0] < before + 1


async def test_blocks_of_several_consumers_never_overlap(database: Database, clock: FrozenClock) -> None:
    def take(wanted: int):
        return lambda tx: _take(tx, key="k", interval_us=10_000, wanted=wanted, horizon_us=5_000_000)[0]

    blocks = await asyncio.gather(*(database.write(take(n % 10 + 1)) for n in range(60)))
    slots = sorted(slot for block in blocks for slot in block)
    assert slots == [Instant(clock.now() + n * 10_000) for n in range(len(slots))]
    assert len(slots) == 330


async def test_a_full_memory_grants_new_keys_nothing_until_one_is_idle() -> None:
    pacer = MemoryPacer(max_keys=2)
    await pacer.grant("a", 1, 5)
    await pacer.grant("b", 1000, 1)
    async with asyncio.timeout(5):
        while not await pacer.grant("c", 1, 1):
            await asyncio.sleep(0.001)
    assert await pacer.grant("d", 1, 1) == []
    assert len(await pacer.grant("a", 1, 1)) == 1
