"""Where simulators send their webhooks: every letter is kept, and delivered when a test says so, as it says."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

_TRANSPORT = frozenset({"host", "content-length", "connection", "accept", "accept-encoding", "user-agent"})


@dataclass(frozen=True)
class Letter:
    """One webhook as it came: the path of its address, its own headers, its bytes."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class PostOffice:
    """Takes every letter and acknowledges it; nothing reaches the installation by itself."""

    url: str = ""
    letters: list[Letter] = field(default_factory=list)
    delivered: int = 0

    async def _take(self, request: web.Request) -> web.Response:
        own = {name: value for name, value in request.headers.items() if name.lower() not in _TRANSPORT}
        self.letters.append(Letter(request.path, own, await request.read()))
        return web.Response()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["PostOffice"]:
        app = web.Application()
        app.router.add_post("/{any:.*}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
