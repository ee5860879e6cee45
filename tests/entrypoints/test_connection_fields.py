"""Testing a connection names the field that is wrong and what the provider answered, and never shows a secret."""

import pytest
from aiohttp import web as aiohttp_web
from tests.entrypoints.real_providers import AtProvider, connected

REVOKED = [
    ("stripe", "secretKey", "sk_test_paystate", "401"),
    ("sumup", "secretKey", "sup_sk_paystate", "401"),
    ("paystack", "secretKey", "sk_test_paystate0123456789abcdef0123456789abcd", "401"),
]


async def revoke(at: AtProvider, key: str) -> None:
    (account,) = (await at.simulator.objects())["accounts"]
    await at.simulator.control("accounts", {"account": account["account"], "revoke": [key]})


@pytest.mark.parametrize(("provider", "field", "key", "answered"), REVOKED)
async def test_a_revoked_key_is_named_with_the_provider_s_words(
    web, shop, provider, field, key, answered
) -> None:
    async with connected(shop, provider) as at:
        path = f"/api/connections/{at.connection.id}/test"
        good = (await web.post(path)).json
        assert (good["ok"], good["problem"], good["field"], good["answered"]) == (True, None, None, None)
        await revoke(at, key)
        reply = await web.post(path)
        told = reply.json
        assert (reply.status, told["ok"], told["field"]) == (200, False, field)
        assert told["answered"].startswith(answered)
        assert len(told["answered"]) > len(answered)
        assert told["answered"] in told["problem"]
        assert (told["account"], told["live"]) == (None, None)
        assert key not in reply.text


async def test_a_wrong_public_field_is_named_too(web, shop) -> None:
    async with connected(shop, "hedera") as at:
        await at.simulator.control(
            "accounts", {"account": at.connection.account, "secretKey": "k", "extra": {"deleted": "yes"}}
        )
        told = (await web.post(f"/api/connections/{at.connection.id}/test")).json
        assert (told["ok"], told["field"], told["answered"]) == (
            False,
            "accountId",
            "the account is deleted",
        )


async def test_a_silent_provider_blames_no_field(web, shop) -> None:
    async with connected(shop, "stripe") as at:
        await at.simulator.fault("account", "outage")
        told = (await web.post(f"/api/connections/{at.connection.id}/test")).json
        assert (told["ok"], told["field"], told["answered"]) == (False, None, None)
        assert "does not answer" in told["problem"]


async def test_a_key_that_the_provider_repeats_is_not_shown(web) -> None:
    """Neither by the answer to a new connection nor by its field."""

    async def parrot(request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.json_response({"error": f"no: {request.headers['Authorization']}"}, status=401)

    app = aiohttp_web.Application()
    app.add_routes([aiohttp_web.get("/{rest:.*}", parrot)])
    runner = aiohttp_web.AppRunner(app, access_log=None)
    await runner.setup()
    await aiohttp_web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        fields = {
            "baseUrl": f"http://127.0.0.1:{runner.addresses[0][1]}",
            "secretKey": "sk_live_very_secret",
        }
        reply = await web.post("/api/connections", {"provider": "stripe", "fields": fields})
    finally:
        await runner.cleanup()
    assert (reply.status, reply.json["code"]) == (422, "credentials_refused")
    (error,) = reply.json["errors"]
    assert error["pointer"] == "/fields/secretKey"
    assert "no: Bearer [secret]" in error["detail"]
    assert "sk_live_very_secret" not in reply.text
