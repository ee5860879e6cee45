"""A running simulator, steered through its control API and asked through an adapter or in the raw, with a webhook address."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from paystate.kit.clock import monotonic
from paystate.machinery.http import Http
from paystate.simulators import start_simulator

DEADLINE_SECONDS = 8


async def until(ready: Callable[[], Any]) -> Any:
    """Wait for a condition, not for a time; an awaitable one is awaited each time."""
    end = monotonic() + DEADLINE_SECONDS
    while monotonic() < end:
        found = ready()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("this did not come true in time")


class Steered:
    """`received`: the webhooks that came, headers in lower case as an adapter reads them."""

    def __init__(self, base: str, hook: str, http: Http, session: aiohttp.ClientSession) -> None:
        self.base, self.hook, self.http, self.session = base, hook, http, session
        self.received: list[tuple[dict[str, str], bytes]] = []

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        auth = {"Authorization": f"Bearer {key}"} | dict(headers or {})
        async with self.session.request(method, self.base + path, data=sent, headers=auth) as answer:
            return answer.status, await answer.json()

    async def control(self, path: str, body: Any = None, method: str = "POST") -> Any:
        status, answer = await self.call(method, f"/_control/{path}", body)
        assert status < 300, answer
        return answer

    async def force(self, outcome: str, reference: str, **fields: Any) -> Any:
        return await self.control("outcomes", {"outcome": outcome, "reference": reference} | fields)

    async def fault(self, operation: str, kind: str, times: int | None = 1, **fields: Any) -> None:
        await self.control("faults", {"operation": operation, "kind": kind, "times": times} | fields)

    async def objects(self) -> dict[str, Any]:
        return dict(await self.control("objects", method="GET"))

    async def press(self, url: str, act: str, **form: str) -> tuple[int, str]:
        """A button on the checkout's page."""
        data = {"act": act} | form
        async with self.session.post(f"{url}/act", data=data, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "")


@asynccontextmanager
async def steered(name: str) -> AsyncIterator[Steered]:
    async def receive(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        own.received.append((headers, await request.read()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    simulator = await start_simulator(name)
    http = Http(allow_private=["127.0.0.1/32"])
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        own = Steered(simulator.base_url, f"http://127.0.0.1:{receiver.addresses[0][1]}/hook", http, session)
        yield own
    await http.close()
    await simulator.stop()
    await receiver.cleanup()
