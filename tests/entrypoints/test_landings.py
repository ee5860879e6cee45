"""Browsers that come back to the one address of a connection: what they bring is kept as a hint, and is never believed."""

import json
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from tests.entrypoints.pay_site import Site, site
from tests.entrypoints.real_providers import AtProvider, connected

from paystate.domain.payments import Attempt, Payment, State
from paystate.flows.take_hint import LANDINGS_PER_ATTEMPT
from paystate.kit.ids import new_id, new_provider_reference

TRACE = "1f6d2c0e-6a55-4b5e-9d4e-2f2b3c4d5e6f"


def brought(attempt: Attempt, trace: str = TRACE, **other: str) -> dict[str, str]:
    """The fields of a Netcash postback."""
    fields = {"TransactionAccepted": "true", "RequestTrace": trace, "Reference": attempt.provider_reference}
    return {**fields, "Amount": "150.00", "Extra1": "", "Method": "1", "Reason": "", **other}


async def events(pages: Site) -> list[dict]:
    return await pages.shop.rows("SELECT * FROM provider_events ORDER BY id")


async def offered(at: AtProvider) -> tuple[Payment, Attempt]:
    payment = await at.shop.payment(15_000, "ZAR")
    return payment, (await at.start(payment)).attempt


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_landing_is_kept_with_its_trace_and_leads_to_the_page(
    database_url, tmp_path, clock, method
) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        fields, landing = brought(attempt), f"/pay/return/{at.connection.id}"
        headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://netcash.example"}
        if method == "GET":
            answer = await pages.get(f"{landing}?{urlencode(fields)}", headers=headers)
        else:
            answer = await pages.post(landing, data=fields, headers=headers)
        assert (answer.status, answer.location) == (303, f"/pay/{payment.short_code}")
        (row,) = await events(pages)
        assert json.loads(row["named"]) == [
            {"reference": attempt.provider_reference, "checkoutId": None, "trace": TRACE}
        ]
        assert f'"trace":"{TRACE}"' in row["named"]
        assert (row["attempt_id"], row["state"]) == (attempt.id, "HANDLED")
        assert (bool(row["authentic"]), row["provider_event_id"]) == (False, row["body_hash"])
        assert TRACE not in row["body"]
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        after = await pages.shop.now(payment)
        assert after.state is State.PENDING_VERIFICATION
        assert await pages.shop.rows("SELECT * FROM proofs") == []


async def test_who_gave_up_is_not_told_to_wait(database_url, tmp_path, clock) -> None:
    """The landing says so itself: that makes a check due, and the payment stays open to be paid in another way."""
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        left = brought(attempt, TransactionAccepted="false", Reason="Cancelled by customer")
        answer = await pages.post(f"/pay/return/{at.connection.id}", data=left)
        assert answer.location == f"/pay/{payment.short_code}"
        assert (await pages.shop.now(payment)).state is State.OPEN
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        assert len(await events(pages)) == 1


async def test_the_same_landing_again_is_kept_once(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        _, attempt = await offered(at)
        for _ in range(3):
            answer = await pages.post(f"/pay/return/{at.connection.id}", data=brought(attempt))
            assert answer.status == 303
        hook = pages.hook("netcash", at.connection.id)
        assert (await pages.post(hook, data=brought(attempt))).status == 200
        (row,) = await events(pages)
        assert row["deliveries"] == 4


async def test_what_names_nothing_of_ours_is_not_kept(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        sandbox = pages.shop.connection.id
        landing = f"/pay/return/{at.connection.id}"
        strange = [
            (landing, {"RequestTrace": TRACE}),
            (landing, {"RequestTrace": TRACE, "Reference": new_provider_reference()}),
            (landing, {"RequestTrace": TRACE, "Reference": "x" * 300}),
            (f"/pay/return/{sandbox}", brought(attempt)),
            (f"/pay/return/{new_id('con', clock.now())}", brought(attempt)),
            ("/pay/return/nothing", brought(attempt)),
            (landing, {}),
        ]
        for path, fields in strange:
            answer = await pages.post(path, data=fields)
            assert (answer.status, "Thank you" in answer.text) == (200, True), path
            assert payment.short_code not in answer.text
        assert await events(pages) == []
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no


async def test_a_landing_without_what_the_adapter_reads_still_makes_a_check_due(
    database_url, tmp_path, clock
) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        answer = await pages.get(f"/pay/return/{at.connection.id}?p2={attempt.provider_reference}")
        assert answer.location == f"/pay/{payment.short_code}"
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        assert await events(pages) == []


async def test_looking_at_the_address_stores_nothing(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        path = f"/pay/return/{at.connection.id}?{urlencode(brought(attempt))}"
        assert (await pages.call("HEAD", path)).status == 303
        assert (await pages.call("OPTIONS", path)).status == 405
        assert await events(pages) == []
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no


async def test_a_disabled_connection_keeps_nothing(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        _, attempt = await offered(at)
        await pages.shop.app.db.write(
            lambda tx: tx.conn.exec_driver_sql("UPDATE connections SET state = 'DISABLED'") and None
        )
        answer = await pages.post(f"/pay/return/{at.connection.id}", data=brought(attempt))
        assert answer.status == 303
        assert await events(pages) == []


async def test_one_payer_cannot_fill_the_inbox(database_url, tmp_path, clock) -> None:
    """Who knows a reference, its payer, may invent traces: some are kept, each landing still leads back."""
    async with site(database_url, tmp_path, clock) as pages, connected(pages.shop, "netcash") as at:
        payment, attempt = await offered(at)
        landing = f"/pay/return/{at.connection.id}"
        for _ in range(LANDINGS_PER_ATTEMPT + 5):
            answer = await pages.post(landing, data=brought(attempt, str(uuid4())))
            assert answer.location == f"/pay/{payment.short_code}"
        assert len(await events(pages)) == LANDINGS_PER_ATTEMPT
        assert (await pages.post(landing, data=brought(attempt, note="x" * 20_000))).status == 413
        assert (await pages.get(f"{landing}?{urlencode(brought(attempt, note='x' * 20_000))}")).status == 413
        real = brought(attempt, str(uuid4()))
        assert (await pages.post(pages.hook("netcash", at.connection.id), data=real)).status == 200
        assert any(real["RequestTrace"] in row["named"] for row in await events(pages))
