"""The HTTP protocol with limits: uvicorn's httptools protocol bounds neither the head of a request nor the connections."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
HEAD_SECONDS = 10.0
"""From the first byte, or from the connection, to the end of the head (T40)."""

MAX_CONNECTIONS = 10_000
CYCLE = "paystate.cycle"
"""Where a scope carries the server's side of its request, for answers that are ready as bytes."""

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()) for status in (200, 304)
}
TOO_LARGE = b"431 Request Header Fields Too Large"
TOO_SLOW = b"408 Request Timeout"


def encoded(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they go over the wire."""
    return b"".join(b"%b: %b\r\n" % line for line in lines)


def decoded(head: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines out of what `encoded` made."""
    pairs = (line.partition(b": ") for line in head.split(b"\r\n") if line)
    return [(name, value) for name, _, value in pairs]


_own: tuple[Any, bytes] = (None, b"")


def _own_lines(lines: list[tuple[bytes, bytes]]) -> bytes:
    """The server's own header lines, encoded once for as long as they are the same list (a second)."""
    global _own
    if _own[0] is not lines:
        _own = (lines, encoded(lines))
    return _own[1]


def answer_at_once(scope: Any, status: int, head: bytes, body: bytes) -> bool:
    """Write a whole answer in one piece; `head` is encoded header lines with their Content-Length where one is due.

    False, and nothing happened, where the server is another one or the sender reads too slowly: then the usual
    messages go out. It does what the server does with those, without looking at each header again.
    """
    cycle = scope.get(CYCLE)
    if not isinstance(cycle, RequestResponseCycle) or cycle.flow.write_paused or cycle.response_started:
        return False
    if cycle.disconnected:
        return True
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    closing = b"" if cycle.keep_alive else b"connection: close\r\n"
    pieces = (STATUS_LINES[status], _own_lines(cycle.default_headers), head, closing, b"\r\n", body)
    cycle.transport.write(b"".join(pieces))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too large, have too many fields, or take too long; turns away one connection too many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_is_open = True
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MAX_CONNECTIONS:
            self._refused = True
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head_is_open:
            self._head_bytes += len(data)
            self._await_head()
        super().data_received(data)
        if self._head_is_open and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_is_open, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        self._head_is_open = False
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(TOO_LARGE)
        else:
            super().on_headers_complete()
            scope: Any = self.scope
            scope[CYCLE] = self.cycle

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        """Say why, and close: what follows on this connection cannot be trusted."""
        self._refused = True
        self._stop_timer()
        if not self.transport.is_closing():
            head = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.close()
