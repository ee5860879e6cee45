"""A real server on a free port, in the loop of the test, and a client that speaks to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn
from multidict import CIMultiDict
from tests import a
from yarl import URL

from paystate.domain import merchants
from paystate.entrypoints.web import create_web
from paystate.kit.ids import MerchantId, System
from paystate.machinery.secrets import fingerprint, new_api_key

WHO = System("tests")
CALL_SECONDS = 40
OWNER_KEY = "owner_test_credential_of_this_process"


@dataclass
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The problem's code; of a refused field `validation_failed:<code>`."""
        assert self.headers["Content-Type"] == "application/problem+json", self.text
        body = self.json
        assert body["status"] == self.status
        codes = sorted({e["code"] for e in body.get("errors", [])})
        return ":".join([body["code"], *codes]) if codes else str(body["code"])


@dataclass
class Web:
    """A running web of a shop, and the key of the shop's merchant."""

    shop: a.Shop
    base: str
    http: aiohttp.ClientSession
    key: str

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "own",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        raw: Any = None,
    ) -> Reply:
        """One request; `key="own"` sends the merchant's key, None sends none."""
        lines = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in lines}
        if key is not None and "authorization" not in names:
            lines.append(("Authorization", f"Bearer {self.key if key == 'own' else key}"))
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None and "content-type" not in names:
            lines.append(("Content-Type", "application/json"))
        lines = [line for line in lines if line[1] != "(none)"]
        async with self.http.request(
            method,
            URL(self.base + path, encoded=True),
            data=data,
            headers=lines,
            allow_redirects=False,
            skip_auto_headers=["Content-Type"],
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
        ) as answer:
            return Reply(answer.status, CIMultiDict(answer.headers), await answer.text())

    async def get(self, path: str, **values: Any) -> Reply:
        return await self.call("GET", path, **values)

    async def post(self, path: str, body: Any = None, **values: Any) -> Reply:
        return await self.call("POST", path, body, **values)

    async def patch(self, path: str, body: Any = None, **values: Any) -> Reply:
        return await self.call("PATCH", path, body, **values)

    async def payment(self, **values: Any) -> Any:
        """A payment made through the API."""
        made = await self.post("/api/payments", {"amount": 1000, "currency": "EUR", **values})
        assert made.status == 201, made.text
        return made.json

    async def new_key(
        self, scopes: Sequence[str] = merchants.SCOPES, *, merchant_id: str | None = None
    ) -> str:
        """A further key, of this merchant or another."""
        return await add_key(self.shop, merchant_id or self.shop.id, scopes)

    async def other_merchant(self) -> tuple[MerchantId, str]:
        """Another merchant of the same installation, with a key."""
        made = await self.shop.app.db.write(lambda tx: merchants.create_merchant(tx, WHO, name="Other House"))
        return made.id, await add_key(self.shop, made.id, merchants.SCOPES)


async def add_key(shop: a.Shop, merchant_id: str, scopes: Sequence[str], **values: Any) -> str:
    key = new_api_key().reveal()
    await shop.app.db.write(
        lambda tx: merchants.create_api_key(
            tx,
            WHO,
            merchant_id=merchant_id,
            name="test",
            scopes=scopes,
            expires_at=values.get("expires_at"),
            hash=fingerprint(key),
            prefix=key[:8],
            last4=key[-4:],
            addresses=values.get("addresses", ()),
        )
    )
    return key


@contextlib.asynccontextmanager
async def serving(shop: a.Shop, **values: Any) -> AsyncIterator[Web]:
    """Serve this shop until the end of the block."""
    web = create_web(shop.app, owner_key_hash=fingerprint(OWNER_KEY), **values)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
    config = uvicorn.Config(
        web,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(10):
        while not server.started:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.005)
    key = await add_key(shop, shop.id, merchants.SCOPES)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Web(shop, f"http://127.0.0.1:{listener.getsockname()[1]}", http, key)
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield
