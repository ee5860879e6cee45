"""A till put together: the provider that the stage serves, on one state, speaking one dialect."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from aiohttp import web

from paystate.kit.clock import Instant
from paystate.simulators.calls import Call, Desk, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.record_file import Line
from paystate.simulators.stage import NO_DETAILS, Answer, Stage
from paystate.simulators.till.acts import Acts
from paystate.simulators.till.dialect import Dialect
from paystate.simulators.till.objects import Account, Checkout, RefundStatus
from paystate.simulators.till.outcomes import Outcomes
from paystate.simulators.till.page import CheckoutPage
from paystate.simulators.till.state import TillState
from paystate.simulators.webhook_sender import Delivery

NO_OTHERS: Mapping[str, Operation] = MappingProxyType({})


class Till:
    """What the registry of simulators starts; the provider's own API is added with `serve`."""

    def __init__(self, stage: Stage, dialect: Dialect) -> None:
        self.stage = stage
        self.dialect = dialect
        self.state = TillState(stage, dialect.accounts)
        self.acts = Acts(stage, self.state, dialect)
        self._desk = Desk(stage, self)
        self._routes: list[web.RouteDef] = [
            *CheckoutPage(stage, self.acts, dialect).routes(),
            *Outcomes(stage, self.state, self.acts, dialect).routes(),
        ]

    def serve(
        self, method: str, path: str, operation: Operation, *, by_query: Mapping[str, Operation] = NO_OTHERS
    ) -> None:
        """One call of the provider's API; with a query parameter named in `by_query` it is another operation."""

        async def answer(request: web.Request) -> web.StreamResponse:
            others = (other for name, other in by_query.items() if name in request.query)
            return await self._desk.serve(next(others, operation), request)

        self._routes.append(web.route(method, path, answer))

    # --- for the provider's API

    def account(self, call: Call) -> Account:
        return self.state.accounts[call.owner]

    def own_checkout(self, call: Call, checkout_id: str) -> Checkout:
        """The caller's checkout, looked at. Refuses with `not_found`."""
        checkout = self.acts.found(checkout_id)
        if checkout is None or checkout.owner != call.owner:
            raise refuse("not_found", "There is no such checkout.", 404)
        return checkout

    # What a call is about, for faults of one reference; such a question never refuses.

    def about_id(self, call: Call) -> Subject:
        """By the `id` in the path."""
        return about(self.state.checkouts.get(call.request.match_info["id"]))

    def about_reference(self, call: Call, reference: Any) -> Subject:
        if not isinstance(reference, str):
            return Subject()
        found = self.state.of_reference(call.account or "", reference)
        return about(found[-1]) if found else Subject(reference)

    def about_transaction(self, call: Call, transaction: Any) -> Subject:
        if not isinstance(transaction, str):
            return Subject()
        found = self.state.transaction(call.account or "", transaction)
        return about(None if found is None else found[0])

    def about_refund(self, call: Call) -> Subject:
        """By the `id` in the path."""
        refund = self.state.refunds.get(call.request.match_info["id"])
        if refund is None:
            return Subject()
        checkout = self.state.checkouts.get(refund.checkout)
        return Subject(None if checkout is None else checkout.reference, Instant(refund.created_at))

    # --- what the stage asks of a provider

    @property
    def operations(self) -> Iterable[str]:
        return self.dialect.operations

    def routes(self) -> Iterable[web.RouteDef]:
        return self._routes

    def authenticate(self, request: web.Request) -> str | None:
        key = self.dialect.key_of(request)
        return None if key is None else self.state.owner_of_key(key)

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        return self.dialect.read_body(request, raw)

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        return self.dialect.error(status, code, message, details)

    def not_found(self, request: web.Request) -> Answer:
        return self.dialect.not_found(request)

    def headers(self) -> Mapping[str, str]:
        return self.dialect.headers()

    def in_the_past(self) -> AbstractContextManager[None]:
        return self.state.in_the_past()

    def unknown_status(self, body: Any) -> Any:
        return self.dialect.unknown_status(body)

    def delivery(self, event_id: str) -> Delivery | None:
        event = self.state.events.get(event_id)
        return None if event is None else self.acts.delivery(event)

    def objects(self) -> dict[str, Any]:
        """The same rows at every till, in minor units, so that tests count objects alike."""
        checkouts = [self.acts.look(checkout) for checkout in list(self.state.checkouts)]
        return {
            "accounts": [account.row(self.dialect.brand) for account in self.state.accounts.values()],
            "checkouts": [{**c.row(self.dialect.page_url(c)), "owner": c.owner} for c in checkouts],
            "transactions": self.state.all_transactions(),
            "refunds": [{**refund.row(), "checkout": refund.checkout} for refund in self.state.refunds],
            "events": [event.row() for event in self.state.events],
        }

    def reset(self) -> None:
        self.state.clear()
        self.acts.refund_status = RefundStatus.SUCCEEDED
        self.dialect.reset()

    def reload(self, lines: Iterable[Line]) -> None:
        self.state.reload(lines)
        for checkout in list(self.state.checkouts):
            self.acts.await_settling(checkout)


def about(checkout: Checkout | None) -> Subject:
    """A checkout as the subject of a fault."""
    return Subject() if checkout is None else Subject(checkout.reference, Instant(checkout.created_at))
