"""A mirror node in miniature for the wire tests: pages given by hand, and what was asked."""

import base64
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from paystate.domain.payments.port import Account, CheckoutOrder, Subject
from paystate.kit.clock import SECOND, Instant
from paystate.kit.money import Money

OURS, PAYER, USDC = "0.0.800001", "0.0.700001", "0.0.456858"
REFERENCE = "k3v9d0q8w7e6r5t4y3u2"
CREATED = Instant(1_760_000_000 * SECOND)
NEXT = "/api/v1/transactions?account.id=0.0.800001&limit=100&order=asc&timestamp=gt:"


@dataclass
class Mirror:
    """Answers by path; transactions by the query that asks for them, `""` for any."""

    url: str = ""
    status: int = 200
    pages: dict[str, bytes] = field(default_factory=dict)
    accounts: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    held: list[str] = field(default_factory=lambda: [USDC])
    asked: list[str] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)

    async def transactions(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        self.headers.append(request.headers.get("X-Api-Key"))
        after = request.query.get("timestamp", "")
        return web.Response(status=self.status, body=self.pages.get(after, self.pages.get("", page([]))))

    async def account(self, request: web.Request) -> web.Response:
        return found(self.accounts, request.match_info["id"])

    async def token(self, request: web.Request) -> web.Response:
        return found(self.tokens, request.match_info["id"])

    async def holdings(self, request: web.Request) -> web.Response:
        wanted = request.query["token.id"]
        rows = [{"token_id": token, "balance": 0} for token in self.held if token == wanted]
        return web.json_response({"tokens": rows, "links": {"next": None}})

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/transactions", self.transactions),
            web.get("/api/v1/accounts/{id}", self.account),
            web.get("/api/v1/accounts/{id}/tokens", self.holdings),
            web.get("/api/v1/tokens/{id}", self.token),
        ]


def found(things: dict[str, Any], name: str) -> web.Response:
    if name in things:
        return web.json_response(things[name])
    return web.json_response({"_status": {"messages": [{"message": "Not found"}]}}, status=404)


def page(rows: list[dict[str, Any]], following: str | None = None) -> bytes:
    return msgspec.json.encode({"transactions": rows, "links": {"next": following}})


def sent(at: str = "1760000010.123456789", memo: str | bytes = REFERENCE, **changes: Any) -> dict[str, Any]:
    """The transaction of the sheet: 10.10 USDC from the payer to us, with changes."""
    encoded = memo if isinstance(memo, bytes) else base64.b64encode(memo.encode())
    return {
        "charged_tx_fee": 84_650,
        "consensus_timestamp": at,
        "memo_base64": encoded.decode(),
        "name": "CRYPTOTRANSFER",
        "nft_transfers": [],
        "result": "SUCCESS",
        "scheduled": False,
        "staking_reward_transfers": [],
        "token_transfers": moved(-10_100_000, 10_100_000, token_id=USDC),
        "transaction_id": f"{PAYER}-1760000005-000000006",
        "transfers": [entry("0.0.5", 3_200), entry("0.0.98", 81_450), entry(PAYER, -84_650)],
    } | changes


def entry(account: str, amount: int, **more: str) -> dict[str, Any]:
    return {"account": account, "amount": amount, "is_approval": False} | more


def moved(payer: int, ours: int, **more: str) -> list[dict[str, Any]]:
    return [entry(PAYER, payer, **more), entry(OURS, ours, **more)]


def hbar(amount: int, at: str = "1760000010.123456789", **changes: Any) -> dict[str, Any]:
    """HBAR to us; the payer pays the fee as well."""
    transfers = [entry("0.0.5", 3_200), *moved(-amount - 3_200, amount)]
    return sent(at, **({"token_transfers": [], "transfers": transfers} | changes))


def given_back(amount: int, at: str, token: str = USDC) -> dict[str, Any]:
    """What we sent to the payer with the same memo, and the fee that we paid for it."""
    fee = [entry("0.0.98", 84_650), entry(OURS, -84_650)]
    ours = f"{OURS}-1760000020-000000001"
    if token == "HBAR":
        transfers = [entry("0.0.98", 84_650), *moved(amount, -amount - 84_650)]
        return sent(at, token_transfers=[], transfers=transfers, transaction_id=ours)
    back = moved(amount, -amount, token_id=token)
    return sent(at, token_transfers=back, transfers=fee, transaction_id=ours)


def account(mirror: Mirror | None = None, *, header: str = "", **settings: str) -> Account:
    defaults = {"accountId": OURS, "assets": "HBAR,USDC", "network": "mainnet"}
    url = "https://mainnet.mirrornode.hedera.com" if mirror is None else mirror.url
    secrets = {"header": header} if header else {}
    return Account("con_x", OURS, True, defaults | {"baseUrl": url} | settings, secrets)


def order(amount: int, currency: str) -> CheckoutOrder:
    link = "https://pay.test/pay/x"
    return CheckoutOrder(REFERENCE, Money(amount, currency), "Order 1", link, link, link, None)


def subject(amount: int = 10_100_000, currency: str = "USDC") -> Subject:
    return Subject(REFERENCE, None, CREATED, Money(amount, currency))
