"""Figures `budget` and `list-calls`: how much of a provider's rate is used, and what a list saves."""

import json
from functools import partial
from urllib.request import urlopen

import uvloop

from benchmarks import seed
from benchmarks.figure import Figure, spread
from benchmarks.place import Place
from benchmarks.processes import child
from benchmarks.verification import timed
from paystate.app import close_app
from paystate.flows.verify_payments import Verifier
from paystate.machinery.db import open_database

RATE, CALLS, BUDGET_RUNS = 100, 1_000, 3
BUDGET_GOAL = 0.95
PENDING, FOREIGN = 10_000, 4_000
CALLS_GOAL = 150.0
OLDER_US = 2 * 3_600 * 1_000_000
"""Attempts of two hours ago are looked at every five minutes: none becomes due again while it is measured."""


def budget(place: Place) -> Figure:
    """A thousand due attempts at a provider that allows a hundred calls a second, asked one by one."""
    values, calls = [], []
    with child("benchmarks.stub", "open", log=place.log_path()) as stub:
        port = int(stub.hear()["port"])
        template = place.template(f"budget:{port}", partial(_fill, port, CALLS, RATE, place))
        for _ in range(BUDGET_RUNS):
            before = _calls(port)
            with place.copy_of(template) as url:
                seconds = uvloop.run(_drain(place, url, verify_list_from=0))
            calls.append(_calls(port) - before)
            values.append(calls[-1] / RATE / seconds)
    return Figure(
        name="budget",
        database=place.kind,
        values=values,
        against=f"a budget of {RATE} calls a second, used up by {CALLS:,} due attempts",
        goal=BUDGET_GOAL,
        details=[spread("calls", [float(n) for n in calls], "in a run")],
    )


def list_calls(place: Place) -> Figure:
    """Ten thousand due attempts among foreign objects, pages of a hundred, new objects arriving all the time."""
    with child("benchmarks.stub", f"list:{PENDING}:{FOREIGN}", log=place.log_path()) as stub:
        port = int(stub.hear()["port"])
        template = place.template(f"listed:{port}", partial(_fill, port, PENDING, seed.HIGHEST_RATE, place))
        with place.copy_of(template) as url:
            seconds = uvloop.run(_drain(place, url))
            answered = _answered(url)
        calls = _calls(port)
    if answered != PENDING:
        raise RuntimeError(f"only {answered} of {PENDING} attempts were answered")
    return Figure(
        name="list-calls",
        database=place.kind,
        values=[float(calls)],
        against=f"calls for {PENDING:,} due attempts among {FOREIGN:,} foreign objects, in pages of 100",
        goal=CALLS_GOAL,
        better="lower",
        unit=" calls",
        details=[f"{PENDING / seconds:,.0f} attempts answered a second"],
    )


def _fill(port: int, count: int, rate: int, place: Place, url: str) -> None:
    seed.fill(url, place.key, count, base_url=f"http://127.0.0.1:{port}", due=True)
    database = open_database(url)
    try:
        for sql in (
            f"UPDATE connections SET rate_per_second = {rate}",
            f"UPDATE attempts SET created_at = created_at - {OLDER_US}",
        ):
            database.write_sync(lambda tx, sql=sql: tx.conn.exec_driver_sql(sql) and None)  # type: ignore[misc]
    finally:
        database.close()


async def _drain(place: Place, url: str, **values: object) -> float:
    """The worker's own loop until nothing is due; the seconds it took."""
    app = place.app(url, **values)
    await app.db.wakeups.start()
    try:
        settings = app.settings
        verifier = Verifier(app.ctx, in_flight=settings.verify_in_flight, batch=settings.verify_batch)
        _, took = await timed(verifier.drain())
    finally:
        await app.db.wakeups.stop()
        await close_app(app)
    return took.wall_seconds


def _calls(port: int) -> int:
    with urlopen(f"http://127.0.0.1:{port}/calls", timeout=10) as answer:
        return int(json.loads(answer.read())["calls"])


def _answered(url: str) -> int:
    database = open_database(url)
    try:
        sql = "SELECT count(*) FROM attempts WHERE lease_until IS NULL AND next_check_at > last_asked_at"
        return int(database.read_sync(lambda tx: tx.conn.exec_driver_sql(sql).scalar_one()))
    finally:
        database.close()
