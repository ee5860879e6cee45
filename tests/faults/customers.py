"""People at an installation's door: they ask until they are answered, and remember every answer they were given."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tests.faults.processes import CRON_SECRET, Installation

from paystate.kit.clock import SECOND, SystemClock, monotonic

PATIENCE_SECONDS = 90.0
ONE_CALL_SECONDS = 15.0
PAUSE_SECONDS = 0.1
LOOK_SECONDS = 0.4
WEBHOOK_SECRET = "whsec_sandbox_paystate"
ASK_AGAIN = {408, 429, 500, 502, 503}
STANDING = ("id", "shortCode", "payUrl", "amount", "currency", "description", "reference", "createdAt")
"""What of a created payment never changes afterwards."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]
    tries: int

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotency-Replayed") == "true"


@dataclass
class Customers:
    """One HTTP client for all of them, and what they were promised."""

    shop: Installation
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By payment id: the body that acknowledged it."""
    checkouts: dict[str, str] = field(default_factory=dict)
    """By payment id: the provider's checkout the customer was sent to."""
    _http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Customers":
        timeout = aiohttp.ClientTimeout(total=ONE_CALL_SECONDS)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def once(self, method: str, path: str, *, web: int = 0, **given: Any) -> Reply:
        """One request; raises what aiohttp raises when nobody answers."""
        assert self._http is not None
        webs = self.shop.webs
        url = f"{webs[web % len(webs)].url}{path}"
        async with self._http.request(method, url, allow_redirects=False, **given) as answer:
            text = await answer.text()
            body = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
            return Reply(answer.status, body, dict(answer.headers), 1)

    async def ask(self, method: str, path: str, **given: Any) -> Reply:
        """The same until somebody answers for good: a dead, busy or overtaken server is asked again."""
        deadline, tries = monotonic() + PATIENCE_SECONDS, 0
        reason = "nothing"
        while monotonic() < deadline:
            tries += 1
            try:
                reply = await self.once(method, path, **given)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = repr(error)
            else:
                busy = reply.status in ASK_AGAIN or _in_progress(reply)
                if not busy:
                    return Reply(reply.status, reply.body, reply.headers, tries)
                reason = f"{reply.status} {reply.body}"
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"{method} {path} was not answered in {tries} tries; last: {reason}")

    async def create(self, name: str, amount: int = 1000, *, web: int = 0, **values: Any) -> dict[str, Any]:
        """A payment, acknowledged; asked for again with the same key until it is."""
        body = {
            "amount": amount,
            "currency": "EUR",
            "description": f"Tea {name}",
            "reference": name,
            **values,
        }
        headers = {"Authorization": f"Bearer {self.shop.key}", "Idempotency-Key": f"create-{name}"}
        reply = await self.ask("POST", "/api/payments", json=body, headers=headers, web=web)
        assert reply.status == 201, (reply.status, reply.body)
        known = self.created.setdefault(reply.body["id"], reply.body)
        assert known == reply.body
        return dict(reply.body)

    async def check_out(self, payment: Mapping[str, Any], *, web: int = 0) -> str:
        """Start paying, until the provider's page is known; answers the provider's checkout id."""
        path = f"/api/payment-links/{payment['shortCode']}/checkout"
        deadline = monotonic() + PATIENCE_SECONDS
        round_ = 0
        while monotonic() < deadline:
            # 202 is an answer too, and kept under its key: whoever wants the page asks anew.
            headers = {"Idempotency-Key": f"checkout-{payment['reference']}-{round_}"}
            reply = await self.ask("POST", path, json={"provider": "sandbox"}, headers=headers, web=web)
            assert reply.status in (200, 202), (reply.status, reply.body)
            if reply.status == 200:
                checkout = str(reply.body["redirectUrl"]).rpartition("/")[2]
                assert self.checkouts.setdefault(payment["id"], checkout) == checkout
                return checkout
            round_ += 1
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"no checkout for {payment['id']}")

    async def pay(self, checkout: str) -> None:
        """At the provider's page; its webhook follows."""
        await self.shop.sandbox.control("outcomes", {"checkout": checkout, "outcome": "pay"})

    async def come_back(self, payment: Mapping[str, Any], query: str = "", *, web: int = 0) -> Reply:
        return await self.ask("GET", f"/pay/{payment['shortCode']}/return{query}", web=web)

    async def verify(self, payment: Mapping[str, Any], *, web: int = 0) -> Reply:
        """The merchant's operator wants to know now."""
        headers = {"Authorization": f"Bearer {self.shop.key}"}
        return await self.ask("POST", f"/api/payments/{payment['id']}/verify", headers=headers, web=web)

    async def look(self, payment: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.shop.key}"}
        reply = await self.ask("GET", f"/api/payments/{payment['id']}", headers=headers)
        assert reply.status == 200, f"{payment['id']} was acknowledged and is gone: {reply.body}"
        return dict(reply.body)

    async def reaches(self, payment: Mapping[str, Any], state: str) -> None:
        """Wait until the payment is in this state."""
        deadline, seen = monotonic() + PATIENCE_SECONDS, ""
        while monotonic() < deadline:
            seen = (await self.look(payment))["state"]
            if seen == state:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"{payment['id']} is {seen}, not {state}")

    async def run_job(self, name: str) -> Reply:
        return await self.ask("POST", f"/api/jobs/{name}", headers={"x-cron-secret": CRON_SECRET})

    async def webhook(self, event: str, *, web: int = 0, patient: bool = True, **data: str) -> Reply:
        """A webhook of the provider with a valid signature, naming what `data` names."""
        body = json.dumps({"id": event, "type": "checkout.paid", "data": data}).encode()
        seconds = SystemClock().now() // SECOND
        mac = hmac.new(WEBHOOK_SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            "Sandbox-Signature": f"t={seconds},v1={mac.hexdigest()}",
        }
        assert self.shop.connection is not None
        path = f"/api/webhooks/sandbox/{self.shop.connection.id}"
        send = self.ask if patient else self.once
        return await send("POST", path, data=body, headers=headers, web=web)

    async def nothing_acknowledged_is_missing(self) -> None:
        """Every payment somebody was told of exists, is the same, and exists once."""
        for payment_id, told in self.created.items():
            standing = await self.look(told)
            assert {name: standing[name] for name in STANDING} == {name: told[name] for name in STANDING}, (
                payment_id
            )
        references = [told["reference"] for told in self.created.values()]
        assert len(references) == len(set(references))


def _in_progress(reply: Reply) -> bool:
    return (
        reply.status == 409
        and isinstance(reply.body, dict)
        and reply.body["code"] == "idempotency_in_progress"
    )
