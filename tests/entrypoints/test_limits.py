"""What one request may cost, and the headers that every answer carries."""

import asyncio
import contextlib

import pytest
from tests import a
from tests.entrypoints.running_web import serving

from paystate.kit.clock import monotonic

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EVERY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


@contextlib.asynccontextmanager
async def limited(database_url, tmp_path, clock, **values):
    async with a.shop(database_url, tmp_path, clock, **values) as shop, serving(shop) as web:
        yield web


async def talk(web, lines: list[bytes], *, more: bytes = b"", pauses: int = 0) -> tuple[int, bytes, bool]:
    """A hand-written request: status, whole answer, whether the server closed the connection."""
    host, _, port = web.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + more)
    await writer.drain()
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(12):
            while part := await reader.read(65_536):
                answer += part
    closed = reader.at_eof()
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer, closed


def head(web, *more: str) -> list[bytes]:
    host = web.base.removeprefix("http://")
    lines = [
        "POST /api/payments HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {web.key}",
        "Content-Type: application/json",
        *more,
    ]
    return [line.encode() for line in lines]


async def test_a_declared_length_over_the_cap_is_refused_before_anything(web) -> None:
    """BI13, and the order of refusal: 413 comes before 401."""
    lines = [line for line in head(web, "Content-Length: 200000000") if not line.startswith(b"Authorization")]
    status, answer, closed = await talk(web, lines)
    assert (status, closed) == (413, True)
    assert b"payload_too_large" in answer


async def test_an_endless_body_is_cut_off(web) -> None:
    """BI13: chunks that never end."""
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    status, answer, closed = await talk(web, head(web, "Transfer-Encoding: chunked"), more=chunk * 20)
    assert (status, closed) == (413, True)
    assert b"payload_too_large" in answer


async def test_a_body_that_stalls_is_given_up(database_url, tmp_path, clock) -> None:
    """BI14."""
    async with limited(database_url, tmp_path, clock, request_body_seconds=1) as web:
        began = monotonic()
        status, answer, closed = await talk(web, head(web, "Content-Length: 100"), more=b"{")
        assert (status, closed) == (408, True)
        assert b"request_timeout" in answer
        assert 0.9 < monotonic() - began < 6


async def test_a_body_nobody_reads_ends_its_connection(web) -> None:
    """A 401 does not wait for the body, and does not keep a connection that is still sending it."""
    lines = [line for line in head(web, "Content-Length: 50000") if not line.startswith(b"Authorization")]
    status, _, closed = await talk(web, lines, more=b"{")
    assert (status, closed) == (401, True)


async def test_too_much_at_once_is_503(database_url, tmp_path, clock) -> None:
    """F4: running requests are capped; the others are told to come back."""
    async with limited(database_url, tmp_path, clock, max_running_requests=2, request_body_seconds=3) as web:
        held = [asyncio.create_task(talk(web, head(web, "Content-Length: 100"), more=b"{")) for _ in range(2)]
        deadline = monotonic() + 3
        while (reply := await web.get("/healthz", key=None)).status != 503:
            assert monotonic() < deadline
        assert (reply.code, reply.headers["Retry-After"]) == ("overloaded", "1")
        assert [status for status, _, _ in await asyncio.gather(*held)] == [408, 408]
        assert (await web.get("/healthz", key=None)).status == 200


async def test_a_key_is_limited(database_url, tmp_path, clock) -> None:
    """By key: another key of the same merchant has its own bucket, and the public has one by address."""
    async with limited(database_url, tmp_path, clock, api_rate_limit="5/60") as web:
        statuses = [(await web.get("/api/payments")).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        refused = await web.get("/api/payments")
        assert (refused.code, int(refused.headers["Retry-After"]) > 0) == ("rate_limited", True)
        assert refused.headers["RateLimit-Policy"] == '"api";q=5;w=60'
        assert (await web.get("/api/payments", key=await web.new_key())).status == 200
        guesses = [(await web.get("/api/payments", key=f"psk_{n}")).status for n in range(7)]
        assert guesses == [401] * 5 + [429] * 2
        assert (await web.get("/api/openapi.json", key=None)).status == 429


async def test_a_made_up_credential_is_no_way_around_the_limit(database_url, tmp_path, clock) -> None:
    """Public addresses are counted by address, whatever an Authorization header says."""
    async with limited(database_url, tmp_path, clock, api_rate_limit="5/60") as web:
        path = f"/api/payment-links/{(await web.shop.payment()).short_code}/qr.svg"
        assert [(await web.get(path, key=f"psk_{n}")).status for n in range(7)] == [200] * 5 + [429] * 2


async def test_every_answer_carries_the_headers(web) -> None:
    """T54: also refusals, and never HSTS without https."""
    made = await web.payment()
    paths = [
        "/api/payments",
        f"/api/payments/{made['id']}",
        "/api/nothing",
        "/healthz",
        "/readyz",
        "/metrics",
    ]
    paths += [f"/api/payment-links/{made['shortCode']}/{part}" for part in ("status", "qr.svg", "none")]
    paths += ["/api/openapi.json", "/api/payment-links/x/status"]
    for path in paths:
        for reply in (await web.get(path), await web.get(path, headers={"Host": "evil.example"})):
            missing = {n: v for n, v in EVERY.items() if reply.headers.get(n) != v}
            assert missing == {}, path
            assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
            cache = "private, no-cache" if "ETag" in reply.headers else "no-store"
            assert reply.headers["Cache-Control"] == cache, path
            assert "Strict-Transport-Security" not in reply.headers
            assert "Server" not in reply.headers
            assert reply.headers["X-Request-Id"].startswith("req_")


async def test_https_is_told_to_stay(database_url, tmp_path, clock) -> None:
    """HSTS when a trusted proxy says that its side is https; nobody else is believed."""
    async with limited(database_url, tmp_path, clock, trusted_proxies="127.0.0.1/32") as web:
        made = await web.payment()
        for path in ("/healthz", f"/api/payment-links/{made['shortCode']}/status"):
            secure = await web.get(path, key=None, headers={"X-Forwarded-Proto": "https"})
            assert secure.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
            assert "Strict-Transport-Security" not in (await web.get(path, key=None)).headers


async def test_https_is_not_believed_from_anybody(database_url, tmp_path, clock) -> None:
    """F7."""
    async with limited(database_url, tmp_path, clock) as web:
        claimed = await web.get("/healthz", key=None, headers={"X-Forwarded-Proto": "https"})
        assert "Strict-Transport-Security" not in claimed.headers


async def test_a_mistake_of_ours_tells_only_its_id(web, monkeypatch) -> None:
    """F5: what went wrong stands in our log, the client gets the id that finds it there."""

    def broken(*_args: object) -> None:
        raise RuntimeError("secret detail zq9canary")

    monkeypatch.setattr("paystate.entrypoints.api.payments.store.list_page", broken)
    reply = await web.get("/api/payments")
    assert (reply.status, reply.code) == (500, "internal_error")
    assert "canary" not in reply.text
    assert reply.json["requestId"] == reply.headers["X-Request-Id"]
