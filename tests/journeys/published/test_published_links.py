"""The published scenarios of payment links: the status answer, expiry by job and by looking, stuck payments, jobs by HTTP."""

from paystate.kit.clock import HOUR, MINUTE, SECOND, rfc3339


async def test_expired_links_by_http(town) -> None:
    """A7, A9: every open link past its time is expired; the result counts what was found, expired, failed."""
    over = [await town.payment(expiresIn=60) for _ in range(3)]
    still, forever = await town.payment(expiresIn=7200), await town.payment()
    town.clock.advance(2 * MINUTE)
    result = await town.run("expired-links")
    assert {name: result[name] for name in ("found", "expired", "failed", "errors")} == {
        "found": 3,
        "expired": 3,
        "failed": 0,
        "errors": [],
    }
    assert [await town.state(p) for p in (*over, still, forever)] == ["EXPIRED"] * 3 + ["OPEN"] * 2
    [made, expired] = (await town.web.get(f"/api/payments/{over[0]['id']}/timeline")).json["data"]
    assert (made["toState"], expired["toState"], expired["reason"]) == ("OPEN", "EXPIRED", "time_is_over")
    assert expired["actor"].startswith("job:run_")
    shown = (await town.web.get("/api/jobs/expired-links")).json
    assert (shown["health"]["state"], shown["stats"]["successCount"]) == ("OK", 1)
    assert shown["stats"]["lastExecution"]["result"] == result
    assert (await town.run("expired-links"))["found"] == 0
    await town.audit()


async def test_stuck_payments_by_http(town) -> None:
    """A8, A9: waiting at a provider for more than an hour, with age and last activity; without a checkout it is not stuck."""
    stuck = await town.opened()
    idle = await town.payment()
    at = rfc3339(town.clock.now())
    town.clock.advance(59 * MINUTE)
    assert await town.run("stuck-payments") == {"count": 0, "payments": []}
    town.clock.advance(2 * MINUTE)
    assert await town.run("stuck-payments") == {
        "count": 1,
        "payments": [
            {
                "id": stuck["id"],
                "ageMinutes": 61,
                "lastEventType": "CHECKOUT_STARTED",
                "lastActivityAt": at,
            }
        ],
    }
    assert [await town.state(p) for p in (stuck, idle)] == ["OPEN", "OPEN"]


async def test_the_jobs_are_guarded(town) -> None:
    """A9: by the secret in the header or a key with the scope; nothing runs without."""
    payment = await town.payment(expiresIn=1)
    town.clock.advance(MINUTE)
    for job in ("expired-links", "stuck-payments"):
        for headers in ({}, {"x-cron-secret": "wrong"}):
            reply = await town.web.post(f"/api/jobs/{job}", key=None, headers=headers)
            assert (reply.status, reply.code) == (401, "unauthenticated")
    assert await town.state(payment) == "OPEN"


async def test_a_link_past_its_expiry_is_expired_by_looking_at_it(town) -> None:
    """A2: there and then, in the very answer, with its event and no job."""
    payment = await town.payment(expiresIn=60)
    assert (await town.status(payment))["currentStatus"] == "OPEN"
    town.clock.advance(MINUTE)
    shown = await town.status_becomes(payment, currentStatus="EXPIRED")
    assert (shown["isExpired"], shown["lastEventType"], shown["validTransitions"]) == (
        True,
        "EXPIRED",
        ["PAID", "REQUIRES_MANUAL_REVIEW"],
    )
    assert await town.path(payment) == ["OPEN", "EXPIRED"]


async def test_the_very_first_look_past_the_expiry_answers_expired(town) -> None:
    """A2: nobody looked before, so nothing is remembered: the first answer is the right one."""
    payment = await town.payment(expiresIn=60)
    town.clock.advance(MINUTE)
    shown = await town.status(payment)
    assert (shown["currentStatus"], shown["isExpired"]) == ("EXPIRED", True)


async def test_a_link_from_draft_to_paid_as_a_poller_sees_it(town) -> None:
    """A1, A2: each step by its published word, the amount in major units."""
    payment = await town.payment(amount=10_000, draft=True, expiresIn=3600)
    seen = [await _seen(town, payment)]
    await town.web.post(f"/api/payments/{payment['id']}/open")
    seen.append(await _seen(town, payment))
    await town.check_out(payment)
    seen.append(await _seen(town, payment))
    await town.come_back(payment)
    seen.append(await _seen(town, payment))
    await town.at_provider(payment, "pay")
    await town.pass_time(5 * SECOND)
    seen.append(await _seen(town, payment))
    assert seen == [
        ("DRAFT", "CREATED"),
        ("OPEN", "OPENED"),
        ("OPEN", "CHECKOUT_STARTED"),
        ("PENDING_VERIFICATION", "RETURNED"),
        ("PAID", "PAID"),
    ]
    info = (await town.status(payment))["transactionInfo"]
    assert (info["amount"], info["currency"], info["paymentMethod"]) == ("100.00", "EUR", "SANDBOX")
    town.clock.advance(2 * HOUR)
    assert (await town.run("expired-links"))["found"] == 0
    await town.audit()


async def _seen(town, payment) -> tuple[str, str]:
    shown = await town.status(payment)
    return shown["currentStatus"], shown["lastEventType"]
