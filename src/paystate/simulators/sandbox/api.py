"""The merchant's API of Sandbox Pay under /v1."""

from typing import Annotated, Any, TypeVar

import msgspec

from paystate.kit.clock import DAY, Instant, parse_rfc3339
from paystate.kit.money import EXPONENTS, MAX_AMOUNT
from paystate.simulators.calls import Call, Keys, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.shelf import MAX_PAGE, Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Checkout, Status, Till

KEYS = Keys()
DEFAULT_LIMIT = 25
LIFETIME = DAY
MAX_URL = 2_048

_Amount = Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
_Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[!-~]+$")]
_Url = Annotated[str, msgspec.Meta(max_length=MAX_URL, pattern=r"^https?://[!-~]+$")]
T = TypeVar("T")


class StartRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of ``POST /v1/checkouts``; unknown fields are ignored."""

    reference: _Reference
    amount: _Amount
    currency: str
    description: Annotated[str, msgspec.Meta(max_length=500)]
    return_url: _Url
    cancel_url: _Url
    webhook_url: _Url | None = None
    expires_at: str | None = None


class RefundBody(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/refunds``."""

    transaction: str
    amount: _Amount
    reference: _Reference


class Api:
    """One method per call; who asks sees only what belongs to its account."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state
        self._acts = till.acts

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till = self._till
        ask = Operation("ask", self.ask, till.about_id)
        by_reference = Operation("ask", self.ask_by_reference, self._about_reference)
        refund = Operation("refund", self.refund, self._about_transaction, keys=KEYS)
        till.serve("POST", "/v1/checkouts", Operation("start", self.start, _reference_in_body, keys=KEYS))
        listing = Operation("list", self.list_checkouts)
        till.serve("GET", "/v1/checkouts", listing, by_query={"reference": by_reference})
        till.serve("GET", "/v1/checkouts/{id}", ask)
        till.serve("POST", "/v1/checkouts/{id}/close", Operation("close", self.close, till.about_id))
        till.serve("POST", "/v1/refunds", refund)
        of_it = Operation("ask_refund", self.ask_refunds, self._about_transaction)
        till.serve("GET", "/v1/refunds", of_it)
        till.serve("GET", "/v1/refunds/{id}", Operation("ask_refund", self.ask_refund, till.about_refund))
        till.serve("GET", "/v1/account", Operation("account", self.account))
        till.serve("GET", "/v1/transactions", Operation("list", self.list_transactions))

    def start(self, call: Call) -> Answer:
        wanted = _body_as(call, StartRequest)
        if wanted.currency not in EXPONENTS:
            raise refuse("invalid_currency", "This currency is not known.")
        held = self._state.live_of_reference(call.owner, wanted.reference)
        if held is not None and self._acts.look(held).status is not Status.EXPIRED:
            raise refuse("duplicate_reference", "There is a checkout for this reference.", 409)
        checkout = self._acts.opened(self._new_checkout(call, wanted))
        return Answer(201, self._wire(checkout), first=lambda: self._acts.tell_early(checkout))

    def ask(self, call: Call) -> Answer:
        return Answer(200, self._wire(self._till.own_checkout(call, call.request.match_info["id"])))

    def ask_by_reference(self, call: Call) -> Answer:
        found = self._state.of_reference(call.owner, call.request.query["reference"])
        return Answer(200, {"data": [self._wire(self._acts.look(checkout)) for checkout in found]})

    def list_checkouts(self, call: Call) -> Answer:
        window = _window(call, "createdFrom", "createdTo")
        rows, cursor = _page(lambda: self._state.checkouts.page(call.owner, window))
        return Answer(200, {"data": [self._wire(self._acts.look(row)) for row in rows], "nextCursor": cursor})

    def list_transactions(self, call: Call) -> Answer:
        window = _window(call, "from", "to")
        rows, cursor = _page(lambda: self._state.transactions(call.owner, window))
        return Answer(200, {"data": [row.row() for row in rows], "nextCursor": cursor})

    def close(self, call: Call) -> Answer:
        return Answer(
            200, self._wire(self._acts.close(self._till.own_checkout(call, call.request.match_info["id"])))
        )

    def refund(self, call: Call) -> Answer:
        wanted = _body_as(call, RefundBody)
        found = self._state.transaction(call.owner, wanted.transaction)
        if found is None:
            raise refuse("not_found", "There is no such transaction.", 404)
        checkout, paid = found
        if wanted.amount > self._state.refundable(checkout, paid):
            raise refuse("refund_exceeds_available", "More than what is left of this transaction.", 409)
        return Answer(201, self._acts.refund(checkout, paid, wanted.amount, wanted.reference).row())

    def ask_refund(self, call: Call) -> Answer:
        refund = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise refuse("not_found", "There is no such refund.", 404)
        return Answer(200, refund.row())

    def ask_refunds(self, call: Call) -> Answer:
        found = self._state.transaction(call.owner, call.request.query.get("transaction", ""))
        if found is None:
            return Answer(200, {"data": []})
        refunds = self._state.refunds_of(found[0].id, found[1].id)
        return Answer(200, {"data": [refund.row() for refund in refunds]})

    def account(self, call: Call) -> Answer:
        return Answer(200, self._till.account(call).row(self._till.dialect.brand))

    def _new_checkout(self, call: Call, wanted: StartRequest) -> Checkout:
        now = self._till.stage.now()
        account = self._till.account(call)
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=wanted.reference,
            amount=wanted.amount,
            currency=wanted.currency,
            description=wanted.description,
            status=Status.OPEN,
            return_url=wanted.return_url,
            cancel_url=wanted.cancel_url,
            webhook_url=wanted.webhook_url,
            created_at=now,
            updated_at=now,
            expires_at=_expiry(wanted.expires_at, now),
        )

    def _wire(self, checkout: Checkout) -> dict[str, Any]:
        return checkout.row(self._till.dialect.page_url(checkout))

    def _about_reference(self, call: Call) -> Subject:
        return self._till.about_reference(call, call.request.query["reference"])

    def _about_transaction(self, call: Call) -> Subject:
        named = call.request.query.get("transaction") or (call.body or {}).get("transaction")
        return self._till.about_transaction(call, named)


def _reference_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("reference")
    return Subject(reference if isinstance(reference, str) else None)


def _body_as(call: Call, kind: type[T]) -> T:
    try:
        return msgspec.convert(call.body, kind)
    except msgspec.ValidationError as error:
        raise refuse("invalid_request", str(error)) from None


def _expiry(text: str | None, now: Instant) -> int:
    if text is None:
        return now + LIFETIME
    try:
        expires_at = parse_rfc3339(text)
    except ValueError:
        raise refuse("invalid_expiry", "expiresAt is not an RFC 3339 time.") from None
    if expires_at <= now:
        raise refuse("invalid_expiry", "expiresAt is in the past.")
    return expires_at


def _window(call: Call, start: str, end: str) -> Window:
    """Rows of ``start ≤ time < end``."""
    query = call.request.query
    try:
        limit = int(query.get("limit", str(DEFAULT_LIMIT)))
        times = {name: parse_rfc3339(query[name]) for name in (start, end) if name in query}
    except ValueError:
        raise refuse("invalid_query", f"limit is a number; {start} and {end} are RFC 3339 times.") from None
    if not 1 <= limit <= MAX_PAGE:
        raise refuse("invalid_query", f"limit is 1 to {MAX_PAGE}.")
    whole = Window(limit=limit, cursor=query.get("cursor"))
    return Window(times.get(start, whole.start), times.get(end, whole.end), whole.limit, whole.cursor)


def _page(read: Any) -> Any:
    try:
        return read()
    except ValueError:
        raise refuse("invalid_cursor", "Use nextCursor of the previous page.") from None
