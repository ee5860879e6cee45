"""A real server in the test's own loop with the pages and the webhooks, and a client that behaves like a browser."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from tests import a

from paystate.app import verifier_of
from paystate.domain.payments import Payment
from paystate.entrypoints.web import create_web
from paystate.kit.clock import Clock, monotonic

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
WEBHOOK_SECRET = "whsec_sandbox_paystate"


class _Server(uvicorn.Server):
    """Leaves the signals to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


@dataclass(frozen=True)
class Answer:
    """What came back; redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers["Location"]

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Site:
    """A shop whose pages are served."""

    shop: a.Shop
    url: str
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, **values: Any) -> Answer:
        headers = {**BROWSER, **values.pop("headers", {})}
        url = path if path.startswith("http") else self.url + path
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **values) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text())

    async def get(self, path: str, **values: Any) -> Answer:
        return await self.call("GET", path, **values)

    async def post(self, path: str, **values: Any) -> Answer:
        return await self.call("POST", path, **values)

    async def page(self, payment: Payment, rest: str = "") -> Answer:
        return await self.get(f"/pay/{payment.short_code}{rest}")

    def hook(self, provider: str = "sandbox", connection_id: str | None = None) -> str:
        return f"/api/webhooks/{provider}/{connection_id or self.shop.connection.id}"


def signed(body: bytes, at: int, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The header the sandbox signs with; `at` in seconds."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Sandbox-Signature": f"t={at},v1={digest}"}


@contextlib.asynccontextmanager
async def site(
    database_url: str, folder: Path, clock: Clock | None = None, **values: Any
) -> AsyncIterator[Site]:
    """A shop with its pages at a free port, and its public address set to it."""
    port = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{port.getsockname()[1]}"
    async with a.shop(database_url, folder, clock, public_url=url, **values) as shop:
        web = create_web(shop.app)
        config = uvicorn.Config(
            web, lifespan="on", log_config=None, access_log=False, ws="none", proxy_headers=False
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[port]))
        await until(lambda: server.started or task.done())
        try:
            async with aiohttp.ClientSession() as http:
                yield Site(shop, url, http)
        finally:
            server.should_exit = True
            await task


@contextlib.asynccontextmanager
async def verifying(pages: Site):
    """The worker's loop beside the pages."""
    stop = asyncio.Event()
    task = asyncio.create_task(verifier_of(pages.shop.app).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait until the condition (a function, perhaps async) is true. Fails loudly after the time."""
    end = monotonic() + seconds
    while True:
        found = condition()
        if await found if asyncio.iscoroutine(found) else found:
            return
        assert monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.02)
