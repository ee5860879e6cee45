"""Refunds of the simulated Flutterwave: started by the transaction's id, listed by day, without a key."""

from decimal import Decimal
from typing import Any

import msgspec

from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.flutterwave.api import UNKNOWN, day, good, minor, paged
from paystate.simulators.flutterwave.wire import refund_row
from paystate.simulators.shelf import Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Till

MAX_LISTED = 10_000


class RefundRequest(msgspec.Struct):
    """The body of ``POST /v3/transactions/{id}/refund``; without an amount all that is left."""

    amount: Decimal | None = None
    comments: str | None = None


class Refunds:
    """One method per call."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state

    def serve(self) -> None:
        till = self._till
        till.serve("POST", "/v3/transactions/{id}/refund", Operation("refund", self.refund, self._about))
        till.serve("GET", "/v3/refunds", Operation("ask_refund", self.list_refunds))
        till.serve("GET", "/v3/refunds/{id}", Operation("ask_refund", self.one, till.about_refund))

    def refund(self, call: Call) -> Answer:
        found = self._state.transaction(call.owner, call.request.match_info["id"])
        if found is None:
            raise refuse("not_found", UNKNOWN, 404)
        checkout, paid = found
        try:
            wanted = msgspec.json.decode(call.raw or b"{}", type=RefundRequest)
        except msgspec.ValidationError as error:
            raise refuse("invalid_request", str(error), 400) from None
        left = self._state.refundable(checkout, paid)
        amount = left if wanted.amount is None else minor(wanted.amount, paid.currency)
        if not 0 < amount <= left:
            raise refuse("invalid_amount", "Refund amount is more than what is left of the transaction", 400)
        extra = {"comments": wanted.comments}
        refund = self._till.acts.refund(checkout, paid, amount, checkout.reference, extra)
        return good("Transaction refund initiated", refund_row(refund))

    def list_refunds(self, call: Call) -> Answer:
        """By days, newest first."""
        first, last = day(call, "from", "0000-00-00"), day(call, "to", "9999-99-99")
        refunds, _ = self._state.refunds.newest(call.owner, Window(limit=MAX_LISTED))
        rows: list[dict[str, Any]] = [refund_row(refund) for refund in refunds]
        return paged(call, [row for row in rows if first <= row["created_at"][:10] <= last])

    def one(self, call: Call) -> Answer:
        refund = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise refuse("not_found", "Refund not found", 404)
        return good("Refund fetched", refund_row(refund))

    def _about(self, call: Call) -> Subject:
        return self._till.about_transaction(call, call.request.match_info["id"])
