"""One payment of each kind side by side for half a day: each meets its own deadline, and no other."""

from dataclasses import dataclass
from typing import Any

from paystate.kit.clock import HOUR, MINUTE, SECOND

EXPIRES_IN_FIVE_HOURS = {"expiresIn": 5 * 3600}


@dataclass(frozen=True)
class At:
    """A moment after everything began, and what has changed by then since the moment before."""

    time: int
    changed: dict[str, str]


BEGIN = {
    "bundle": "OPEN",
    "bundle with expiresAt": "OPEN",
    "bundle at the provider": "OPEN",
    "link with expiresAt": "OPEN",
    "link without": "OPEN",
    "returned bundle": "OPEN",
    "returned with expiresAt": "OPEN",
    "processing": "OPEN",
    "failed": "FAILED",
    "draft": "DRAFT",
}
RETURNED = 29 * MINUTE + 30 * SECOND
STORY = (
    At(29 * MINUTE, {"processing": "PENDING_VERIFICATION"}),
    At(
        RETURNED,
        {"returned bundle": "PENDING_VERIFICATION", "returned with expiresAt": "PENDING_VERIFICATION"},
    ),
    At(30 * MINUTE + 10 * SECOND, {"bundle": "EXPIRED", "bundle at the provider": "EXPIRED"}),
    At(32 * MINUTE, {"returned with expiresAt": "OPEN"}),
    At(59 * MINUTE, {}),
    At(61 * MINUTE, {"link with expiresAt": "EXPIRED", "failed": "EXPIRED"}),
    At(2 * HOUR + 29 * MINUTE, {}),
    At(2 * HOUR + 30 * MINUTE, {"returned bundle": "EXPIRED"}),
    At(4 * HOUR + 59 * MINUTE, {}),
    At(5 * HOUR + MINUTE, {"bundle with expiresAt": "EXPIRED", "returned with expiresAt": "EXPIRED"}),
    At(12 * HOUR, {}),
)


async def test_each_meets_its_own_deadline(town) -> None:
    began = town.clock.now()
    all_of_them = await _all_kinds(town)
    await town.pass_time(5 * SECOND)
    standing = dict(BEGIN)
    assert await _states(town, all_of_them) == standing
    for moment in STORY:
        await _go_to(town, began + moment.time)
        if moment.time == 29 * MINUTE:
            await town.at_provider(all_of_them["processing"], "process")
            await town.web.post(f"/api/payments/{all_of_them['processing']['id']}/verify")
            await town.pass_time(2 * SECOND)
        if moment.time == RETURNED:
            for kind in ("returned bundle", "returned with expiresAt"):
                await town.come_back(all_of_them[kind])
        standing |= moment.changed
        assert (moment, await _states(town, all_of_them)) == (moment, standing)
    await town.at_provider(all_of_them["processing"], "pay")
    await town.pass_time(6 * HOUR)
    assert await town.state(all_of_them["processing"]) == "PAID"
    await town.audit()


async def test_stuck_is_a_report_and_no_deadline(town) -> None:
    """A8: a live checkout for more than an hour is reported for as long as it lasts; without one it is not, and neither ends."""
    live, idle = await town.opened(), await town.payment()
    for minutes, count in ((59, 0), (2, 1), (600, 1)):
        await town.pass_time(minutes * MINUTE)
        assert (await town.run("stuck-payments"))["count"] == count
        await town.sweep()
    assert [await town.state(p) for p in (live, idle)] == ["OPEN", "OPEN"]


async def _all_kinds(town) -> dict[str, Any]:
    bundles = {name: {"customer": {"externalId": name}, "bundleId": "gold"} for name in ("a", "b", "c", "d")}
    made = {
        "bundle": await town.payment(**bundles["a"]),
        "bundle with expiresAt": await town.payment(**bundles["b"], **EXPIRES_IN_FIVE_HOURS),
        "bundle at the provider": await town.opened(**bundles["c"]),
        "link with expiresAt": await town.payment(expiresIn=3600),
        "link without": await town.payment(),
        "returned bundle": await town.opened(**bundles["d"]),
        "returned with expiresAt": await town.opened(**EXPIRES_IN_FIVE_HOURS),
        "processing": await town.opened(),
        "failed": await town.opened(expiresIn=3600),
        "draft": await town.payment(draft=True, expiresIn=60),
    }
    await town.at_provider(made["failed"], "fail")
    return made


async def _go_to(town, instant: int) -> None:
    """Both jobs of expiry and the worker, at this moment."""
    await town.pass_time(instant - town.clock.now())
    for job in ("expired-links", "cleanup-stale-payments"):
        await town.run(job)
        await town.pass_time(2 * SECOND)


async def _states(town, payments: dict[str, Any]) -> dict[str, str]:
    return {kind: await town.state(payment) for kind, payment in payments.items()}
