"""Bad input that concerns no single field: queries of pages, strange Accept headers, a database that is down."""

import contextlib
import sqlite3
from collections.abc import Iterator

import psycopg
import pytest
from tests import a
from tests.entrypoints.running_web import serving

from paystate.domain.payments import State


@pytest.fixture
async def web(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as shop, serving(shop) as running:
        yield running


async def test_what_the_query_of_a_pay_page_claims_is_ignored(web) -> None:
    """BI75: the page answers as without it, repeats nothing of it, and nothing changes."""
    payment = await web.shop.payment()
    plain = await web.get(f"/pay/{payment.short_code}", key=None)
    query = "returnUrl=https%3A%2F%2Fevil.test%2F&status=paid&amount=1&success=true"
    claimed = await web.get(f"/pay/{payment.short_code}?{query}", key=None)
    assert (claimed.status, "evil" in claimed.text) == (200, False)
    assert len(claimed.text) == len(plain.text)
    assert (await web.shop.now(payment)).state is State.OPEN


@pytest.mark.parametrize(
    "lines",
    [
        {"Accept": "image/png"},
        {"Accept-Language": ";;;q="},
        {"Accept": "*/*;q=nonsense", "Accept-Language": "\xff"},
    ],
)
async def test_headers_of_taste_change_nothing(web, lines) -> None:
    """BI87: JSON anyway, also for what went wrong."""
    made = await web.payment()
    for path, status in ((f"/api/payments/{made['id']}", 200), ("/api/payments/pay_nothing", 404)):
        answer = await web.get(path, headers=lines)
        assert answer.status == status
        assert answer.headers["Content-Type"].startswith("application/")
        assert "json" in answer.headers["Content-Type"]


@contextlib.contextmanager
def down(database_url: str, postgres_cluster) -> Iterator[None]:
    """SQLite: somebody else holds the file for writing. PostgreSQL: the server lets nobody in."""
    if database_url.startswith("sqlite"):
        other = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.rollback()
            other.close()
        return
    name = database_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_cluster.url, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_a_database_that_is_down_is_said_and_nothing_is_lost(
    web, database_url, postgres_cluster
) -> None:
    """BI89, BI47: 503 with Retry-After and no trace; the same request with its key succeeds later, once."""
    body = {"amount": 1000, "currency": "EUR", "reference": "order-89"}
    key = {"Idempotency-Key": "once-89"}
    with down(database_url, postgres_cluster):
        refused = await web.post("/api/payments", body, headers=key)
        assert (refused.status, refused.code) == (503, "database_unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert not any(
            word in refused.text.lower() for word in ("traceback", "sqlite", "psycopg", "postgres")
        )
    again = await web.post("/api/payments", body, headers=key)
    repeated = await web.post("/api/payments", body, headers=key)
    assert (again.status, repeated.status) == (201, 201)
    assert again.json["id"] == repeated.json["id"]
    assert len(await web.shop.rows("SELECT id FROM payments")) == 1
