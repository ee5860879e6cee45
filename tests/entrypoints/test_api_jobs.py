"""Jobs over HTTP, the owner's door, and the probes."""

import asyncio
import contextlib
from typing import Any

import pytest
from tests import a
from tests.entrypoints.running_web import OWNER_KEY, serving

from paystate.kit.clock import SECOND, monotonic
from paystate.machinery.jobs import JobEngine, job

SECRET = "an-external-schedulers-secret-of-enough-bytes"


class Works:
    """Two jobs and an engine that runs them."""

    def __init__(self, app: Any) -> None:
        self.hold = asyncio.Event()
        self.fail = False
        declared: dict[str, Any] = {}

        @job("expired-links", schedule="0 0 1 1 *", description="ends links", into=declared)
        async def sweep(_context: Any, _run: Any) -> dict[str, Any]:
            if self.fail:
                raise ValueError("it broke")
            return {"found": 3, "expired": 3, "failed": 0, "errors": []}

        @job("slow", schedule="0 0 1 1 *", description="waits", into=declared)
        async def slow(_context: Any, _run: Any) -> dict[str, Any]:
            await self.hold.wait()
            return {}

        self.engine = JobEngine(app.db, app.ctx, owner="test", jobs=declared)


@contextlib.asynccontextmanager
async def working(database_url, tmp_path, clock, **values: Any):
    async with a.shop(database_url, tmp_path, clock, cron_secret=SECRET, **values) as shop:
        works = Works(shop.app)
        stop = asyncio.Event()
        running = asyncio.create_task(works.engine.run_forever(stop))

        async def add(app: Any, arguments: Any) -> dict[str, Any]:
            return {"sum": arguments["a"] + arguments["b"], "env": app.settings.env}

        try:
            async with serving(shop, jobs=works.engine, operations={"numbers.add": add}) as web:
                yield web, works
        finally:
            works.hold.set()
            stop.set()
            await running


@pytest.fixture
async def web_and_works(database_url, tmp_path, clock):
    async with working(database_url, tmp_path, clock) as both:
        yield both


async def test_a_scheduler_runs_a_job_and_reads_its_result(web_and_works, clock) -> None:
    """A9: `{runId, status, startedAt, durationMs, result}`, and statistics."""
    web, works = web_and_works
    cron = {"x-cron-secret": SECRET}
    done = await web.post("/api/jobs/expired-links", key=None, headers=cron)
    assert (done.status, done.json["status"], done.json["result"]["expired"]) == (200, "SUCCEEDED", 3), (
        done.text
    )
    assert done.json["durationMs"] is not None
    works.fail = True
    clock.advance(SECOND)  # lists are ordered by the millisecond
    broken = await web.post("/api/jobs/expired-links")
    assert (broken.status, broken.json["status"], broken.json["error"]) == (
        200,
        "FAILED",
        "ValueError: it broke",
    )
    works.fail = False
    clock.advance(SECOND)
    again = await web.post(f"/api/job-runs/{broken.json['runId']}/replay")
    assert (again.json["status"], again.json["replayOf"]) == ("SUCCEEDED", broken.json["runId"])
    shown = (await web.get("/api/jobs/expired-links", key=None, headers=cron)).json
    stats = shown["stats"]
    assert (stats["totalExecutions"], stats["successCount"], stats["failureCount"], stats["successRate"]) == (
        3,
        2,
        1,
        66.67,
    )
    assert (shown["health"]["state"], stats["lastExecution"]["runId"]) == ("OK", again.json["runId"])
    history = (await web.get("/api/jobs/expired-links/runs?limit=2")).json
    assert ([r["status"] for r in history["data"]], history["hasMore"]) == (["SUCCEEDED", "FAILED"], True)
    assert [j["name"] for j in (await web.get("/api/jobs")).json["data"]] == ["expired-links", "slow"]
    clock.advance(SECOND)
    assert (await web.call("DELETE", "/api/jobs/expired-links/runs")).json["stats"]["totalExecutions"] == 0
    assert (await web.get("/api/jobs/expired-links/runs")).json["data"] == []
    assert (await web.call("DELETE", "/api/jobs/expired-links/runs", key=None, headers=cron)).status == 401


