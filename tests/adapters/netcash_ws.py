"""Netcash's web services in miniature for the wire tests: what they answer per trace, and what they were asked."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from paystate.adapters.providers.netcash import BASE_URL, PAY_URL
from paystate.domain.payments.port import Account, CheckoutOrder, Subject
from paystate.kit.clock import Instant
from paystate.kit.money import Money

KEY = "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f"
TRACE = "1f6d2c0e-6a55-4b5e-9d4e-2f2b3c4d5e6f"
OTHER_TRACE = "2f6d2c0e-6a55-4b5e-9d4e-2f2b3c4d5e6f"
REFERENCE = "k3v9d0q8w7e6r5t4y3u2"
CONNECTION = "con_01jd8x6q4tj3v2m1n0p9r8s7t6"
BALANCE = (
    b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetAvailableBalanceResponse '
    b'xmlns="http://tempuri.org/"><GetAvailableBalanceResult xmlns:a="http://x/"><a:AvailableBalance>12.50'
    b"</a:AvailableBalance><a:CurrentBalance>12.50</a:CurrentBalance></GetAvailableBalanceResult>"
    b"</GetAvailableBalanceResponse></s:Body></s:Envelope>"
)


@dataclass
class Ws:
    """Netcash's web services: answers per trace, and what was asked."""

    url: str = ""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    soap: tuple[int, bytes] = (200, BALANCE)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    posted: list[tuple[str, str]] = field(default_factory=list)

    async def check(self, request: web.Request) -> web.Response:
        trace = request.query["RequestTrace"]
        self.asked.append(trace)
        status, body = self.answers.get(trace, (404, b""))
        return web.Response(status=status, body=body, headers=self.headers)

    async def balance(self, request: web.Request) -> web.Response:
        self.posted.append((request.headers["SOAPAction"], await request.text()))
        return web.Response(status=self.soap[0], body=self.soap[1])


def account(ws: Ws | None = None, *, secret: str = "", **settings: str) -> Account:
    base = {
        "serviceKey": KEY,
        "mode": "live",
        "payUrl": PAY_URL,
        "baseUrl": BASE_URL if ws is None else ws.url,
    }
    secrets = {"accountServiceKey": secret} if secret else {}
    return Account(CONNECTION, "netcash_0011223344556677", True, base | settings, secrets)


def order(amount: int, currency: str = "ZAR", description: str = "Order 1") -> CheckoutOrder:
    page = "https://pay.test/pay/x"
    return CheckoutOrder(REFERENCE, Money(amount, currency), description, page, page, page, None)


def said(**changes: Any) -> bytes:
    """The answer of the sheet, with changes; a change to `...` leaves the field out."""
    fields = {
        "TransactionAccepted": True,
        "CardHolderIpAddr": "197.80.1.2",
        "RequestTrace": TRACE,
        "Reference": REFERENCE,
        "Extra1": "",
        "Extra2": CONNECTION,
        "Extra3": "",
        "Amount": msgspec.Raw(b"150.00"),
        "Method": "1",
        "Reason": "",
    } | changes
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not ...})


def subject(*traces: str, known: str | None = None) -> Subject:
    return Subject(REFERENCE, known, Instant(0), Money(15_000, "ZAR"), traces)
