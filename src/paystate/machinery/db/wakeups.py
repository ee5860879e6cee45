"""Wake-ups: says that there is work, within a process at once and between processes by NOTIFY; never the work itself."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable

import psycopg

CHANNEL = "paystate"
BATCH_SECONDS = 0.002
RECONNECT_SECONDS = 1.0
MAX_CHANNELS = 64


class Wakeups:
    """Named signals. A lost one costs only the next poll, so nothing here is durable."""

    def __init__(self, postgres_url: str | None) -> None:
        self._url = postgres_url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events: dict[str, asyncio.Event] = {}
        self._outgoing: set[str] = set()
        self._lock = threading.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._flush: asyncio.Event | None = None

    async def start(self) -> None:
        """Begin to listen; on SQLite there is nobody else to listen to."""
        self._loop = asyncio.get_running_loop()
        if self._url is not None:
            self._flush = asyncio.Event()
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._notify())]

    async def stop(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._loop = [], None

    def signal(self, channels: Iterable[str]) -> None:
        """Wake the waiters of these channels, from any thread."""
        names = set(channels)
        loop = self._loop
        if not names or loop is None or loop.is_closed():
            return
        with self._lock:
            self._outgoing |= names
        loop.call_soon_threadsafe(self._deliver, names)

    async def wait(self, channel: str, timeout_seconds: float) -> bool:
        """Wait for the channel, at most so long; True when it was signalled. Signals sent before count once."""
        event = self._events.setdefault(channel, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except TimeoutError:
            return False
        event.clear()
        return True

    def _deliver(self, names: set[str]) -> None:
        self._wake_local(names)
        if self._flush is not None:
            self._flush.set()

    def _wake_local(self, names: Iterable[str]) -> None:
        for name in names:
            if len(self._events) < MAX_CHANNELS or name in self._events:
                self._events.setdefault(name, asyncio.Event()).set()

    async def _listen(self) -> None:
        assert self._url is not None
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    async for note in conn.notifies():
                        self._wake_local(note.payload.split(","))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _notify(self) -> None:
        assert self._url is not None
        assert self._flush is not None
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as conn:
                    while True:
                        await self._flush.wait()
                        await asyncio.sleep(BATCH_SECONDS)
                        self._flush.clear()
                        with self._lock:
                            names, self._outgoing = self._outgoing, set()
                        await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, ",".join(sorted(names))))
            await asyncio.sleep(RECONNECT_SECONDS)