async def test_jobs_are_not_for_anybody(web_and_works) -> None:
    """BI95, T34."""
    web, _ = web_and_works
    for secret in ("wrong", SECRET + "x", "\u00fc" * 40, ""):
        reply = await web.post("/api/jobs/expired-links", key=None, headers={"x-cron-secret": secret})
        assert (reply.status, reply.code) == (401, "unauthenticated")
    in_query = await web.post(f"/api/jobs/expired-links?x-cron-secret={SECRET}", key=None)
    assert (in_query.status, in_query.code) == (401, "unauthenticated")
    assert (
        await web.post("/api/jobs/expired-links", key=await web.new_key(["payments:write"]))
    ).status == 403
    assert (await web.post("/api/jobs/none", headers={"x-cron-secret": SECRET}, key=None)).code == "not_found"
    disabled = await web.post("/api/jobs/expired-links/disable")
    assert (disabled.status, disabled.json["enabled"], disabled.json["health"]["state"]) == (
        200,
        False,
        "DISABLED",
    )
    assert (await web.post("/api/jobs/expired-links")).code == "job_disabled"
    assert (
        await web.post("/api/jobs/expired-links/disable", key=None, headers={"x-cron-secret": SECRET})
    ).status == 401
    assert (await web.post("/api/jobs/expired-links/enable")).json["enabled"] is True
    assert (await web.post("/api/jobs/expired-links")).status == 200


async def test_one_run_at_a_time(web_and_works) -> None:
    """T34: of two at once one runs, the other hears that it does."""
    web, works = web_and_works
    first = asyncio.create_task(web.post("/api/jobs/slow"))
    deadline = monotonic() + 10
    while (await web.shop.rows("SELECT id FROM job_runs WHERE state = 'RUNNING'")) == []:
        assert monotonic() < deadline, await web.shop.rows("SELECT state FROM job_runs")
        await asyncio.sleep(0.02)
    second = await web.post("/api/jobs/slow")
    assert (second.status, second.code) == (409, "job_already_running")
    works.hold.set()
    assert (await first).json["status"] == "SUCCEEDED"


async def test_jobs_are_rescheduled(web_and_works) -> None:
    web, _ = web_and_works
    changed = await web.patch(
        "/api/jobs/slow", {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin", "batchSize": 7}
    )
    assert (changed.json["schedule"], changed.json["timeZone"], changed.json["batchSize"]) == (
        "*/5 * * * *",
        "Europe/Berlin",
        7,
    )
    bad = await web.patch("/api/jobs/slow", {"schedule": "every day", "timeZone": "UTC", "batchSize": 0})
    assert {e["pointer"] for e in bad.json["errors"]} >= {"/schedule", "/batchSize"}


async def test_without_jobs_the_process_says_so(web) -> None:
    reply = await web.get("/api/jobs")
    assert (reply.status, reply.code) == (503, "jobs_unavailable")


async def test_the_owner_acts_for_a_merchant_it_names(web_and_works) -> None:
    """The credential of the data directory: every scope, the merchant by a header, and operations of its own."""
    web, _ = web_and_works
    made = await web.payment()
    named = {"Paystate-Merchant": "Tea House"}
    assert (await web.get(f"/api/payments/{made['id']}", key=OWNER_KEY, headers=named)).json["id"] == made[
        "id"
    ]
    assert (await web.get("/api/payments", key=OWNER_KEY)).code == "validation_failed:merchant_required"
    assert (
        await web.get("/api/payments", key=OWNER_KEY, headers={"Paystate-Merchant": "Nobody"})
    ).status == 404
    done = await web.post("/api/owner/numbers.add", {"a": 1, "b": 2}, key=OWNER_KEY)
    assert (done.status, done.json) == (200, {"sum": 3, "env": "test"})
    assert (await web.post("/api/owner/none", {}, key=OWNER_KEY)).status == 404
    assert (await web.post("/api/owner/numbers.add", {"a": 1, "b": 2})).code == "insufficient_scope"
    assert (await web.post("/api/owner/numbers.add", {}, key=None)).status == 401
    assert "/api/owner" not in (await web.get("/api/openapi.json", key=None)).text
    await web.post(f"/api/payments/{made['id']}/cancel", key=OWNER_KEY, headers=named)
    [entry] = (await web.get(f"/api/audit-log?resourceId={made['id']}")).json["data"]
    assert (entry["actor"], entry["address"], entry["requestId"] is not None) == (
        "operator:owner",
        "127.0.0.1",
        True,
    )


async def test_probes(web) -> None:
    assert (await web.get("/healthz", key=None)).json == {"status": "ok"}
    ready = await web.get("/readyz", key=None)
    assert (ready.status, {name: check["ok"] for name, check in ready.json["checks"].items()}) == (
        200,
        {"databaseRead": True, "databaseWrite": True},
    )
    figures = await web.get("/metrics", key=None)
    assert (figures.status, "process_" in figures.text) == (200, True)
