"""How Sandbox Pay speaks: its account, its events and their signature."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from paystate.kit.clock import SECOND
from paystate.simulators.sandbox.signature import sign
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Card, Dialect, Happening, Message

_COLLECTIONS = frozenset({"/v1/checkouts", "/v1/refunds", "/v1/transactions"})
_UNTOLD = frozenset({"refund.pending", "refund.failed"})


class SandboxDialect(Dialect):
    """The plainest there is: the words of the till are its own."""

    brand = "Sandbox Pay"
    accounts = (
        Account(
            id="acct_sandbox",
            live=False,
            webhook_secret="whsec_sandbox_paystate",  # noqa: S106  the published secrets of a fake
            keys=("sk_sandbox_paystate",),
        ),
    )
    cards: Mapping[str, Card] = {
        "4242424242424242": Card("pay"),
        "4000000000000002": Card("decline"),
        "4000000000009995": Card("decline", "insufficient_funds"),
        "4000000000000069": Card("decline", "expired_card"),
    }

    def messages(self, happening: Happening) -> Iterable[Message]:
        if happening.name in _UNTOLD:
            return []
        checkout = happening.checkout
        event_id = self.new_id("event", self.accounts[0], happening.at)
        body: dict[str, Any] = {
            "id": event_id,
            "type": happening.name,
            "created": happening.at // SECOND,
            "account": checkout.account,
            "live": checkout.live,
            "data": {"checkout": checkout.id, "reference": checkout.reference},
        }
        return [Message(happening.name, msgspec.json.encode(body), event_id)]

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        del event_id
        return sign(secret, body, self.stage.now())

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path in _COLLECTIONS:
            return Answer(200, {"data": [], "nextCursor": None})
        return self.error(404, "not_found", "There is no such object.")
