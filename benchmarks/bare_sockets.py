"""The peer of asking: the same requests over bare sockets, without client library, adapter or rules."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Asker(asyncio.Protocol):
    """Asks one question after the other over one connection, the next as soon as an answer is whole."""

    def __init__(self, questions: Iterator[bytes], done: "asyncio.Future[None]") -> None:
        self._questions = questions
        self._done = done
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(END)
        if end and len(body) >= _length(head):
            self._buffer = b""
            self.answered += 1
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the stub closed the connection"))

    def _ask(self) -> None:
        assert self._transport is not None
        question = next(self._questions, None)
        if question is None:
            self._done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(question)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(LENGTH) + len(LENGTH)
    return int(lower[at:].split(b"\r\n", 1)[0])


async def ask_all(port: int, checkouts: Sequence[str], in_flight: int) -> int:
    """Ask about all of them, so many at a time; answers how many answers came."""
    loop = asyncio.get_running_loop()
    questions = iter([_question(port, checkout) for checkout in checkouts])
    waiting = [loop.create_future() for _ in range(in_flight)]
    opened = [
        await loop.create_connection(lambda done=done: Asker(questions, done), "127.0.0.1", port)  # type: ignore[misc]
        for done in waiting
    ]
    await asyncio.gather(*waiting)
    return sum(asker.answered for _, asker in opened)


def _question(port: int, checkout: str) -> bytes:
    """What the adapter's client sends, byte for byte."""
    lines = (
        f"GET /v1/checkouts/{checkout} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: Paystate",
        "Accept-Encoding: identity",
        "Authorization: Bearer sk_sandbox_paystate",
        "Accept: */*",
    )
    return "\r\n".join(lines).encode() + END
