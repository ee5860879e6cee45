"""The published scenarios of bundles: stale after 31 minutes, same bundle, other bundle, manual cleanup, service health."""

from paystate.kit.clock import MINUTE, SECOND

ANN = {"phone": "+27821234567"}


async def test_stale_after_31_minutes(town) -> None:
    """C1: the next create expires it first."""
    old = await town.payment(customer=ANN, bundleId="fibre-50", planName="Fibre 50")
    town.clock.advance(31 * MINUTE)
    pending = (await town.web.get("/api/payments/pending/%2B27821234567")).json
    assert pending["summary"] == {"total": 1, "active": 0, "stale": 1}
    assert (pending["data"][0]["ageInMinutes"], pending["data"][0]["timeRemaining"]) == (31, 0)
    new = await town.payment(customer=ANN, bundleId="fibre-50")
    assert (await town.state(old), await town.state(new)) == ("EXPIRED", "OPEN")
    assert new["warnings"] == []
    await town.audit()


async def test_the_same_bundle(town) -> None:
    """C2: 409 with both ways out, each a page with a button."""
    first = await town.payment(customer=ANN, bundleId="fibre-50", planName="Fibre 50")
    town.clock.advance(10 * MINUTE)
    refused = await town.ask_for(customer=ANN, bundleId="fibre-50", planName="Fibre 50")
    assert (refused.status, refused.code) == (409, "PENDING_SAME_BUNDLE")
    said = refused.json
    assert (said["conflict"]["id"], said["conflict"]["planName"]) == (first["id"], "Fibre 50")
    assert (said["conflict"]["ageInMinutes"], said["conflict"]["timeRemaining"]) == (10, 20)
    assert {name: action["label"] for name, action in said["actions"].items()} == {
        "complete": "Complete Existing Payment",
        "cancel": "Cancel & Start New",
    }
    assert said["actions"]["complete"]["url"] == first["payUrl"]


async def test_another_bundle(town) -> None:
    """C2: allowed, with a warning that names the other one."""
    first = await town.payment(customer=ANN, bundleId="fibre-50", planName="Fibre 50")
    second = await town.payment(customer=ANN, bundleId="fibre-100", planName="Fibre 100")
    [warning] = second["warnings"]
    assert warning["code"] == "OTHER_PENDING"
    assert warning["payments"] == [{"id": first["id"], "planName": "Fibre 50", "bundleId": "fibre-50"}]
    assert "Fibre 50" in warning["message"]
    assert [await town.state(p) for p in (first, second)] == ["OPEN", "OPEN"]


async def test_manual_cleanup(town) -> None:
    """C5: of one customer, by phone; what a provider holds is asked about first, and nobody else's is touched."""
    idle = await town.payment(customer=ANN, bundleId="fibre-50")
    held = await town.opened(customer=ANN, bundleId="fibre-100")
    other = await town.payment(customer={"phone": "+27829999999"}, bundleId="fibre-50")
    town.clock.advance(31 * MINUTE)
    done = await town.web.post("/api/payments/cleanup-stale/%2B27821234567")
    assert (done.status, done.json) == (200, {"found": 2, "expired": [idle["id"]], "asked": [held["id"]]})
    await town.pass_time(2 * SECOND)
    assert [await town.state(p) for p in (idle, held, other)] == ["EXPIRED", "EXPIRED", "OPEN"]
    await town.audit()


async def test_service_health_start_and_stop(town) -> None:
    """C6, C7: statistics, force, stop, start; and nothing runs while it is stopped."""
    path = "/api/jobs/cleanup-stale-payments"
    stale = await town.payment(customer=ANN, bundleId="fibre-50")
    town.clock.advance(31 * MINUTE)
    stats = (await town.web.get("/api/payments/stats")).json
    assert stats["pending"] == {"total": 1, "active": 0, "stale": 1}
    stopped = (await town.web.post(f"{path}/disable")).json
    assert (stopped["enabled"], stopped["health"]["state"]) == (False, "DISABLED")
    refused = await town.web.post(path)
    assert (refused.status, refused.code) == (409, "job_disabled")
    assert await town.state(stale) == "OPEN"
    assert (await town.web.post(f"{path}/enable")).json["enabled"] is True
    forced = await town.run("cleanup-stale-payments")
    assert (forced["found"], forced["expired"], forced["failed"]) == (1, 1, 0)
    shown = (await town.web.get(path)).json
    assert (shown["health"]["state"], shown["stats"]["totalExecutions"]) == ("OK", 1)
    assert (shown["stats"]["successRate"], shown["stats"]["lastExecution"]["result"]) == (100, forced)
    assert (await town.web.get("/api/payments/stats")).json["pending"]["stale"] == 0
    assert await town.state(stale) == "EXPIRED"
