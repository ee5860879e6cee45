"""The merchant's API of Sandbox Pay under /v1."""

from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from paystate.kit.clock import DAY, Instant, parse_rfc3339
from paystate.kit.ids import new_id
from paystate.kit.money import EXPONENTS, MAX_AMOUNT
from paystate.simulators.calls import Call, Desk, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.sandbox.acts import Acts
from paystate.simulators.sandbox.objects import Checkout, Status
from paystate.simulators.sandbox.state import SandboxState
from paystate.simulators.shelf import MAX_PAGE, Window
from paystate.simulators.stage import Answer, Provider, Stage

OPERATIONS = ("start", "ask", "list", "close", "refund", "ask_refund", "account")
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

    def __init__(self, stage: Stage, provider: Provider, state: SandboxState, acts: Acts) -> None:
        self._stage = stage
        self._state = state
        self._acts = acts
        self._desk = Desk(stage, provider)
        self._start = Operation("start", self.start, _subject_in_body, keyed=True)
        self._ask = Operation("ask", self.ask, self._subject_by_id)
        self._ask_by_reference = Operation("ask", self.ask_by_reference, self._subject_by_reference)
        self._list = Operation("list", self.list_checkouts)
        self._transactions = Operation("list", self.list_transactions)
        self._close = Operation("close", self.close, self._subject_by_id)
        self._refund = Operation("refund", self.refund, self._subject_of_refund, keyed=True)
        self._ask_refund = Operation("ask_refund", self.ask_refund, self._subject_by_refund)
        self._ask_refunds = Operation("ask_refund", self.ask_refunds, self._subject_of_refund)
        self._account = Operation("account", self.account)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/checkouts", self._serving(self._start)),
            web.get("/v1/checkouts", self._serve_checkouts),
            web.get("/v1/checkouts/{id}", self._serving(self._ask)),
            web.post("/v1/checkouts/{id}/close", self._serving(self._close)),
            web.post("/v1/refunds", self._serving(self._refund)),
            web.get("/v1/refunds", self._serving(self._ask_refunds)),
            web.get("/v1/refunds/{id}", self._serving(self._ask_refund)),
            web.get("/v1/account", self._serving(self._account)),
            web.get("/v1/transactions", self._serving(self._transactions)),
        ]

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
        return Answer(200, self._wire(self._own_checkout(call)))

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
        return Answer(200, {"data": [row.wire() for row in rows], "nextCursor": cursor})

    def close(self, call: Call) -> Answer:
        return Answer(200, self._wire(self._acts.close(self._own_checkout(call))))

    def refund(self, call: Call) -> Answer:
        wanted = _body_as(call, RefundBody)
        found = self._state.transaction(call.owner, wanted.transaction)
        if found is None:
            raise refuse("not_found", "There is no such transaction.", 404)
        checkout, paid = found
        if wanted.amount > self._state.refundable(checkout, paid):
            raise refuse("refund_exceeds_available", "More than what is left of this transaction.", 409)
        return Answer(201, self._acts.refund(checkout, paid, wanted.amount, wanted.reference).wire())

    def ask_refund(self, call: Call) -> Answer:
        refund = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise refuse("not_found", "There is no such refund.", 404)
        return Answer(200, refund.wire())

    def ask_refunds(self, call: Call) -> Answer:
        found = self._state.transaction(call.owner, call.request.query.get("transaction", ""))
        if found is None:
            return Answer(200, {"data": []})
        refunds = self._state.refunds_of(found[0].id, found[1].id)
        return Answer(200, {"data": [refund.wire() for refund in refunds]})

    def account(self, call: Call) -> Answer:
        return Answer(200, self._state.accounts[call.owner].wire())

    def _serving(self, operation: Operation) -> Any:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._desk.serve(operation, request)

        return serve

    async def _serve_checkouts(self, request: web.Request) -> web.StreamResponse:
        operation = self._ask_by_reference if "reference" in request.query else self._list
        return await self._desk.serve(operation, request)

    def _new_checkout(self, call: Call, wanted: StartRequest) -> Checkout:
        now = self._stage.now()
        account = self._state.accounts[call.owner]
        return Checkout(
            id=new_id("chk", now),
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

    def _own_checkout(self, call: Call) -> Checkout:
        checkout = self._acts.found(call.request.match_info["id"])
        if checkout is None or checkout.owner != call.owner:
            raise refuse("not_found", "There is no such checkout.", 404)
        return checkout

    def _wire(self, checkout: Checkout) -> dict[str, Any]:
        return checkout.wire(self._stage.base_url)

    # What a call is about, for faults of one reference; such a question never refuses.

    def _subject_by_id(self, call: Call) -> Subject:
        return _about(self._state.checkouts.get(call.request.match_info["id"]))

    def _subject_by_reference(self, call: Call) -> Subject:
        reference = call.request.query["reference"]
        found = self._state.of_reference(call.account or "", reference)
        return _about(found[-1]) if found else Subject(reference)

    def _subject_of_refund(self, call: Call) -> Subject:
        named = call.request.query.get("transaction") or (call.body or {}).get("transaction")
        found = self._state.transaction(call.account or "", named) if isinstance(named, str) else None
        return _about(found[0]) if found is not None else Subject()

    def _subject_by_refund(self, call: Call) -> Subject:
        refund = self._state.refunds.get(call.request.match_info["id"])
        if refund is None:
            return Subject()
        checkout = self._state.checkouts.get(refund.checkout)
        return Subject(None if checkout is None else checkout.reference, Instant(refund.created_at))


def _subject_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("reference")
    return Subject(reference if isinstance(reference, str) else None)


def _about(checkout: Checkout | None) -> Subject:
    return Subject() if checkout is None else Subject(checkout.reference, Instant(checkout.created_at))


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
