"""Sandbox Pay put together: its API, its page, its outcomes, on one state."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from paystate.simulators.record_file import Line
from paystate.simulators.sandbox.acts import Acts
from paystate.simulators.sandbox.api import OPERATIONS, Api
from paystate.simulators.sandbox.objects import RefundStatus
from paystate.simulators.sandbox.outcomes import Outcomes
from paystate.simulators.sandbox.page import CheckoutPage
from paystate.simulators.sandbox.state import SandboxState
from paystate.simulators.stage import Answer, Stage
from paystate.simulators.webhook_sender import Delivery

_BEARER = "Bearer "
_COLLECTIONS = frozenset({"/v1/checkouts", "/v1/refunds", "/v1/transactions"})


class SandboxPay:
    """The provider the stage serves."""

    operations = OPERATIONS

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._state = SandboxState(stage)
        self._acts = Acts(stage, self._state)

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            *Api(self._stage, self, self._state, self._acts).routes(),
            *CheckoutPage(self._stage, self._acts).routes(),
            *Outcomes(self._stage, self._state, self._acts).routes(),
        ]

    def authenticate(self, request: web.Request) -> str | None:
        header = request.headers.get("Authorization", "")
        return self._state.owner_of_key(header[len(_BEARER) :]) if header.startswith(_BEARER) else None

    def error(self, status: int, code: str, message: str) -> Answer:
        return Answer(status, {"error": {"code": code, "message": message}})

    def not_found(self, request: web.Request) -> Answer:
        if request.method == "GET" and request.path in _COLLECTIONS:
            return Answer(200, {"data": [], "nextCursor": None})
        return self.error(404, "not_found", "There is no such object.")

    def earlier(self, object_id: str) -> dict[str, Any] | None:
        checkout = self._state.checkouts.before(object_id)
        if checkout is not None:
            return checkout.wire(self._stage.base_url)
        refund = self._state.refunds.before(object_id)
        return None if refund is None else refund.wire()

    def delivery(self, event_id: str) -> Delivery | None:
        event = self._state.events.get(event_id)
        return None if event is None else self._acts.delivery(event)

    def objects(self) -> dict[str, Any]:
        base_url = self._stage.base_url
        checkouts = [self._acts.look(checkout) for checkout in list(self._state.checkouts)]
        return {
            "accounts": [account.wire() for account in self._state.accounts.values()],
            "checkouts": [{**checkout.wire(base_url), "owner": checkout.owner} for checkout in checkouts],
            "transactions": self._state.all_transactions(),
            "refunds": [{**refund.wire(), "checkout": refund.checkout} for refund in self._state.refunds],
            "events": [event.wire() for event in self._state.events],
        }

    def reset(self) -> None:
        self._state.clear()
        self._acts.refund_status = RefundStatus.SUCCEEDED

    def reload(self, lines: Iterable[Line]) -> None:
        self._state.reload(lines)
        for checkout in list(self._state.checkouts):
            self._acts.await_settling(checkout)


def create_simulator(stage: Stage) -> SandboxPay:
    """What the registry of simulators looks for."""
    return SandboxPay(stage)
