"""A provider that answers as told, on loopback, and keeps what it was sent: for tests of adapters on the wire."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiMapping

Reply = tuple[int, str]
Query = MultiMapping[str]


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Answering:
    """`on` says what comes back for a path; the last answer stays, an unknown path is a 404 without a word."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[Sent] = []
        self._waiting: dict[tuple[str, str], list[Reply | Callable[[Query], Reply]]] = {}

    def on(self, method: str, path: str, *answers: str | Reply | Callable[[Query], Reply]) -> "Answering":
        self._waiting[method, path] = [(200, a) if isinstance(a, str) else a for a in answers]
        return self

    def calls(self, path: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.path == path]

    async def handle(self, request: web.Request) -> web.Response:
        query, body = dict(request.query), await request.read()
        headers = dict(request.headers)
        self.sent.append(Sent(request.method, request.path, request.raw_path, query, headers, body))
        waiting = self._waiting.get((request.method, request.path))
        if waiting is None:
            return web.Response(status=404)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        status, text = answer(request.query) if callable(answer) else answer
        return web.Response(status=status, body=text.encode(), content_type="application/json")


@asynccontextmanager
async def answering() -> AsyncIterator[Answering]:
    peer = Answering()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", peer.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield peer
    await runner.cleanup()
