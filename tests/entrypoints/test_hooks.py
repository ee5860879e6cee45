"""Webhooks from providers: only an authentic one is kept, all are answered at once, and none changes a state by itself."""

import json

import pytest
from tests import a
from tests.entrypoints.pay_site import WEBHOOK_SECRET, Site, signed, site

from paystate.domain.payments import State
from paystate.kit.clock import SECOND
from paystate.kit.ids import new_id


def event(
    reference: str | None = None, *, event_id: str = "evt_1", kind: str = "checkout.paid", **data: object
) -> bytes:
    named = {} if reference is None else {"reference": reference}
    return json.dumps({"id": event_id, "type": kind, "data": {**named, **data}}).encode()


def seconds(clock) -> int:
    return clock.now() // SECOND


async def rows(shop: a.Shop) -> list[dict]:
    return await shop.rows("SELECT * FROM provider_events ORDER BY provider_event_id")


async def asked(shop: a.Shop) -> list[dict]:
    return await shop.rows("SELECT * FROM verifications")


async def test_a_signed_webhook_is_kept_and_only_asks_for_a_look(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened(2500, "EUR")
        body = event(attempt.provider_reference, amount=1, status="paid")
        answer = await pages.post(pages.hook(), data=body, headers=signed(body, seconds(clock)))
        assert answer.status == 200
        assert answer.json() == {"received": True, "id": (await rows(pages.shop))[0]["id"]}
        assert (await pages.shop.now(payment)).state is State.PENDING_VERIFICATION
        clock.advance(5 * SECOND)
        await pages.shop.look()
        assert (await pages.shop.now(payment)).state is not State.PAID
        await pages.shop.sandbox.outcome(attempt, "pay")
        clock.advance(5 * SECOND)
        await pages.shop.look()
        assert (await pages.shop.now(payment)).state is State.PAID


def _wrong_signatures(at: int, body: bytes) -> dict[str, dict[str, str]]:
    good = signed(body, at)["Sandbox-Signature"]
    return {
        "none": {},
        "empty": {"Sandbox-Signature": ""},
        "wrong": {"Sandbox-Signature": good[:-1] + ("0" if good[-1] != "0" else "1")},
        "another connection's secret": signed(body, at, "whsec_of_another"),
        "empty secret": signed(body, at, ""),
        "other scheme": {"Sandbox-Signature": good.replace("v1=", "v0=")},
        "another provider's header": {"Stripe-Signature": good},
        "no time": {"Sandbox-Signature": good.partition(",")[2]},
        "time in words": {"Sandbox-Signature": good.replace(f"t={at}", "t=abc")},
        "endless time": {"Sandbox-Signature": good.replace(f"t={at}", f"t={10**18}")},
        "301 seconds old": signed(body, at - 301),
        "301 seconds ahead": signed(body, at + 301),
        "of a body written anew": signed(json.dumps(json.loads(body), indent=1).encode(), at),
        "not ASCII": {"Sandbox-Signature": good[:-1] + "é"},
        "hidden behind many": {"Sandbox-Signature": f"t={at}," + "v1=00," * 50 + good.partition(",")[2]},
    }


async def test_what_is_not_signed_changes_nothing_and_asks_nobody(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened()
        body = event(attempt.provider_reference)
        before = await pages.shop.now(payment)
        for name, headers in _wrong_signatures(seconds(clock), body).items():
            answer = await pages.post(pages.hook(), data=body, headers=headers)
            assert (answer.status, answer.json()["code"]) == (401, "signature_invalid"), name
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert await rows(pages.shop) == []
        assert await pages.shop.now(payment) == before
        assert (await pages.shop.attempts(payment))[0].hint_no == 0
        good = await pages.post(pages.hook(), data=body, headers=signed(body, seconds(clock)))
        assert good.status == 200


async def test_the_same_event_again_is_answered_and_kept_once(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        _, attempt = await pages.shop.opened()
        body = event(attempt.provider_reference)
        headers = signed(body, seconds(clock))
        answers = [await pages.post(pages.hook(), data=body, headers=headers) for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(await rows(pages.shop)) == 1
        clock.advance(2 * SECOND)
        await pages.shop.look()
        assert len(await asked(pages.shop)) == 1
        clock.advance(300 * SECOND)
        replay = await pages.post(pages.hook(), data=body, headers=headers)
        assert replay.status == 401


async def test_unknown_words_and_unknown_payments_are_kept_not_refused(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        for number, body in enumerate(
            (
                event(event_id="e0", kind="account.sneezed"),
                event("z" * 20, event_id="e1"),
                event(event_id="e2", checkout="../../x"),
            )
        ):
            answer = await pages.post(pages.hook(), data=body, headers=signed(body, seconds(clock)))
            assert answer.status == 200, number
        assert [row["state"] for row in await rows(pages.shop)] == ["IGNORED", "UNMATCHED", "UNMATCHED"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_only_post_is_taken(database_url, tmp_path, clock, method) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        answer = await pages.call(method, pages.hook())
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        if method != "HEAD":
            assert answer.json()["code"] == "method_not_allowed"


async def test_unknown_addresses_are_not_found(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        body = event()
        for path in (
            pages.hook(connection_id=new_id("con", clock.now())),
            pages.hook(connection_id="con_1"),
            pages.hook(connection_id="%00"),
            pages.hook(connection_id="x" * 5_000),
            pages.hook(connection_id=pages.shop.connection.id.upper()),
            pages.hook("stripe"),
            pages.hook("nobody"),
        ):
            answer = await pages.post(path, data=body, headers=signed(body, seconds(clock)))
            assert (answer.status, answer.json()["code"]) == (404, "not_found"), path[:80]


async def test_a_body_that_is_too_large_is_refused_early(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock, webhook_body_limit=2_000) as pages:
        fits = event(filler="").ljust(2_000)
        assert (await pages.post(pages.hook(), data=fits, headers=signed(fits, seconds(clock)))).status == 200
        declared = await pages.post(pages.hook(), data=b"x" * 2_001)
        assert (declared.status, declared.json()["code"]) == (413, "payload_too_large")

        async def chunks():
            yield b"x" * 1_500
            yield b"x" * 1_500

        in_chunks = await pages.post(pages.hook(), data=chunks())
        assert (in_chunks.status, in_chunks.json()["code"]) == (413, "payload_too_large")


async def test_a_signed_body_that_is_no_json_is_malformed(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        for body in (b"", b"[]", b'{"id": 1}', b"\xff\xfe", b'{"id":"a","type":"b","data":[]}'):
            answer = await pages.post(pages.hook(), data=body, headers=signed(body, seconds(clock)))
            assert (answer.status, answer.json()["code"]) == (400, "malformed_json"), body


async def test_junk_is_limited_and_genuine_messages_pass_it(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock, webhook_rate_limit="5/60") as pages:
        statuses = [(await pages.post(pages.hook(), data=b"junk")).status for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        limited = await pages.post(pages.hook("nobody"), data=b"junk")
        assert (limited.status, limited.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(limited.headers["Retry-After"]) <= 60
        genuine = [event(event_id=f"evt_{n}") for n in range(8)]
        for body in genuine:
            answer = await pages.post(pages.hook(), data=body, headers=signed(body, seconds(clock)))
            assert answer.status == 200


async def test_without_a_database_the_provider_is_asked_to_send_again(
    postgres_cluster, tmp_path, clock
) -> None:
    url = postgres_cluster.copy_of("paystate_template")
    name = url.rsplit("/", 1)[1].partition("?")[0]
    try:
        async with site(url, tmp_path, clock) as pages:
            body = event()
            headers = signed(body, seconds(clock))
            postgres_cluster.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            postgres_cluster.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            try:
                await _refused_for_now(pages, body, headers)
            finally:
                postgres_cluster.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            answer = await pages.post(pages.hook(), data=body, headers=headers)
            assert answer.status == 200
    finally:
        postgres_cluster.drop(url)


async def _refused_for_now(pages: Site, body: bytes, headers: dict[str, str]) -> None:
    answer = await pages.post(pages.hook(), data=body, headers=headers)
    assert (answer.status, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert WEBHOOK_SECRET not in answer.text
