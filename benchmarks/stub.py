"""A provider that answers every question of the sandbox adapter after exactly 50 ms, in a process of its own.

`python -m benchmarks.stub open|paid`: it says its port, and stops on SIGTERM.
"""

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.processes import say
from benchmarks.seed import ACCOUNT, AMOUNT, CURRENCY, reference_of

DELAY_SECONDS = 0.050
MAX_PENDING_BYTES = 65_536
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
    body = _OPEN.format(id=checkout, account=ACCOUNT, status=status, transaction=transaction, **money)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


class Stub(asyncio.Protocol):
    """One connection: requests come one at a time, each is answered a constant time later."""

    def __init__(self, *, paid: bool) -> None:
        self._paid = paid
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
            asyncio.get_running_loop().call_later(
                DELAY_SECONDS, self._answer, answer_for(path, paid=self._paid)
            )

    def _answer(self, whole: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(whole)


async def main(mode: str) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Stub(paid=mode == "paid"), "127.0.0.1", 0, backlog=1_024
    )
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
