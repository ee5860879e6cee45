"""A provider that answers every question of the sandbox adapter after exactly 50 ms, in a process of its own.

`python -m benchmarks.stub open|paid|list:OURS:FOREIGN`: it says its port, and stops on SIGTERM. With `list:…` it has a list, too,
oldest first, foreign objects among ours; each page that is read brings ten more foreign ones, younger than any window.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from benchmarks.processes import say
from benchmarks.seed import ACCOUNT, AMOUNT, CURRENCY, checkout_of, reference_of

DELAY_SECONDS = 0.050
MAX_PENDING_BYTES = 65_536
PAGE, ARRIVALS = 100, 10
END = b"\r\n\r\n"

_OPEN = (
    '{{"id":"{id}","reference":"{reference}","amount":{amount},"currency":"{currency}",'
    '"description":"Two tickets for the evening show","status":"{status}","url":"http://127.0.0.1/checkout/{id}",'
    '"account":"{account}","live":false,"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z",'
    '"expiresAt":"2036-01-01T00:00:00Z","decline":null,"transaction":{transaction}}}'
)
_TRANSACTION = (
    '{{"id":"txn_{number:015d}","amount":{amount},"currency":"{currency}","reference":"{reference}","method":"card",'
    '"fee":37,"paidAt":"2026-01-01T00:00:00Z","amountRefunded":0}}'
)


def answer_for(path: str, *, paid: bool) -> bytes:
    """The checkout named in the path, whole."""
    checkout = path.rpartition("/")[2]
    number = int(checkout.rpartition("_")[2])
    money = {"amount": AMOUNT, "currency": CURRENCY, "reference": reference_of(number)}
    transaction = _TRANSACTION.format(number=number, **money) if paid else "null"
    status = "paid" if paid else "open"
    return _whole(_OPEN.format(id=checkout, account=ACCOUNT, status=status, transaction=transaction, **money))


@dataclass(slots=True)
class Books:
    """What the provider knows, and how often it was asked."""

    paid: bool
    ours: int = 0
    foreign: int = 0
    calls: int = 0

    def answer(self, path: str) -> bytes:
        """The answer to this request, and where it came from counted."""
        if path == "/calls":
            return _whole(f'{{"calls":{self.calls}}}')
        self.calls += 1
        if self.ours and path.startswith("/v1/checkouts?"):
            return self._page(parse_qs(urlsplit(path).query))
        return answer_for(path, paid=self.paid)

    def _page(self, query: dict[str, list[str]]) -> bytes:
        """A page of the window that was frozen by its first reader: what arrived since lies behind its end."""
        first, until = (
            (int(part) for part in query["cursor"][0].split("."))
            if "cursor" in query
            else (0, self.ours + self.foreign)
        )
        self.foreign += ARRIVALS
        end = min(first + PAGE, until)
        rows = ",".join(self._row(n, until) for n in range(first, end))
        cursor = f'"{end}.{until}"' if end < until else "null"
        return _whole(f'{{"data":[{rows}],"nextCursor":{cursor}}}')

    def _row(self, place: int, until: int) -> str:
        """Ours are spread evenly over the whole."""
        number = place * self.ours // until
        mine = number != (place - 1) * self.ours // until if place else True
        reference = reference_of(number) if mine else f"foreign{place:013d}"
        checkout = checkout_of(number) if mine else f"chk_f{place:014d}"
        money = {"amount": AMOUNT, "currency": CURRENCY, "reference": reference}
        return _OPEN.format(id=checkout, account=ACCOUNT, status="open", transaction="null", **money)


def _whole(body: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


class Stub(asyncio.Protocol):
    """One connection: requests come one at a time, each is answered a constant time later."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        if len(self._buffer) > MAX_PENDING_BYTES:
            self._transport.abort()
        while END in self._buffer:
            head, _, self._buffer = self._buffer.partition(END)
            path = head.split(b" ", 2)[1].decode()
            asyncio.get_running_loop().call_later(DELAY_SECONDS, self._answer, self._books.answer(path))

    def _answer(self, whole: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(whole)


async def main(mode: str) -> None:
    kind, *counts = mode.split(":")
    books = Books(kind == "paid", *(int(count) for count in counts))
    server = await asyncio.get_running_loop().create_server(
        lambda: Stub(books), "127.0.0.1", 0, backlog=1_024
    )
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
