"""Hedera against its simulator: money sent from a wallet page, read at a mirror node, and its faults."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from paystate.adapters.providers.hedera import Hedera, make
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    NoAnswer,
    Subject,
    Verdict,
)
from paystate.kit.clock import SECOND, Instant, SystemClock
from paystate.kit.money import Money
from paystate.machinery.http import Http
from paystate.simulators import RunningSimulator, start_simulator

OURS = "0.0.800001"
TEN = Money(10_100_000, "USDC")
HBAR = Money(2_500_000_000, "HBAR")


class Shop:
    """A merchant with a Hedera account, and a customer with a wallet."""

    def __init__(self, hedera: Hedera, simulator: RunningSimulator, http: aiohttp.ClientSession) -> None:
        self.hedera, self.http, self.base = hedera, http, simulator.base_url
        self.since = SystemClock().now()
        settings = {"accountId": OURS, "network": "mainnet", "assets": "HBAR,USDC", "baseUrl": self.base}
        self.account = Account("con_x", OURS, live=True, settings=settings, secrets={})

    async def open(self, reference: str, money: Money = TEN) -> str:
        """Start, and type the instructions into the wallet; the address of the page to send on."""
        link = "https://pay.test/pay/x"
        order = CheckoutOrder(reference, money, "Order 1", link, link, link, None)
        request = self.hedera.prepare(self.account, order)
        started = await self.hedera.start(self.account, request, idempotency_key="k")
        return await self.post("/wallet", dict(started.offer.fields))

    async def post(self, path: str, fields: dict[str, str]) -> str:
        url = path if path.startswith("http") else self.base + path
        async with self.http.post(url, data=fields, allow_redirects=False) as answer:
            return answer.headers.get("Location") or await answer.text()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(self.base + path) as answer:
            return answer.status, await answer.json()

    async def control(self, path: str, **body: Any) -> Any:
        async with self.http.post(f"{self.base}/_control/{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def force(self, outcome: str, reference: str, **more: Any) -> Any:
        return await self.control("outcomes", outcome=outcome, reference=reference, **more)

    async def ask(self, reference: str, money: Money = TEN) -> Verdict:
        return await self.hedera.ask(self.account, Subject(reference, None, self.since, money))


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    simulator, client = await start_simulator("hedera"), Http(allow_private=("127.0.0.0/8",))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield Shop(make(client), simulator, http)
    await client.close()
    await simulator.stop()


@pytest.mark.parametrize("money", [TEN, HBAR])
async def test_what_a_wallet_sends_is_found_by_its_memo(shop, money):
    page = await shop.open("k3v9d0q8w7e6r5t4y3u2", money)
    assert (await shop.ask("k3v9d0q8w7e6r5t4y3u2", money)).outcome is Outcome.PENDING
    await shop.post(f"{page}/act", {"act": "pay"})
    verdict = await shop.ask("k3v9d0q8w7e6r5t4y3u2", money)
    assert (verdict.outcome, verdict.account, verdict.live) == (Outcome.SUCCEEDED, OURS, True)
    assert (verdict.amount, verdict.currency) == (money.amount, money.currency)
    assert verdict.provider_at is not None
    assert abs(verdict.provider_at - shop.since) < 60 * SECOND
    status, found = await shop.get(f"/api/v1/transactions?timestamp={verdict.transaction_id}")
    assert (status, len(found["transactions"])) == (200, 1)
    name = found["transactions"][0]["transaction_id"]
    assert await shop.get(f"/api/v1/transactions/{name}") == (200, {"transactions": found["transactions"]})
    assert sum(entry["amount"] for entry in found["transactions"][0]["transfers"]) == 0


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("pay", Outcome.SUCCEEDED),
        ("decline", Outcome.PENDING),
        ("fail", Outcome.PENDING),
        ("process", Outcome.PENDING),
        ("expire", Outcome.PENDING),
    ],
)
async def test_only_money_is_seen(shop, outcome, expected):
    await shop.open("r")
    await shop.force(outcome, "r")
    assert (await shop.ask("r")).outcome is expected


@pytest.mark.parametrize("money", [TEN, HBAR])
async def test_money_sent_back_with_the_memo(shop, money):
    await shop.open("r", money)
    await shop.force("pay", "r")
    await shop.force("refund", "r", amount=100)
    verdict = await shop.ask("r", money)
    assert (verdict.outcome, verdict.amount_refunded) == (Outcome.SUCCEEDED, 100)
    await shop.force("refund", "r")
    assert (await shop.ask("r", money)).outcome is Outcome.REFUNDED


@pytest.mark.parametrize(
    ("lie", "field", "value"),
    [
        ({"amount": 7}, "amount", 7),
        ({"amount": 10**12}, "amount", 10**12),
        ({"currency": "HBAR"}, "currency", "HBAR"),
        ({"currency": "EUR"}, "outcome", Outcome.UNKNOWN),
        ({"account": "0.0.9"}, "outcome", Outcome.PENDING),
        ({"transactionReference": "another"}, "outcome", Outcome.PENDING),
        ({"transactionReference": "R"}, "reference", "r"),
    ],
)
async def test_less_more_and_elsewhere(shop, lie, field, value):
    await shop.open("r")
    await shop.force("pay", "r", **lie)
    assert getattr(await shop.ask("r"), field) == value


async def test_a_second_payment_of_the_same_memo_is_further(shop):
    await shop.open("r")
    await shop.force("pay", "r")
    await shop.force("pay", "r", amount=5)
    verdict = await shop.ask("r")
    assert (verdict.amount, [v.amount for v in verdict.further]) == (TEN.amount, [5])
    assert verdict.transaction_id != verdict.further[0].transaction_id


async def test_more_than_a_page_is_read_and_listed(shop):
    await shop.open("r")
    for _ in range(120):
        await shop.force("pay", "r", amount=3)
    verdict = await shop.ask("r")
    assert len(verdict.further) == 119
    until = Instant(shop.since + 60 * SECOND)
    listed = await shop.hedera.list_checkouts(shop.account, since=shop.since, until=until, cursor=None)
    assert (len(listed.verdicts), listed.verdicts[0].reference) == (100, "r")
    rest = await shop.hedera.list_checkouts(
        shop.account, since=shop.since, until=until, cursor=listed.next_cursor
    )
    assert (len(rest.verdicts), rest.next_cursor) == (20, None)
    assert len({v.transaction_id for v in (*listed.verdicts, *rest.verdicts)}) == 120


async def test_filters_order_and_limits_of_the_mirror(shop):
    await shop.open("r")
    for amount in (1, 2, 3):
        await shop.force("pay", "r", amount=amount)
    await shop.force("refund", "r")

    async def amounts(query: str) -> list[int]:
        status, found = await shop.get(f"/api/v1/transactions?account.id={OURS}&{query}")
        assert status == 200
        return [row["token_transfers"][1]["amount"] for row in found["transactions"]]

    assert await amounts("order=asc") == [1, 2, 3, -1]
    assert await amounts("") == [-1, 3, 2, 1]
    assert await amounts("type=credit&order=asc") == [1, 2, 3]
    assert await amounts("type=debit") == [-1]
    assert await amounts("result=fail") == []
    assert await amounts("transactiontype=tokenmint") == []
    _, first = await shop.get(f"/api/v1/transactions?account.id={OURS}&limit=2")
    assert [row["token_transfers"][1]["amount"] for row in first["transactions"]] == [-1, 3]
    _, second = await shop.get(first["links"]["next"])
    assert [row["token_transfers"][1]["amount"] for row in second["transactions"]] == [2, 1]
    times = [row["consensus_timestamp"] for row in second["transactions"]]
    assert await amounts(f"timestamp=gte:{times[1]}&timestamp=lt:{times[0]}") == [1]
    assert await amounts(f"timestamp=gt:{times[1]}&timestamp=lte:{times[0]}") == [2]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "order=up", "account.id=x", "timestamp=soon", "result=maybe"]
)
async def test_wrong_parameters_are_named(shop, query):
    status, said = await shop.get(f"/api/v1/transactions?{query}")
    name = query.partition("=")[0]
    assert (status, said) == (400, {"_status": {"messages": [{"message": f"Invalid parameter: {name}"}]}})


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("outage", NoAnswer),
        ("error502", NoAnswer),
        ("rate_limit429", NoAnswer),
        ("unauthorized401", CredentialsRefused),
        ("html", NoAnswer),
        ("truncated", NoAnswer),
        ("empty", NoAnswer),
        ("huge", NoAnswer),
        ("invalid_utf8", NoAnswer),
        ("gzip_bomb", NoAnswer),
    ],
)
async def test_no_fault_is_an_answer(shop, fault, raised):
    await shop.open("r")
    await shop.force("pay", "r")
    await shop.control("faults", operation="ask", kind=fault, times=1)
    with pytest.raises(raised):
        await shop.ask("r")
    assert (await shop.ask("r")).outcome is Outcome.SUCCEEDED


async def test_answers_of_wrong_types_are_none(shop):
    await shop.control("faults", operation="ask", kind="wrong_type", times=7)
    for _ in range(7):
        with pytest.raises(NoAnswer):
            await shop.ask("r")


async def test_a_lagging_mirror_and_an_unheard_of_result(shop):
    await shop.open("r")
    await shop.force("pay", "r")
    for fault, outcome in (
        ("not_found404", Outcome.PENDING),
        ("unknown_status", Outcome.UNKNOWN),
        ("stale", Outcome.PENDING),
    ):
        await shop.control("faults", operation="ask", kind=fault, times=1)
        assert (await shop.ask("r")).outcome is outcome
    assert (await shop.ask("r")).outcome is Outcome.SUCCEEDED


async def test_the_account_proves_itself_and_its_token(shop):
    identity = await shop.hedera.identify(shop.account)
    assert (identity.account, identity.live) == (OURS, True)
    await shop.control("accounts", account=OURS, extra={"associated": "no"})
    with pytest.raises(CredentialsRefused):
        await shop.hedera.identify(shop.account)
    await shop.control("accounts", account=OURS, extra={"maxAutoAssociations": "-1"})
    await shop.hedera.identify(shop.account)


async def test_the_wallet_says_what_is_wrong(shop):
    given = {"account": OURS, "amount": "1.5", "asset": "HBAR", "memo": "r"}
    assert "INVALID_ACCOUNT_ID" in await shop.post("/wallet", given | {"account": "0.0.1"})
    assert "INVALID_ACCOUNT_AMOUNTS" in await shop.post("/wallet", given | {"amount": "0"})
    assert "INVALID_ACCOUNT_AMOUNTS" in await shop.post("/wallet", given | {"asset": "BTC"})
    assert "MEMO_TOO_LONG" in await shop.post("/wallet", given | {"memo": "ä" * 51})
    page = await shop.post("/wallet", given)
    async with shop.http.get(page) as shown:
        assert "HBAR 1.50000000" in await shown.text()
    async with shop.http.get(f"{shop.base}/wallet?memo=%22x") as shown:
        assert 'value="&quot;x"' in await shown.text()


async def test_the_rate_and_the_newest_block(shop):
    _, rate = await shop.get("/api/v1/network/exchangerate")
    assert rate["current_rate"]["cent_equivalent"] == 596_987
    _, blocks = await shop.get("/api/v1/blocks?limit=1&order=desc")
    assert blocks["blocks"][0]["timestamp"]["from"] < blocks["blocks"][0]["timestamp"]["to"]
