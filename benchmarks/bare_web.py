"""The peer of the status lane: a bare ASGI app under the same server options, with one raw read of the same row.

`python -m benchmarks.bare_web DATABASE_URL BODY_BYTES`: it says its port, and stops on SIGTERM.
"""

import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import uvicorn
import uvloop

from benchmarks.processes import say
from paystate.domain.payments.glance import BY_SHORT_CODE
from paystate.entrypoints import serve

Read = Callable[[str], Awaitable[Any]]


def sqlite_read(path: str) -> Read:
    """The stdlib's driver with the pragmas of the lane's own connection, inline."""
    conn = sqlite3.connect(path, isolation_level=None)
    for pragma in ("busy_timeout=100", "query_only=ON", "wal_autocheckpoint=0", "trusted_schema=OFF"):
        conn.execute(f"PRAGMA {pragma}").close()

    async def read(code: str) -> Any:
        return conn.execute(BY_SHORT_CODE, (code,)).fetchone()

    return read


def postgres_read(url: str) -> Read:
    """psycopg's asyncio connection, autocommit and prepared; as many as are in use at once."""
    idle: list[psycopg.AsyncConnection[Any]] = []
    statement = BY_SHORT_CODE.replace("?", "%s")

    async def read(code: str) -> Any:
        conn = (
            idle.pop()
            if idle
            else await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0)
        )
        row = await (await conn.execute(statement, (code,))).fetchone()
        idle.append(conn)
        return row

    return read


def bare_app(read: Read, body: bytes) -> Any:
    """Reads the row and answers always the same bytes; nothing is checked, counted or rendered."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        row = await read(scope["path"].split("/")[3])
        if row is None:
            raise RuntimeError("the row is missing")
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


async def _lifespan(receive: Any, send: Any) -> None:
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


async def main(url: str, size: int) -> None:
    read = sqlite_read(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else postgres_read(url)
    config = serve._config(bare_app(read, b"x" * size))
    listener = socket.create_server(("127.0.0.1", 0), backlog=config.backlog)
    say(port=listener.getsockname()[1])  # connections wait in its queue until the server is up
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
