"""Questions over bare sockets, without client library, adapter or rules: the peer of asking, and a load driver."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

END = b"\r\n\r\n"
LENGTH = b"content-length:"
GOOD = b"HTTP/1.1 200"


class Answers(NamedTuple):
    """How many answers came whole, how many of them were 200, and how long the last body was."""

    whole: int
    good: int
    body_bytes: int


class Asker(asyncio.Protocol):
    """Asks one question after the other over one connection, the next as soon as an answer is whole."""

    def __init__(self, questions: Iterator[bytes], done: "asyncio.Future[None]") -> None:
        self._questions = questions
        self._done = done
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.answered = 0
        self.good = 0
        self.body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(END)
        if end and len(body) >= _length(head):
            self._buffer = b""
            self.answered += 1
            self.good += head.startswith(GOOD)
            self.body_bytes = len(body)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the other side closed the connection"))

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


async def ask_each(port: int, questions: Iterable[bytes], in_flight: int) -> Answers:
    """Ask all of them, so many at a time, each connection one after the other."""
    loop = asyncio.get_running_loop()
    shared = iter(questions)
    waiting = [loop.create_future() for _ in range(in_flight)]
    askers = [Asker(shared, done) for done in waiting]
    for asker in askers:
        await loop.create_connection(lambda asker=asker: asker, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*waiting)
    sizes = [asker.body_bytes for asker in askers]
    return Answers(sum(a.answered for a in askers), sum(a.good for a in askers), max(sizes))


async def ask_all(port: int, checkouts: Sequence[str], in_flight: int) -> int:
    """Ask a provider about all of these; answers how many answers came."""
    questions = [_question(port, checkout) for checkout in checkouts]
    return (await ask_each(port, questions, in_flight)).good


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
