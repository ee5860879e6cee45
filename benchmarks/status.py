"""Figure `status`: the status lane of a running installation, against a bare ASGI app that reads the same row."""

from functools import partial
from typing import NamedTuple

from benchmarks import seed
from benchmarks.figure import RUNS, Figure, spread
from benchmarks.place import Place
from benchmarks.processes import Child, child, free_port
from paystate.machinery.db import open_database

GOAL = 0.8
REQUESTS, CONNECTIONS = 20_000, 16
WARM_UP = 2_000
NO_LIMIT = "100000000/900"
"""The limiter counts every request, and never says no: all of them come from one address."""


class Took(NamedTuple):
    """One run of `REQUESTS`."""

    cpu_us: float
    rate: float


def measure(place: Place) -> Figure:
    """One open payment, polled as fast as the server answers; limiter, headers and ETag as shipped."""
    template = place.template("one", partial(_fill, place))
    with place.copy_of(template) as url:
        port, code = free_port(), _code(url)
        environ = place.environ(url, place.folder, port=port, polling_rate_limit=NO_LIMIT)
        role = "serve" if place.kind == "sqlite" else "web"
        log = place.log_path()
        with child("paystate", role, "--json", log=log, environ=environ) as ours:
            ours.hear()
            size = _load(place, ours, port, code, WARM_UP)[1]
            with child("benchmarks.bare_web", url, str(size), log=log) as bare:
                bare_port = int(bare.hear()["port"])
                _load(place, bare, bare_port, code, WARM_UP)
                pairs = [
                    (
                        _load(place, ours, port, code, REQUESTS)[0],
                        _load(place, bare, bare_port, code, REQUESTS)[0],
                    )
                    for _ in range(RUNS)
                ]
    return _figure(place, [p[0] for p in pairs], [p[1] for p in pairs])


def _figure(place: Place, ours: list[Took], bare: list[Took]) -> Figure:
    return Figure(
        name="status",
        database=place.kind,
        values=[b.cpu_us / o.cpu_us for o, b in zip(ours, bare, strict=True)],
        against="a bare ASGI app under the same server that reads the same row with the same driver",
        goal=GOAL,
        details=[
            "the ratio is processor time of the server process per request: the load runs on the same cores",
            spread("ours", [t.cpu_us for t in ours], "µs of processor time each", 1),
            spread("bare", [t.cpu_us for t in bare], "µs of processor time each", 1),
            spread("ours", [t.rate for t in ours], "requests/s"),
            spread("bare", [t.rate for t in bare], "requests/s"),
        ],
    )


def _load(place: Place, server: Child, port: int, code: str, requests: int) -> tuple[Took, int]:
    """Load the server; what it cost, and how long its body is."""
    path = f"/api/payment-links/{code}/status"
    arguments = (str(port), path, str(CONNECTIONS), str(requests))
    before = server.cpu_seconds()
    with child("benchmarks.load", *arguments, log=place.log_path()) as load:
        said = load.hear()
    used = server.cpu_seconds() - before
    if said["good"] != requests:
        raise RuntimeError(f"only {said['good']} of {requests} answers were 200")
    return Took(used / requests * 1_000_000, requests / said["seconds"]), int(said["body_bytes"])


def _fill(place: Place, url: str) -> None:
    seed.fill(url, place.key, 1)


def _code(url: str) -> str:
    database = open_database(url)
    try:
        return str(
            database.read_sync(
                lambda tx: tx.conn.exec_driver_sql("SELECT short_code FROM payments").scalar_one()
            )
        )
    finally:
        database.close()
